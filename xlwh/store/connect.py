"""Read-only DuckDB connections that are locked to the tables of one warehouse."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from xlwh.errors import StoreError
from xlwh.store import spill

if TYPE_CHECKING:
    from collections.abc import Callable

PRIVATE = "xlwh-private-"
"""How the folder of a private copy of a catalogue begins."""

FOLDERS = ("tables", "metrics", "kept-by-xlwh-catalogue")
"""Folders of a warehouse that connections read: tables, results of metrics, kept rows of views."""


def open_private(make: Callable[[Path], object]) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the DuckDB file that `make` leaves at the path it is given; the file has no name then.

    Private, since within one process DuckDB opens the same path only once: a second connection to the catalogue would
    see it as it was when the first one was opened, however often it was replaced since.
    """
    with tempfile.TemporaryDirectory(prefix=PRIVATE, dir=spill.folder()) as folder:
        path = Path(folder) / "catalog.duckdb"
        make(path)
        return silenced(duckdb.connect(path, read_only=True))


def silenced(database: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The same connection without a progress bar, which DuckDB draws on standard output, amid what is printed there."""
    # In a notebook without ipywidgets the setting cannot be changed, and no bar is drawn either.
    with suppress(duckdb.InvalidInputException):
        database.execute("set enable_progress_bar = false")
    return database


def open_in_memory(root: Path, memory_limit: str | None = None) -> duckdb.DuckDBPyConnection:
    """An empty database that reads the warehouse at `root` and writes kept rows, and nothing else."""
    return sandboxed(silenced(duckdb.connect()), root, memory_limit)


def sandboxed(
    database: duckdb.DuckDBPyConnection, root: Path, memory_limit: str | None = None
) -> duckdb.DuckDBPyConnection:
    """The same connection, locked to the files of the warehouse at `root` and with its settings locked.

    What does not fit into memory goes to local temporary space (see `xlwh.store.spill`). Closes it where that fails, and
    raises `StoreError`.
    """
    place = spill.folder()
    folders = ", ".join(_text(root / name) for name in FOLDERS)
    try:
        if memory_limit is not None:
            database.execute("set memory_limit = $1", [memory_limit])
        # In this order: the last two close the door behind the others.
        for setting in (
            f"temp_directory = {_text(place / secrets.token_hex(8))}",
            f"max_temp_directory_size = {_text(spill.limit(place))}",
            "parquet_metadata_cache = true",
            f"allowed_directories = [{folders}]",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            database.execute(f"set {setting}")
    except duckdb.Error as error:
        database.close()
        raise StoreError(f"The warehouse {root} cannot be read safely: {error}.") from error
    return database


def _text(value: Path | str) -> str:
    return "'" + str(value).replace("'", "''") + "'"
