"""What stands before every server: who may ask, how much, and what the browser may do with the answer.

A page on the internet can make a browser ask 127.0.0.1, and can give its own name that address. So the Host header
must be ours, and requests from other sites are refused, those that open a web socket too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What our own pages may do in a browser: load nothing from elsewhere."""

BODY_BYTES = 1_000_000
"""No request of our pages sends more."""


class Guard:
    """Refuses strangers and bodies that are too large, and puts headers on every answer."""

    def __init__(
        self,
        app: ASGIApp,
        hosts: Iterable[str],
        headers: Mapping[str, str] = HEADERS,
        body_bytes: int = BODY_BYTES,
    ) -> None:
        """`hosts`: addresses of this server as browsers send them, with the port."""
        self._app = app
        self._hosts = frozenset(hosts)
        self._headers = headers
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        found = Headers(scope=scope)
        if scope["type"] == "websocket":
            if self._stranger(found):
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        reason = self._stranger(found)
        if not reason and scope["method"] not in ("GET", "HEAD", "POST"):
            reason = "only reading is possible here"
        if reason:
            await PlainTextResponse(f"Refused: {reason}.\n", 403)(scope, receive, guarded)
            return
        told = f"Refused: more than {self._body_bytes:,} bytes.\n"
        length = found.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self._body_bytes:
            await PlainTextResponse(told, 413)(scope, receive, guarded)
            return
        await self._app(scope, self._bounded(receive, told), guarded)

    def _bounded(self, receive: Receive, told: str) -> Receive:
        """The same, for bodies that do not say how long they are."""
        left = self._body_bytes

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                if left < 0:
                    raise HTTPException(413, told)
            return message

        return bounded

    def _stranger(self, headers: Headers) -> str:
        """Why a request is refused; empty where it is not."""
        if headers.get("host", "") not in self._hosts:
            return "this server answers to its own address only"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "the request comes from another site"
        origin = headers.get("origin")
        if origin is not None and origin.removeprefix("http://").removeprefix("https://") not in self._hosts:
            return "the request comes from another origin"
        return ""
