"""The guard before every server: strangers, other sites, web sockets and large bodies."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from xlwh.guard import HEADERS, Guard

HERE = {"host": "127.0.0.1:3000"}
STRANGERS = [
    {"host": "evil.example"},
    {"host": "127.0.0.1"},
    {"host": ""},
    {**HERE, "origin": "http://evil.example"},
    {**HERE, "origin": "http://127.0.0.1:3001"},
    {**HERE, "origin": "null"},
    {**HERE, "sec-fetch-site": "cross-site"},
    {**HERE, "sec-fetch-site": "same-site"},
]
FRIENDS = [
    HERE,
    {"host": "localhost:3000"},
    {**HERE, "origin": "http://127.0.0.1:3000"},
    {**HERE, "origin": "https://127.0.0.1:3000", "sec-fetch-site": "same-origin"},
    {**HERE, "sec-fetch-site": "none"},
]


@pytest.fixture(scope="module")
def client():
    async def echo(request):
        return PlainTextResponse(f"{len(await request.body())}")

    async def socket(socket):
        await socket.accept()
        await socket.send_text("open")
        await socket.close()

    routes = [Route("/", echo, methods=["GET", "POST", "PUT"]), WebSocketRoute("/live", socket)]
    app = Guard(Starlette(routes=routes), ["127.0.0.1:3000", "localhost:3000"], body_bytes=1000)
    return TestClient(app, base_url="http://127.0.0.1:3000")


@pytest.mark.parametrize("headers", STRANGERS)
def test_strangers_are_refused(client, headers):
    for ask in (client.get, client.post):
        answer = ask("/", headers=headers)
        assert answer.status_code == 403
        assert answer.text.startswith("Refused: ")
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/live", headers=headers):
        pass


@pytest.mark.parametrize("headers", FRIENDS)
def test_our_own_pages_are_answered(client, headers):
    assert client.get("/", headers=headers).status_code == 200
    answer = client.post("/", content=b"12345", headers=headers)
    assert (answer.status_code, answer.text) == (200, "5")
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    with client.websocket_connect("/live", headers=headers) as socket:
        assert socket.receive_text() == "open"


def test_nothing_is_written_through_it(client):
    assert client.put("/", content=b"1").status_code == 403


def test_bodies_are_bounded_before_they_are_read(client):
    assert client.post("/", content=b"1" * 1000).text == "1000"
    assert client.post("/", content=b"1" * 1001).status_code == 413
    taken = list[int]()

    def parts():
        for number in range(100):
            taken.append(number)
            yield b"1" * 100

    # Of a body that does not say how long it is, the rest is not passed on.
    assert client.post("/", content=parts()).status_code == 413
    for length in ("9" * 40, "-1", "1e3", "²"):
        assert client.post("/", content=b"1", headers={"content-length": length.encode()}).status_code == 413
