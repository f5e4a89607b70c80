"""`dagster dev` with the guarded web server in the place of Dagster's own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from dagster._cli import dev

_OWN = "dagster_webserver"


def main() -> None:
    """Run `dagster dev` with the arguments of this process."""
    begin = dev.open_ipc_subprocess

    def begun(command: Sequence[str], **more: Any) -> Any:
        parts = [f"{__package__}.webserver" if part == _OWN else part for part in command]
        return begin(parts, **more)

    dev.open_ipc_subprocess = begun
    dev.dev_command(sys.argv[1:])


if __name__ == "__main__":
    main()
