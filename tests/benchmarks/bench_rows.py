"""One table of many rows: queries, checks and packing where the rows themselves are the work.

    python tests/benchmarks/bench_rows.py [--rows 200] [--rounds 3] [--folder DIR]     # rows in millions

`token_attributions` of 10 models x 15 languages, drawn at random, in one file for each model, language and method. A query is
asked in turns over the files as they were written and as `xlwh compact` has packed them, each time in a new connection.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import polars as pl
from common import print_table
from made_up import row

from xlwh.store import Slot, Warehouse
from xlwh.store.compaction import compact

MODELS, LANGUAGES, METHODS = 10, 15, ("lig", "saliency", "occlusion", "random")
QUERIES = {
    "count(*)": "select count(*) from token_attributions",
    "mean of each model and language": (
        "select model, language, avg(attribution) from token_attributions group by all"
    ),
    "largest of each example of one model and language": (
        "select example_id, max_by(position, abs(attribution)) from token_attributions "
        "where model = 'm3' and language = 'l07' group by all"
    ),
    "two methods correlated, one model": (
        "select language, corr(a.attribution, b.attribution) from token_attributions a "
        "join token_attributions b using (model, dataset, split, language, example_id, position) "
        "where model = 'm3' and a.method = 'lig' and b.method = 'saliency' group by all"
    ),
}


def fill(warehouse: Warehouse, millions: float) -> None:
    """Write the table."""
    rows, draws = int(millions * 1e6 / (MODELS * LANGUAGES * len(METHODS))), np.random.default_rng(0)
    tokens = 32
    for number in range(MODELS * LANGUAGES * len(METHODS)):
        rest, method = divmod(number, len(METHODS))
        model, language = divmod(rest, LANGUAGES)
        one = row(
            "token_attributions",
            model=f"m{model}",
            language=f"l{language:02d}",
            method=METHODS[method],
            dataset="nli",
            split="dev",
            target="no",
        )
        places = pl.int_range(rows, eager=True)
        made = pl.concat([one] * rows, rechunk=True).with_columns(
            example_id=(places // tokens).cast(pl.String),
            position=(places % tokens).cast(one.schema["position"]),
            attribution=pl.Series(draws.normal(size=rows), dtype=one.schema["attribution"]),
        )
        slot = Slot("token_attributions", (f"m{model}", f"l{language:02d}"), f"nli.{METHODS[method]}")
        warehouse.write({slot: made}, f"{number:032x}")


def seconds(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def asked(warehouse: Warehouse) -> dict[str, list[float]]:
    """Seconds of each query in a connection of its own, by what it asks."""
    found: dict[str, list[float]] = {}
    for what, query in QUERIES.items():
        with closing(warehouse.connect()) as connection:
            took = [seconds(lambda: connection.execute(query).fetchall()) for _ in (1, 2)]  # noqa: B023
        found[f"{what}, first"], found[f"{what}, again"] = [took[0]], [took[1]]
    return found


def run(millions: float, rounds: int, folder: Path | None = None) -> list[dict[str, Any]]:
    """One row for each thing that is timed."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        warehouse = Warehouse(Path(scratch) / "warehouse", create=True)
        once: dict[str, list[str]] = {"write": [f"{seconds(lambda: fill(warehouse, millions)):.1f}"]}
        before, after = [asked(warehouse) for _ in range(rounds)], list[dict[str, list[float]]]()
        entries = warehouse.entries()
        once["files"] = [str(len(entries))]
        once["GB"] = [f"{sum(entry.size_bytes for entry in entries) / 1e9:.2f}"]
        deep = [f"{seconds(lambda: warehouse.check(deep=True)):.1f}"]
        once["compact"] = ["", f"{seconds(lambda: compact(warehouse)):.1f}"]
        once["files"].append(str(len({entry.segment for entry in warehouse.entries()})))
        after = [asked(warehouse) for _ in range(rounds)]
        once["check --deep"] = [*deep, f"{seconds(lambda: warehouse.check(deep=True)):.1f}"]
    table = [
        {"what": what, "as written": values[0], "packed": values[1] if len(values) > 1 else ""}
        for what, values in once.items()
    ]
    for what in before[0]:
        as_written, packed = (statistics.median(each[what][0] for each in found) for found in (before, after))
        table.append({"what": what, "as written": f"{as_written:.2f}", "packed": f"{packed:.2f}"})
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=float, default=200, help="millions of rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="disk to write to")
    given = parser.parse_args()
    print_table(f"A table of {given.rows:g} M rows, seconds", run(given.rows, given.rounds, given.folder))
