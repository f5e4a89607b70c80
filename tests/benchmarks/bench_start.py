"""How long commands take to start: processor time (user and system) of a whole process, caches warm.

    python tests/benchmarks/bench_start.py                       # on a warehouse that is made for it, small
    python tests/benchmarks/bench_start.py --warehouse FOLDER    # on one's own
    python tests/benchmarks/bench_start.py --before CHECKOUT     # beside another checkout of xlwh

The least of several runs counts, as other work can only add to it. With --before every command is run by both checkouts
in turns. The peer of the first rows is Python that imports click, DuckDB and Polars, and does nothing.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from common import print_table

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "import sys; from xlwh.cli import main; sys.exit(main())"
EMPTY = "import xlwh; xlwh.Warehouse(__import__('sys').argv[1], create=True).build_catalogue()"

PROGRAMS = {
    "python": "pass",
    "import click": "import click",
    "import duckdb": "import duckdb",
    "import polars": "import polars",
    "import xlwh": "import xlwh",
    "xlwh.connect": "import sys, xlwh; xlwh.connect(sys.argv[-1]).close()",
    "dagster_project.definitions": "import dagster_project.definitions as d; d.build(d.load(d.study_file()), d.Path('x'))",
}
COMMANDS = (
    ("--help",),
    ("--version",),
    ("init", "--help"),
    ("materialize", "--help"),
    ("sql", "--help"),
    ("sql", "select 1"),
    ("tables",),
    ("describe", "tokens"),
    ("describe", "ccta"),
    ("describe", "metric_correlations"),
    ("describe", "excess_shuffled"),
)


def seconds(checkout: Path, arguments: Sequence[str]) -> float:
    """Processor time of one process that runs Python with these arguments on a checkout's code."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as elsewhere:
        subprocess.run(
            [sys.executable, *arguments],
            cwd=elsewhere,
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--warehouse", type=Path, help="default: an empty one")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another checkout to compare with")
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    checkouts = {"before": asked.before.resolve()} if asked.before else {}
    checkouts["now"] = ROOT
    made = nullcontext(str(asked.warehouse)) if asked.warehouse else tempfile.TemporaryDirectory()
    with made as folder:
        warehouse = str(Path(folder).resolve())
        if not asked.warehouse:
            seconds(ROOT, ["-c", EMPTY, warehouse])
        # An option of the commands that look at a warehouse, and no more than an argument to the others.
        where = ("--warehouse", warehouse)
        run = {name: ["-c", program, warehouse] for name, program in PROGRAMS.items()}
        for command in COMMANDS:
            rest = () if command[-1].startswith("--") else where
            run[f"xlwh {' '.join(command)}"] = ["-c", COMMAND, *command, *rest]
        rows = []
        for name, arguments in run.items():
            found: dict[str, list[float]] = {which: [] for which in checkouts}
            for number in range(asked.runs + 1):
                for which, checkout in checkouts.items():
                    spent = seconds(checkout, arguments)
                    # The first run fills the caches.
                    if number:
                        found[which].append(spent)
            rows.append(
                {"what": f"`{name}`"} | {f"{which}, s": f"{min(all_):.2f}" for which, all_ in found.items()}
            )
    print_table("Start", rows)


if __name__ == "__main__":
    main()
