"""Dagster's web server behind our guard: no page of another site can start runs, or read what is shown.

    python -m dagster_project.webserver --host 127.0.0.1 --port 3000 …

The options are those of `dagster-webserver`. It answers to 127.0.0.1 and localhost with its port, and to the addresses in
XLWH_UI_HOSTS (with ports, separated by commas), such as those by which others reach it behind a proxy.
"""

from __future__ import annotations

import os
from typing import Any

from dagster_webserver import cli
from starlette.types import ASGIApp

from xlwh.errors import XlwhError
from xlwh.guard import Guard

HOSTS = "XLWH_UI_HOSTS"
_BODY_BYTES = 20_000_000
"""More than any statement of Dagster's own page: a run of all partitions names each of them."""


def hosts(port: int | None) -> set[str]:
    """Addresses that the server answers to. `XlwhError` where its port is not known."""
    if not port:
        raise XlwhError("Name the port of the web server: --port 3000. It answers to its own addresses only.")
    named = {each.strip() for each in os.environ.get(HOSTS, "").split(",")} - {""}
    own = {f"127.0.0.1:{port}", f"localhost:{port}"}
    # Browsers leave out the port that a scheme has anyway.
    return named | own | ({"127.0.0.1", "localhost"} if port == 80 else set())


def main() -> None:
    """Run the web server with the arguments of this process."""
    serve, make = (
        cli.host_dagster_ui_with_workspace_process_context,
        cli.create_app_from_workspace_process_context,
    )
    allowed: set[str] = set()

    def served(context: Any, host: str | None, port: int | None, *rest: Any, **more: Any) -> None:
        allowed.update(hosts(port))
        serve(context, host, port, *rest, **more)

    def guarded(*given: Any, **more: Any) -> ASGIApp:
        # Dagster's page brings headers of its own.
        return Guard(make(*given, **more), allowed, headers={}, body_bytes=_BODY_BYTES)

    cli.host_dagster_ui_with_workspace_process_context = served
    cli.create_app_from_workspace_process_context = guarded
    cli.main()


if __name__ == "__main__":
    main()
