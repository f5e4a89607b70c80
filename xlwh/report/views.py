"""Rows of the views that figures read: asked once per state of the warehouse, small enough to keep."""

from __future__ import annotations

import threading
from collections.abc import Callable

import duckdb
import polars as pl

from xlwh.errors import SqlError
from xlwh.store.connect import failure

MAX_ROWS = 200_000
"""Rows kept of one view. Views that figures read have a row per language, layer or head, not per word."""


class FrameViews:
    """Views as frames, from anything that hands out a connection; safe to use from several threads."""

    def __init__(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        """`connect` returns a connection or cursor that this may close."""
        self._connect = connect
        self._frames: dict[str, pl.DataFrame | None] = {}
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}
        self._running: set[duckdb.DuckDBPyConnection] = set()

    def frame(self, name: str) -> pl.DataFrame | None:
        """All rows of a view; None if there is no such view. `SqlError` if it cannot be computed or is too long."""
        with self._lock:
            if name in self._frames:
                return self._frames[name]
            asking = self._asking.setdefault(name, threading.Lock())
        with asking:
            with self._lock:
                if name in self._frames:
                    return self._frames[name]
            found = self._ask(name)
            with self._lock:
                self._frames[name] = found
            return found

    def ready(self, name: str) -> bool:
        """Whether the rows are at hand."""
        with self._lock:
            return name in self._frames

    def stop(self) -> None:
        """End what is being asked for, with an error for whoever waits for it."""
        for connection in list(self._running):
            connection.interrupt()

    def _ask(self, name: str) -> pl.DataFrame | None:
        with self._connect() as connection:
            self._running.add(connection)
            try:
                known = connection.execute(
                    "select count(*) from duckdb_views() where view_name = ? and schema_name = 'main'", [name]
                ).fetchall()
                if known == [(0,)]:
                    return None
                quoted = name.replace('"', '""')
                found: pl.DataFrame = connection.sql(f'from "{quoted}" limit {MAX_ROWS + 1}').pl()
            except duckdb.Error as error:
                raise SqlError(f"The view {name} cannot be computed: {failure(error)}") from error
            finally:
                self._running.discard(connection)
        if found.height > MAX_ROWS:
            raise SqlError(f"The view {name} has more than {MAX_ROWS:,} rows: too many for a figure.")
        return found
