"""Fills the tables of the papers with numbers of small models: from the study to the report, for one paper or all.

    python tests/benchmarks/papers_small.py heads           # an hour or two on two cores, by estimate
    python tests/benchmarks/papers_small.py                 # all four, one after the other

The studies are those of examples/papers; their data and the encoder are looked for in ../shared (or XLWH_SHARED). Of
each paper build/papers/<paper>/ gets the warehouse, `report.html` (xlwh report --paper) and `tables.md`: every printed
number that was measured, the measured one, and its 95 % interval. A killed run goes on where it was: what is in the
warehouse is not made again. Exit code 1 if a paper could not be finished; the others are made nevertheless.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import machine, table

from xlwh.store.opening import query

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "papers"
PAPERS = ("ccta", "faithfulness", "concepts", "heads")
NAMES = {"concepts": "concept-alignment", "heads": "shapley-heads"}
"""Paper -> its name in `published_vs_measured`, where it is another one."""
ROWS = """
select "table", table_row, table_column, value_unit as unit, published, measured, low, high, beyond_interval, model, setting
from published_vs_measured
where paper = '{paper}' and (choice = 1 or choice is null)
order by "table", table_row, table_column, metric
"""


def run(paper: str, out: Path, data: Path, keep_going: bool) -> None:
    """Everything of one paper, as far as it can be made; `keep_going` is the option of `xlwh materialize`.

    Raises:
        subprocess.CalledProcessError: where a command of `xlwh` fails; what was made is reported before.
    """
    out.mkdir(parents=True, exist_ok=True)
    study, warehouse = EXAMPLES / paper / "study.toml", out / "warehouse"
    of = ("--study", study, "--warehouse", warehouse)
    start = time.monotonic()
    try:
        xlwh(data, "materialize", *of, *(["--keep-going"] if keep_going else []))
    finally:
        if warehouse.is_dir():
            spent = time.monotonic() - start
            xlwh(data, "report", "--paper", paper, *of, "--html", out / "report.html")
            page = tables(paper, measured(paper, warehouse), spent)
            (out / "tables.md").write_text(page, encoding="utf-8")
            print(f"Wrote {out / 'tables.md'}", flush=True)


def xlwh(data: Path, *arguments: str | Path) -> None:
    """Run a command of this checkout."""
    command = [
        sys.executable,
        "-c",
        "import sys; from xlwh.cli import main; sys.exit(main())",
        *map(str, arguments),
    ]
    print("xlwh", *arguments, flush=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLWH_DATA_ROOT": str(data)}
    subprocess.run(command, env=environment, check=True)


def measured(paper: str, warehouse: Path) -> list[dict[str, Any]]:
    """Rows of `published_vs_measured`, the closest measurement of each printed number."""
    found = query(warehouse, ROWS.format(paper=NAMES.get(paper, paper)))
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def tables(paper: str, rows: list[dict[str, Any]], seconds: float) -> str:
    """A Markdown page: a table for each of the paper's, of the numbers that were measured."""
    parts = [f"# {paper}: published and measured\n\n{machine()}; this run {seconds / 60:.0f} minutes."]
    for name in dict.fromkeys(row["table"] for row in rows):
        every = [row for row in rows if row["table"] == name]
        filled = [row for row in every if row["measured"] is not None]
        head = f"## Table {name}\n\n{len(filled)} of {len(every)} numbers measured."
        parts.append(f"{head}\n\n{table([_line(row) for row in filled])}" if filled else head)
    return "\n\n".join(parts) + "\n"


def _line(row: dict[str, Any]) -> dict[str, str]:
    interval = "" if row["low"] is None else f"[{row['low']:.3f}, {row['high']:.3f}]"
    return {
        "row": row["table_row"],
        "column": row["table_column"],
        "published": f"{row['published']:.3f}",
        "measured": f"{row['measured']:.3f}",
        "95 %": interval + ("*" if row["beyond_interval"] else ""),
        "unit": row["unit"],
        "model": row["model"],
        "setting": row["setting"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("papers", nargs="*", metavar="PAPER", help=f"default: all of {', '.join(PAPERS)}")
    parser.add_argument(
        "--shared", type=Path, default=Path(os.environ.get("XLWH_SHARED", ROOT.parent / "shared"))
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "papers")
    parser.add_argument(
        "--keep-going", action="store_true", help="make what can be made where models or files are missing"
    )
    asked = parser.parse_args()
    if unknown := set(asked.papers) - set(PAPERS):
        parser.error(f"no paper {', '.join(sorted(unknown))}; there are {', '.join(PAPERS)}")
    data = asked.shared.resolve() / "data"
    if not data.is_dir():
        parser.error(f"no folder {data}: name the shared material with --shared")
    failed = []
    for paper in asked.papers or PAPERS:
        try:
            run(paper, asked.output.resolve() / paper, data, asked.keep_going)
        except subprocess.CalledProcessError as error:
            print(f"{paper}: {error}", file=sys.stderr)
            failed.append(paper)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
