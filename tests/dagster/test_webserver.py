"""Dagster's own web server: another site's page in a real browser cannot reach it, and its own page can."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing

import browser
import pytest

import dagster_project.webserver as module
from xlwh.errors import XlwhError

PAGE = """
<title>another site</title><body><script>
const server = "http://127.0.0.1:PORT";
const query = JSON.stringify({query: "mutation { wipeAssets(assetPartitionRanges: []) { __typename } }"});
const live = () => new Promise(done => {
  const made = new WebSocket("ws://127.0.0.1:PORT/graphql", "graphql-ws");
  made.onopen = () => done("open"); made.onerror = () => done("refused");
});
const ask = how => fetch(server + "/graphql", how).then(a => a.type, () => "refused");
(async () => {
  const found = [
    await live(),
    await ask({method: "POST", body: query, headers: {"content-type": "application/json"}}),
    await ask({method: "POST", body: query, mode: "no-cors"}),
    await ask({mode: "no-cors"}),
  ];
  document.title = JSON.stringify(found);
})();
</script></body>
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Its port, and the file with a line for each request."""
    folder = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "dagster_project.webserver",
                "--empty-workspace",
                "--port",
                str(port),
                "--uvicorn-log-level",
                "info",
            ],
            stdout=written,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DAGSTER_HOME": str(folder), module.HOSTS: "study.example:80"},
        )
        deadline = time.monotonic() + 120
        while "Uvicorn running" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield port, log
        process.terminate()
        process.wait(timeout=60)


def asked(port, **headers):
    """Status of a query that is sent with these headers."""
    body = json.dumps({"query": "{ version }"})
    sent = {
        "content-type": "application/json",
        **{key.replace("_", "-"): value for key, value in headers.items()},
    }
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", "/graphql", body, sent)
        with connection.getresponse() as answer:
            return answer.status


def test_it_answers_to_its_own_addresses_only(server):
    port, _ = server
    assert asked(port) == asked(port, origin=f"http://127.0.0.1:{port}") == 200
    assert asked(port, host=f"localhost:{port}") == asked(port, host="study.example:80") == 200
    assert asked(port, host="evil.example") == asked(port, origin="http://evil.example") == 403
    assert asked(port, sec_fetch_site="cross-site") == 403


def test_a_page_of_another_origin_reaches_nothing(server, tmp_path):
    if (reason := browser.why_not()) is not None:
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    port, log = server
    before = log.read_text()
    (tmp_path / "index.html").write_text(PAGE.replace("PORT", str(port)))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given):
            super().__init__(*given, directory=str(tmp_path))

        def log_message(self, *given):
            pass

    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=browser.CHROMIUM, args=["--no-sandbox"])
            page = chromium.new_page()
            page.goto(f"http://127.0.0.1:{other.server_port}/")
            page.wait_for_function("document.title.startsWith('[')")
            found = json.loads(page.title())
            seen = log.read_text()[len(before) :]
            # Its own page is alive: what it is asked for comes, by the same paths.
            page.goto(f"http://127.0.0.1:{port}/")
            page.get_by_text("Overview").first.wait_for()
            chromium.close()
    finally:
        other.shutdown()
        other.server_close()
    # What a page may send without asking first is sent, and refused; of the answer it learns nothing.
    assert found == ["refused", "refused", "opaque", "opaque"]
    assert '"POST /graphql HTTP/1.1" 403' in seen
    assert not any(
        "/graphql" in line and (" 200" in line or "[accepted]" in line) for line in seen.splitlines()
    )
    assert log.read_text().count('"WebSocket /graphql" [accepted]') >= 1


def test_its_port_has_to_be_known():
    with pytest.raises(XlwhError, match="--port"):
        module.hosts(None)
    assert {"localhost", "127.0.0.1:80"} <= module.hosts(80)
