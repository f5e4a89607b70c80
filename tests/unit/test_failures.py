"""Errors of libraries in words."""

from __future__ import annotations

import random

import duckdb
import polars as pl

from xlwh import failures


def test_what_decoders_say_of_damaged_bytes_says_what_to_run(tmp_path):
    path = tmp_path / "a.parquet"
    rows = {"a": list(range(500)), "b": [f"x{n % 7}" for n in range(500)], "c": [[n] * 3 for n in range(500)]}
    pl.DataFrame(rows).write_parquet(path, compression="zstd")
    good, chance = path.read_bytes(), random.Random(1)
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    clear, others = 0, set()
    for number in range(150):
        bad = bytearray(good)
        bad[chance.randrange(footer if number % 3 else 4, len(good) - 8)] ^= 1 << chance.randrange(8)
        path.write_bytes(bad)
        # A connection of its own each time: some damage ends one for good.
        for read in (
            lambda: pl.read_parquet(path),
            lambda: duckdb.connect().execute("select * from read_parquet(?)", [str(path)]).fetchall(),
        ):
            try:
                read()
            except (pl.exceptions.PolarsError, duckdb.Error) as error:
                if "`xlwh repair`" in failures.told(error):
                    clear += 1
                else:
                    others.add(f"{type(error).__name__}: {error}")
            except BaseException as error:  # a panic may as well be a fault of the library
                others.add(type(error).__name__)
    assert clear > 30
    # Of these there is nothing to be said that holds of damage alone.
    panics = ("PanicException", "InternalException", "FatalException", "OutOfMemoryException")
    assert [each for each in others if not each.startswith(panics)] == []
