"""Runs the explorer until Ctrl-C."""

from __future__ import annotations

import logging
import socket
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

from xlwh.errors import XlwhError
from xlwh.report.explorer.app import create_app
from xlwh.report.explorer.state import Explorer

ADDRESS = "127.0.0.1"


def serve(root: Path, port: int, say: Callable[[str], None], browser: bool = False) -> None:
    """Serve the warehouse at `root` on 127.0.0.1; port 0 takes a free one. Raises `XlwhError` if the port is taken."""
    import uvicorn

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    explorer = Explorer(root)
    with explorer.state():
        pass
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((ADDRESS, port))
    except OSError as error:
        listening.close()
        raise XlwhError(
            f"Port {port} on {ADDRESS} cannot be used: {error.strerror}. Choose another one with --port, or 0."
        ) from None
    port = listening.getsockname()[1]
    hosts = (f"{ADDRESS}:{port}", f"localhost:{port}")
    # Two threads compute at most: pages are quick, and statements share DuckDB's own threads.
    settings = uvicorn.Config(
        create_app(explorer, hosts), log_level="warning", access_log=False, server_header=False, lifespan="on"
    )
    say(f"http://{ADDRESS}:{port} (Ctrl-C ends it)")
    if browser:
        threading.Timer(0.5, webbrowser.open, [f"http://{ADDRESS}:{port}"]).start()
    with listening:
        uvicorn.Server(settings).run(sockets=[listening])
