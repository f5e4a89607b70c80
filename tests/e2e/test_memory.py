"""Finishing staged work takes the same memory for any number of rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import resource, sys
from pathlib import Path
import polars as pl
from xlwh.store import Slot, Warehouse, schema

slot = Slot("token_attributions", ("m", "en"), "d.lig")
names = {"model": "m", "dataset": "d", "split": "dev", "language": "en", "method": "lig", "target": "x"}
with Warehouse(sys.argv[1], create=True).staging([slot], "mark") as work:
    for number in range(int(sys.argv[2])):
        rows = pl.select(row=pl.int_range(200_000)).select(
            **{name: pl.lit(value) for name, value in names.items()},
            example_id=pl.format("{}-{}", pl.lit(number), pl.col("row") // 40),
            position=(pl.col("row") % 40).cast(pl.Int32),
            attribution=pl.col("row").cast(pl.Float32),
        )
        work.append({slot: rows.select(schema(slot.table).names())})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    [entry] = work.finish()
    print(entry.rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_finish_is_bounded(tmp_path):
    grown = {}
    for chunks in (5, 50):
        done = subprocess.run(
            [sys.executable, "-c", CODE, tmp_path / str(chunks), str(chunks)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        rows, grown[chunks] = map(int, done.stdout.split())
        assert rows == 200_000 * chunks
    assert grown[50] < 500, "MB"
    assert grown[50] < grown[5] + 200
