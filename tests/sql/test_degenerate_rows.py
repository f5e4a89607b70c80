"""Every view over degenerate rows: one model's gaps neither break a view nor move another model's numbers.

From the warehouse with two of everything, one column after another of what belongs to model `two` (or to the second
dataset, lexicon or space, where a table has no model) is made NULL, or its lists empty, and every view that reads the
table is asked again. Rows of model `one`, which needs nothing of `two`, must be what they were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from xlwh.store.views import View, load_views, shipped_sql
from xlwh.store.views import load as load_definitions
from xlwh.tables import TABLES

STEPS = load_definitions((shipped_sql(),)).steps
VIEWS = {view.name: view for view in load_views()}
PART = {
    "examples": "dataset = 'paws-x'",
    "rejected_rows": "dataset = 'paws-x'",
    "lexicon": "lexicon = 'b'",
    "word_vectors": "space = 'b'",
    "published_results": "paper = 'faithfulness'",
}
"""Of tables without a model: which rows are spoilt. Views are then compared over the other dataset, lexicon or space."""


@pytest.fixture(scope="module")
def database(populated) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same rows and views in memory, where tables can be spoilt; bootstraps of 25 resamples instead of 1000."""
    memory = duckdb.connect()
    memory.sql("set threads = 1")
    memory.sql("create schema files")
    for table in TABLES:
        if VIEWS[table].folder == "source":
            memory.register("rows", populated.sql(f'from "{table}"').to_arrow_table())
            memory.sql(f'create table files."{table}" as from rows')
            memory.unregister("rows")
    for step in STEPS:
        sql = step.sql.replace("range(1000)", "range(25)").replace("range(2000)", "range(25)")
        memory.sql(f'create view "{step.name}" as {sql}' if isinstance(step, View) else sql)
    yield memory
    memory.close()


def readers(table: str) -> list[str]:
    """The views below the sources that read a table, directly or through others."""
    found = {table}
    for step in STEPS:
        if isinstance(step, View) and found & set(step.depends_on):
            found.add(step.name)
    return sorted(name for name in found if VIEWS[name].folder != "source")


def rows_of(database: duckdb.DuckDBPyConnection, view: str, where: str = "true") -> pl.DataFrame:
    frame = database.sql(f'from "{view}" where {where}').pl()
    return frame.sort(*VIEWS[view].key)


def untouched(table: str, view: str) -> str:
    """Which rows of a view do not depend on the spoilt rows of the table; none where that cannot be told."""
    columns = set(VIEWS[view].columns)
    if table in PART:
        column = PART[table].split(" ")[0]
        return f"not ({PART[table]})" if column in columns and table != "published_results" else "false"
    return "model = 'one'" if "model" in columns else "false"


def holes() -> list[tuple[str, str, str]]:
    """Table, column and what becomes of it: NULL where the contract allows it, of lists an empty one and one of NULLs."""
    found = []
    for table, contract in TABLES.items():
        if VIEWS[table].folder != "source" or not readers(table):
            continue
        for name, column in contract.columns().items():
            if column.nullable and name not in contract.key:
                found.append((table, name, "null"))
            if isinstance(column.dtype, pl.List):
                found.append((table, name, "[]"))
    return found


def sound(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, list) or all(map(sound, value))


@pytest.fixture(scope="module")
def expected(database) -> dict[str, pl.DataFrame]:
    """What views have before anything is spoilt."""
    return {view: rows_of(database, view) for view in {v for table in TABLES for v in readers(table)}}


def check(database, expected: dict[str, pl.DataFrame], table: str, changes: str, views: list[str]) -> None:
    """Spoil a table, ask every view, and put it back."""
    database.sql("begin")
    try:
        database.sql(changes)
        for view in views:
            frames = [rows_of(database, view), expected[view]]
            assert all(sound(list(row)) for row in frames[0].rows()), view
            kept = f"select * from rows where {untouched(table, view)}"
            found, before = (pl.SQLContext(rows=frame).execute(kept, eager=True) for frame in frames)
            assert_frame_equal(found, before, rel_tol=1e-9)
    finally:
        database.sql("rollback")


def test_nothing_spoilt_is_sound(expected):
    for view, frame in expected.items():
        assert all(sound(list(row)) for row in frame.rows()), view


@pytest.mark.parametrize("table", sorted({table for table, *_ in holes()}))
def test_all_holes_of_one_models_rows_stay_there(database, expected, table):
    """At once, and without the marts, which read everything."""
    spoilt = {column: hole for name, column, hole in holes() if name == table}
    changes = ", ".join(f'"{column}" = {hole}' for column, hole in spoilt.items())
    views = [view for view in readers(table) if VIEWS[view].folder != "mart"]
    where = PART.get(table, "model = 'two'")
    check(database, expected, table, f'update files."{table}" set {changes} where {where}', views)


@pytest.mark.slow
@pytest.mark.parametrize(("table", "column", "hole"), holes())
def test_a_hole_in_one_models_rows_stays_there(database, expected, table, column, hole):
    where = PART.get(table, "model = 'two'")
    changes = f'update files."{table}" set "{column}" = {hole} where {where}'
    check(database, expected, table, changes, readers(table))


@pytest.mark.slow
@pytest.mark.parametrize("table", [table for table in TABLES if readers(table)])
def test_views_of_an_empty_table_are_there(database, table):
    database.sql("begin")
    try:
        database.sql(f'delete from files."{table}"')
        for view in readers(table):
            assert all(sound(list(row)) for row in rows_of(database, view).rows()), view
    finally:
        database.sql("rollback")
