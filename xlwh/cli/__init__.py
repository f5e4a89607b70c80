"""The command line: one small function per command, over the study, the store and the steps.

Belongs here: arguments, what is printed, exit codes. Does not belong here: anything that a script would want to
call too. Commands import what they need when they run, so that `xlwh sql` starts without torch and Dagster.
"""

from __future__ import annotations

from collections.abc import Sequence

from xlwh.cli.app import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, 1 for an error, 2 for wrong usage, 130 when it was stopped."""
    return run(arguments)
