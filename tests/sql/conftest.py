"""Fixtures of the SQL tests: frames from partial rows, and a real warehouse filled with them.

A test writes down only the columns it is about; the others get a default that the table's contract accepts:

    def test_accuracy(connect):
        database = connect(predictions=[{"example_id": "1", "label": "a", "predicted": "a"}])
        assert database.sql("select value from task_scores where metric = 'accuracy'").fetchall() == [(1.0,)]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from xlwh.tables import TABLES

SQL = Path(__file__).resolve().parents[2] / "sql"
Rows = Iterable[Mapping[str, Any]]
FrameBuilder = Callable[..., pl.DataFrame]

DEFAULTS: dict[str, Any] = {
    "model": "m",
    "dataset": "d",
    "split": "dev",
    "language": "en",
    "source_language": "en",
    "target_language": "de",
    "example_id": "1",
    "task": "sentence_pair",
    "method": "lig",
    "target": "yes",
    "target_policy": "source_prediction",
    "space": "vectors",
    "unit": "word",
    "normalization": "abs",
    "kind": "path",
    "weight_hash": "0" * 64,
    "tokenizer_hash": "0" * 64,
    "variant": "paper",
    "parameters": "{}",
}
"""Columns whose contract accepts few values, or that many tables share; every other column is NULL, zero, false
or its own name, by type."""


def _default(name: str, column: Any) -> Any:
    if column.nullable:
        return None
    if name in DEFAULTS:
        return DEFAULTS[name]
    dtype = column.dtype
    if dtype == pl.Boolean:
        return False
    if dtype.is_numeric():
        return column.min or 0
    if isinstance(dtype, pl.List):
        return []
    return name


@pytest.fixture(scope="session")
def frame() -> FrameBuilder:
    """frame(table, rows, **common): a frame that keeps the table's contract, made from partial rows."""

    def build(table: str, rows: Rows, **common: Any) -> pl.DataFrame:
        contract = TABLES[table]
        columns = contract.columns()
        filled = []
        for row in rows:
            given = {**common, **row}
            unknown = set(given) - set(columns)
            assert not unknown, f"{table} has no column {sorted(unknown)}"
            filled.append({name: given.get(name, _default(name, c)) for name, c in columns.items()})
        made = pl.DataFrame(filled, schema={name: c.dtype for name, c in columns.items()})
        return contract.validate(made)

    return build


def _open(tables: Mapping[str, pl.DataFrame]) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect()
    for name, made in tables.items():
        database.register("made", made)
        database.execute(f"create table {name} as select * from made")
    database.unregister("made")
    for file in sorted(SQL.glob("macros/*.sql")):
        database.execute(file.read_text())
    waiting = {
        f.stem: f.read_text() for folder in ("core", "metric", "mart") for f in (SQL / folder).glob("*.sql")
    }
    while waiting:
        failed: dict[str, str] = {}
        reason: Exception | None = None
        for name, text in waiting.items():
            try:
                database.execute(f"create view {name} as {text}")
            except duckdb.CatalogException as error:
                failed[name], reason = text, error
        if len(failed) == len(waiting):
            raise AssertionError(f"views that cannot be made: {sorted(failed)}") from reason
        waiting = failed
    return database


@pytest.fixture
def connect(frame: FrameBuilder) -> Iterator[Callable[..., duckdb.DuckDBPyConnection]]:
    """connect(predictions=[rows], tokens=frame, ...): a connection with every view over these tables."""
    opened: list[duckdb.DuckDBPyConnection] = []

    def build(**tables: Rows | pl.DataFrame) -> duckdb.DuckDBPyConnection:
        assert set(tables) <= set(TABLES), f"no such table: {sorted(set(tables) - set(TABLES))}"
        given = {name: tables.get(name, ()) for name in TABLES}
        frames = {n: t if isinstance(t, pl.DataFrame) else frame(n, t) for n, t in given.items()}
        opened.append(_open(frames))
        return opened[-1]

    yield build
    for database in opened:
        database.close()


@pytest.fixture(scope="session")
def catalogue(frame: FrameBuilder) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with every view over empty tables, shared by the tests that only look at names and types."""
    with _open({name: frame(name, ()) for name in TABLES}) as database:
        yield database
