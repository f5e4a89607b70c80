"""Fixtures of the SQL tests: frames from partial rows, and a real warehouse filled with them.

A test writes down only the columns it is about; the others get a default that the table's contract accepts:

    def test_accuracy(connect):
        database = connect(predictions=[{"example_id": "1", "label": "a", "predicted": "a"}])
        assert database.sql("select value from task_scores where metric = 'accuracy'").fetchall() == [(1.0,)]
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from xlwh.store import Slot, Warehouse
from xlwh.tables import TABLES

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
    "alignment": "given",
    "kind": "path",
    "clustering": "d.encoder.1.monolingual-en.k2.s0",
    "corpus": "d",
    "scope": "monolingual:en",
    "stack": "encoder",
    "layer": 1,
    "aggregation": "last",
    "algorithm": "faiss",
    "baseline": "none",
    "provenance": "dictionary.txt",
    "weight_hash": "0" * 64,
    "tokenizer_hash": "0" * 64,
    "variant": "paper",
    "parameters": "{}",
    "importance": "signed",
    "mode": "hard",
    "masking": "mask",
    "masked_at": "tokens",
    "empty_input": "all",
    "query": "none",
    "side": "sufficiency",
    "value_unit": "share",
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


@pytest.fixture(scope="session")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue of an empty warehouse: made into that of another one in a tenth of the time."""
    return Warehouse(tmp_path_factory.mktemp("empty"), create=True).build_catalogue()


def _fill(root: Path, tables: Mapping[str, pl.DataFrame], views: Path) -> Warehouse:
    """A warehouse with these tables, one file for each partition and dataset, and its catalogue."""
    warehouse = Warehouse(root, create=True)
    shutil.copyfile(views, root / "catalog.duckdb")
    frames: dict[Slot, pl.DataFrame] = {}
    for name, table in tables.items():
        partition = TABLES[name].partition_by
        part = [c for c in ("dataset",) if c in table.columns and c not in partition and partition]
        groups = table.partition_by(*partition, *part, as_dict=True) if partition else {(): table}
        for values, group in groups.items():
            slot = Slot(name, values[: len(partition)], *values[len(partition) :])
            frames[slot] = group
    warehouse.write(frames, fingerprint="0" * 32)
    warehouse.build_catalogue()
    return warehouse


@pytest.fixture(scope="session")
def warehouse(
    frame: FrameBuilder, tmp_path_factory: pytest.TempPathFactory, views: Path
) -> Callable[..., Warehouse]:
    """warehouse(predictions=[rows], tokens=frame, ...): a new warehouse on disk that holds these tables."""

    def build(**tables: Rows | pl.DataFrame) -> Warehouse:
        assert set(tables) <= set(TABLES), f"no such table: {sorted(set(tables) - set(TABLES))}"
        made = {n: t if isinstance(t, pl.DataFrame) else frame(n, t) for n, t in tables.items()}
        return _fill(tmp_path_factory.mktemp("warehouse"), made, views)

    return build


@pytest.fixture
def connect(warehouse: Callable[..., Warehouse]) -> Iterator[Callable[..., duckdb.DuckDBPyConnection]]:
    """connect(predictions=[rows], tokens=frame, ...): a read-only connection with every view over these tables."""
    opened: list[duckdb.DuckDBPyConnection] = []

    def build(**tables: Rows | pl.DataFrame) -> duckdb.DuckDBPyConnection:
        opened.append(warehouse(**tables).connect())
        return opened[-1]

    yield build
    for database in opened:
        database.close()


@pytest.fixture(scope="session")
def catalogue(warehouse: Callable[..., Warehouse]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with every view over empty tables, shared by the tests that only look at names and types."""
    with warehouse().connect() as database:
        yield database
