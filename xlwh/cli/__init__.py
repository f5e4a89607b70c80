"""The command line: one small function per command, over the study, the store and the steps.

Belongs here: arguments, what is printed, exit codes. Does not belong here: anything that a script would want to
call too. At their top the modules import click and what is as light; each command imports the rest when it runs, so
that `xlwh --help` starts without DuckDB and Polars, and `xlwh sql` without torch and Dagster.
"""

from __future__ import annotations

from collections.abc import Sequence

from xlwh.cli.app import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, 1 for an error, 2 for wrong usage, 130 when it was stopped."""
    return run(arguments)
