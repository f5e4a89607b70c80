"""Processes that the reliability tests of the store start and kill: `python store_child.py MODE ROOT [ARGUMENT]`.

fill     write every partition once, staged ones too, skipping what is fresh
refill   the same for ever, not skipping anything after the first time
churn    replace two tables in one commit, rebuild the catalogue and collect garbage, for ARGUMENT seconds
read     query in a loop until standard input is closed
"""

from __future__ import annotations

import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

import xlwh
from xlwh.store import Slot, Warehouse, fingerprint, schema
from xlwh.store.views import shipped_sql

MODELS = ("a", "b")
LANGUAGES = ("en", "de", "sw")
CHUNKS = 3
EXAMPLES = 8
"""Per chunk."""


def frame(table: str, model: str, language: str, examples: range) -> pl.DataFrame:
    """Rows of `predictions`, or four per example of `token_attributions`, that depend on nothing but the arguments."""
    common = {"model": model, "dataset": "d", "split": "dev", "language": language}
    rows: list[dict[str, Any]] = []
    for i in examples:
        example = {**common, "example_id": f"{i:04d}"}
        if table == "predictions":
            rest = {
                "task": "t",
                "label": None,
                "predicted": "x",
                "logits": [float(i)],
                "probabilities": [1.0],
            }
            rows.append({**example, **rest, "num_tokens": 4, "num_truncated": 0})
        else:
            named = {**example, "method": "lig", "target": "x"}
            rows += [{**named, "position": p, "attribution": i + p / 4} for p in range(4)]
    return pl.DataFrame(rows, schema=schema(table))


def slots(model: str, language: str) -> dict[str, Slot]:
    """Table -> the slot of one partition."""
    return {table: Slot(table, (model, language), "d") for table in ("predictions", "token_attributions")}


def fill(warehouse: Warehouse, force: bool) -> None:
    """Write every partition: half of them at once, half of them staged in chunks."""
    for number, (model, language) in enumerate((m, x) for m in MODELS for x in LANGUAGES):
        mark = fingerprint("predictions", "1", {"model": model, "language": language}, [])
        wanted = slots(model, language)
        if not force and all(warehouse.is_fresh(slot, mark) for slot in wanted.values()):
            continue
        if number % 2:
            everything = range(CHUNKS * EXAMPLES)
            warehouse.write({s: frame(t, model, language, everything) for t, s in wanted.items()}, mark)
        else:
            with warehouse.staging(list(wanted.values()), mark) as work:
                done = work.done()
                for start in range(0, CHUNKS * EXAMPLES, EXAMPLES):
                    if f"{start:04d}" not in done:
                        part = range(start, start + EXAMPLES)
                        work.append({s: frame(t, model, language, part) for t, s in wanted.items()})
                work.finish()
        warehouse.build_catalogue()
    warehouse.build_catalogue()


def churn(warehouse: Warehouse, seconds: float) -> None:
    """Replace both tables of every model again and again, always with as many examples in one as in the other."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        for model in MODELS:
            number += 1
            examples = range(1 + number % 7)
            frames = {s: frame(t, model, "en", examples) for t, s in slots(model, "en").items()}
            warehouse.write(frames, str(number))
        warehouse.build_catalogue()
        warehouse.gc(timedelta(seconds=20))
    print(number)


AGREE = """
select coalesce(p.model, a.model) as model, p.examples, a.examples
from (select model, count(*) as examples from predictions group by model) as p
full join (select model, count(*) / 4 as examples from token_attributions group by model) as a using (model)
order by model
"""


def read(root: Path) -> None:
    """Query as users do: through `xlwh.connect`, with DuckDB alone, and with Polars."""
    closed = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()
    reads = 0
    while not closed.is_set():
        for database in (xlwh.connect(root), duckdb.connect(root / "catalog.duckdb", read_only=True)):
            with database:
                first = database.execute(AGREE).fetchall()
                assert all(left == right for _, left, right in first), first
                # The snapshot stands still, however much is written meanwhile.
                time.sleep(0.05)
                assert database.execute(AGREE).fetchall() == first
                reads += 2
        found = Warehouse(root).scan("token_attributions").group_by("model", "example_id").len().collect()
        assert set(found["len"]) <= {4}, found
        reads += 1
    print(reads)


def main() -> None:
    mode, root = sys.argv[1], Path(sys.argv[2])
    print("ready", flush=True)
    if mode == "read":
        read(root)
        return
    # The source views only: what is tested here is how catalogues are replaced, not how many views they have.
    warehouse = Warehouse(root, create=True, sql_dirs=[shipped_sql() / "source"])
    if mode == "churn":
        churn(warehouse, float(sys.argv[3]))
        return
    fill(warehouse, force=False)
    while mode == "refill":
        fill(warehouse, force=True)


if __name__ == "__main__":
    main()
