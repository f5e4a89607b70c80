"""What tests of kept rows compare: the rows of views as their own SQL gives them, in a form that can be compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import duckdb

from xlwh.store import Warehouse
from xlwh.store.catalogue import fill
from xlwh.store.manifest import Snapshot


def comparable(value: Any) -> Any:
    """The value with numbers to nine digits: sums differ in the last ones with their order."""
    if isinstance(value, float):
        return f"{value:.9g}" if abs(value) > 1e-12 else "0"
    if isinstance(value, Mapping):
        return {name: comparable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [comparable(each) for each in value]
    return value


def rows(database: duckdb.DuckDBPyConnection, view: str, where: str = "true") -> list[str]:
    """All rows of a view, in an order of their own."""
    found = database.execute(f'select * from "{view}" where {where}').fetchall()
    return sorted(repr([comparable(value) for value in row]) for row in found)


def columns(database: duckdb.DuckDBPyConnection, view: str) -> list[tuple[str, str, str | None]]:
    """Names, types and comments, in their order."""
    return database.execute(
        "select column_name, data_type, comment from duckdb_columns() "
        f"where schema_name = 'main' and table_name = '{view}' order by column_index"
    ).fetchall()


def live(warehouse: Warehouse, snapshot: Snapshot | None = None) -> duckdb.DuckDBPyConnection:
    """A database in which every view is its own SQL over the files of a snapshot, whatever is kept."""
    database = duckdb.connect()
    definitions = warehouse.definitions()
    fill(database, warehouse.root, snapshot or warehouse.manifest.snapshot(), definitions, definitions.files)
    return database


def differing(
    database: duckdb.DuckDBPyConnection, other: duckdb.DuckDBPyConnection, views: Collection[str]
) -> list[str]:
    """The views whose rows, column names or types are not the same."""
    return [
        view
        for view in views
        if rows(database, view) != rows(other, view)
        or [each[:2] for each in columns(database, view)] != [each[:2] for each in columns(other, view)]
    ]
