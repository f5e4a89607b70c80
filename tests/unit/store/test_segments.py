"""Segments: Parquet files of many files, each of which can be had again byte for byte."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from xlwh.errors import StoreError
from xlwh.store import schema
from xlwh.store.compact_thrift import parsed_struct
from xlwh.store.parquet import write_parquet
from xlwh.store.segments import (
    COLUMN,
    Original,
    bytes_of,
    count_in,
    has_digest,
    is_segment,
    read_index,
    write_segment,
)
from xlwh.tables import TABLES


def values(dtype: pl.DataType, rows: int, draw: random.Random) -> list[object]:
    """Values of a type, some of them null, empty or not finite."""

    def one(kind: pl.DataType) -> object:
        if draw.random() < 0.1:
            return None
        if isinstance(kind, pl.List):
            return [one(kind.inner) for _ in range(draw.randrange(4))]
        if isinstance(kind, pl.Array):
            return [draw.random() for _ in range(kind.size)]
        if isinstance(kind, pl.Struct):
            return {field.name: one(field.dtype) for field in kind.fields}
        if kind == pl.Boolean:
            return draw.random() < 0.5
        if kind.is_integer():
            return draw.randrange(100)
        if kind.is_float():
            return draw.choice([draw.random(), float("nan"), float("inf"), -0.0])
        return draw.choice(["", "ä", "word", "語", "x" * 200])

    return [one(dtype) for _ in range(rows)]


def frame(table: str, rows: int, seed: int) -> pl.DataFrame:
    """Rows of a table's types; whether they keep its rules is of no matter here."""
    draw = random.Random(seed)
    return pl.DataFrame(
        {name: pl.Series(name, values(dtype, rows, draw), dtype) for name, dtype in schema(table).items()}
    )


def packed(root: Path, table: str, sizes: list[int], row_group_rows: int = 1 << 18):
    """Files of a table of so many rows, packed; (segment, file -> bytes, what did not fit)."""
    contents, sources, unfit = {}, [], []
    for number, rows in enumerate(sizes):
        file = f"tables/{table}/{number}.parquet"
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        written = write_parquet(frame(table, rows, number), root / file, {"n": str(number)}, row_group_rows)
        contents[file] = (root / file).read_bytes()
        sources.append(Original(file, written.size_bytes, written.digest, rows))
    segment = write_segment(
        root, table, sources, lambda source: contents[source.file], lambda *told: unfit.append(told)
    )
    return segment, contents, unfit


@pytest.mark.parametrize("table", TABLES)
def test_files_of_every_table_are_had_again_and_read_as_one(tmp_path, table):
    sizes = [0, 1, 7, 3, 0, 1500]
    segment, contents, unfit = packed(tmp_path, table, sizes, row_group_rows=400)
    assert segment is not None
    assert not unfit
    path = tmp_path / segment.file
    assert is_segment(segment.file)
    assert count_in(segment.file) == len(sizes)
    assert has_digest(segment.file, hashlib.sha256(path.read_bytes()).hexdigest())
    assert read_index(path) == segment.packed
    for each in segment.packed:
        assert bytes_of(path, each) == contents[each.file]
    # By both readers: all rows, in the order of the files, and which file each is from.
    files = [tmp_path / each.file for each in segment.packed]
    every = pl.scan_parquet(files, hive_partitioning=False, glob=False).collect()
    found = pl.read_parquet(path, hive_partitioning=False, glob=False)
    assert found.drop(COLUMN).equals(every)
    numbers = np.repeat([each.number for each in segment.packed], sizes)
    assert found[COLUMN].to_list() == numbers.tolist()
    for number, each in enumerate(segment.packed):
        mine = found.slice(each.first_row, each.rows).drop(COLUMN)
        assert mine.equals(pl.read_parquet(files[number], hive_partitioning=False, glob=False))
    with duckdb.connect() as database:
        one = f"read_parquet('{path}', hive_partitioning = false)"
        many = f"read_parquet({[str(file) for file in files]}, hive_partitioning = false)"
        for query in ("count(*)", "sum(hash(t))"):
            mine = database.execute(
                f"select {query} from (select * exclude {COLUMN} from {one}) t"
            ).fetchall()
            assert mine == database.execute(f"select {query} from {many} t").fetchall()
        third = segment.packed[2]
        rows = database.execute(f"select count(*) from {one} where {COLUMN} = {third.number}").fetchall()
        assert rows == [(third.rows,)]


def test_statistics_by_which_readers_pass_over_what_they_do_not_need_are_kept(tmp_path):
    segment, _, _ = packed(tmp_path, "predictions", [3, 1500])
    with duckdb.connect() as database:
        told = database.execute(
            f"select row_group_id, path_in_schema, stats_min_value is not null from "
            f"parquet_metadata('{tmp_path / segment.file}')"
        ).fetchall()
    stated = {(group, column.replace(" ", "")) for group, column, has in told if has}
    assert {(0, "model"), (0, "language"), (0, COLUMN), (1, COLUMN), (1, "num_tokens")} <= stated
    assert (0, "num_tokens") not in stated


def test_what_is_damaged_or_of_another_layout_stays_out(tmp_path):
    contents, sources = {}, []
    for number, table in enumerate(["predictions", "predictions", "tokens", "predictions"]):
        file = f"tables/predictions/{number}.parquet"
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        written = write_parquet(frame(table, 4, number), tmp_path / file, {})
        contents[file] = (tmp_path / file).read_bytes()
        sources.append(Original(file, written.size_bytes, written.digest, 5 if number == 3 else 4))
    first = sources[0].file
    contents[first] = contents[first][:40] + b"?" + contents[first][41:]
    unfit = {}
    segment = write_segment(
        tmp_path,
        "predictions",
        sources,
        lambda source: contents[source.file],
        lambda source, error: unfit.update({source.file: str(error)}),
    )
    assert [each.file for each in segment.packed] == [sources[1].file]
    assert [next(iter(unfit)), *list(unfit)[1:]] == [sources[0].file, sources[2].file, sources[3].file]
    assert "has other bytes" in unfit[sources[0].file]
    assert "layout" in unfit[sources[2].file]
    assert "4 rows, 5 in the manifest" in unfit[sources[3].file]
    nothing = write_segment(tmp_path, "predictions", sources[:1], lambda source: b"", lambda *told: None)
    assert nothing is None
    assert len(list((tmp_path / "tables/predictions/segments").iterdir())) == 1


def test_every_damage_of_a_segment_is_told(tmp_path):
    """A bit anywhere: either the index is refused, or the file that it is in, or the segment by its name."""
    segment, contents, _ = packed(tmp_path, "predictions", [5, 2, 9])
    path, draw = tmp_path / segment.file, random.Random(1)
    whole = path.read_bytes()
    path.chmod(0o644)
    for _ in range(300):
        at, bit = draw.randrange(len(whole)), 1 << draw.randrange(8)
        damaged = bytearray(whole)
        damaged[at] ^= bit
        path.write_bytes(damaged)
        assert not has_digest(segment.file, hashlib.sha256(damaged).hexdigest())
        try:
            index = read_index(path)
        except StoreError:
            continue
        assert index == segment.packed, "other places than were written"
        for each in index:
            got = bytes_of(path, each)
            inside = each.start <= at < each.start + each.length
            inside |= each.footer_start <= at < each.footer_start + each.footer_length
            # Some bits of a compressed footer mean nothing.
            assert got == contents[each.file] or inside
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match="cannot be read"):
            read_index(path)


@pytest.mark.parametrize("seed", range(200))
def test_what_is_no_footer_is_a_value_error_and_never_hangs(seed):
    draw = random.Random(seed)
    content = draw.randbytes(draw.randrange(1, 60))
    try:
        found = parsed_struct(content)
        for value in found.fields.values():
            for read in ("number", "text", "fields", "items"):
                try:
                    getattr(value, read)
                except ValueError:
                    continue
    except ValueError:
        pass
