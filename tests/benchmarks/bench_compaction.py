"""A warehouse of many small files, before and after `xlwh compact`: catalogue, queries, sizes.

    python tests/benchmarks/bench_compaction.py [--slots 175000] [--folder DIR]

Five tables of as many partitions each, of four rows: the worst case, where everything is overhead. Files of a table are
links to one, so the disk has to hold little; segments are written in full. Each line is the time of one call, on the clock
and of all threads of this process.
"""

from __future__ import annotations

import argparse
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from common import print_table

from xlwh.store import Slot, Warehouse, schema
from xlwh.store.compaction import compact
from xlwh.store.manifest import NewFile
from xlwh.store.parquet import write_parquet
from xlwh.store.slots import contract
from xlwh.store.write import file_metadata

TABLES = ("tokens", "predictions", "attribution_runs", "token_attributions", "perturbations")
ROWS = 4
VIEWS = ("predictions", "tokens", "token_attributions", "faithfulness", "ccta")


def run(slots: int = 175_000, folder: Path | None = None) -> list[dict[str, Any]]:
    """One row for each thing that is timed."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        warehouse = Warehouse(Path(scratch) / "warehouse", create=True)
        _fill(warehouse, slots // len(TABLES))
        found: dict[str, dict[str, Any]] = {}
        _measure(warehouse, found, "before")
        start = time.perf_counter()
        done = compact(warehouse)
        took = time.perf_counter() - start
        for entry in warehouse.entries():
            (warehouse.root / entry.file).unlink()
        _measure(warehouse, found, "after")
        found["xlwh compact"] = {"after": f"{took:.1f} s, {len(done.segments)} segments"}
        found["files"] = {"before": slots, "after": len(done.segments)}
    return [{"what": what, **values} for what, values in found.items()]


def _fill(warehouse: Warehouse, partitions: int) -> None:
    files = []
    for name in TABLES:
        first: Path | None = None
        for number in range(partitions):
            model, rest = divmod(number, 1000)
            language, dataset = divmod(rest, 40)
            slot = Slot(name, (f"m{model:03d}", f"l{language:02d}"), f"d{dataset:02d}")
            file = f"{slot.folder}/{slot.part}-{secrets.token_hex(8)}.parquet"
            path = warehouse.root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if first is None or os.stat(first).st_nlink > 60_000:
                # Some file systems have a limit of links to a file.
                written = write_parquet(_frame(name), path, file_metadata(slot, "f" * 32, ROWS, {}))
                first = path
            else:
                os.link(first, path)
            version = contract(name).version
            files.append(
                NewFile(slot, file, secrets.token_hex(16), ROWS, written.size_bytes, version, written.digest)
            )
    warehouse.manifest.commit(put=files)


def _frame(name: str) -> pl.DataFrame:
    return pl.DataFrame(
        {column: pl.Series([None] * ROWS, dtype=dtype) for column, dtype in schema(name).items()}
    )


def _measure(warehouse: Warehouse, found: dict[str, dict[str, Any]], when: str) -> None:
    def timed(what: str, work: Callable[[], object]) -> None:
        clock, processor = time.perf_counter(), time.process_time()
        work()
        clock, processor = time.perf_counter() - clock, time.process_time() - processor
        found.setdefault(what, {})[when] = f"{clock:.2f} s ({processor:.2f})"

    slot = Slot("predictions", ("m000", "l00"), "d00")
    frame = _frame("predictions")

    def write() -> None:
        file = f"{slot.folder}/{slot.part}-{secrets.token_hex(8)}.parquet"
        (warehouse.root / file).parent.mkdir(parents=True, exist_ok=True)
        mark = secrets.token_hex(16)
        written = write_parquet(frame, warehouse.root / file, file_metadata(slot, mark, ROWS, {}))
        version = contract(slot.table).version
        warehouse.manifest.commit(
            put=[NewFile(slot, file, mark, ROWS, written.size_bytes, version, written.digest)]
        )

    (warehouse.root / "catalog.duckdb").unlink(missing_ok=True)
    timed("catalogue, first", warehouse.build_catalogue)
    for number in (1, 2):
        write()
        timed(f"catalogue after one commit, time {number}", warehouse.build_catalogue)
    timed("catalogue, nothing new", warehouse.build_catalogue)
    size = (warehouse.root / "catalog.duckdb").stat().st_size
    found.setdefault("catalogue, MB", {})[when] = f"{size / 1e6:.1f}"
    timed("connect", lambda: warehouse.connect().close())
    for name in VIEWS:
        with warehouse.connect() as database:
            timed(f"open {name}", lambda: database.execute(f"from {name} limit 0").fetchall())  # noqa: B023
    for name in ("predictions", "token_attributions"):
        with warehouse.connect() as database:
            for number in (1, 2):
                query = f"select count(*) from {name}"
                timed(f"count of {name}, time {number}", lambda: database.execute(query).fetchall())  # noqa: B023
    timed("all entries of the manifest", warehouse.entries)
    timed("scan of a partition", lambda: warehouse.scan("tokens", model="m001", language="l01").collect())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slots", type=int, default=175_000)
    parser.add_argument("--folder", type=Path, help="disk to write to")
    given = parser.parse_args()
    print_table("Many small files, and few large ones", run(given.slots, given.folder))
