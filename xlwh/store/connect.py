"""Read-only DuckDB connections that are locked to the tables of one warehouse."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from xlwh.errors import StoreError
from xlwh.store.files import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Callable

PRIVATE = "xlwh-private-"
"""How the folder of a private copy of a catalogue begins."""


def open_private(make: Callable[[Path], object]) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the DuckDB file that `make` leaves at the path it is given; the file has no name then.

    Private, since within one process DuckDB opens the same path only once: a second connection to the catalogue would
    see it as it was when the first one was opened, however often it was replaced since.
    """
    with tempfile.TemporaryDirectory(prefix=PRIVATE) as folder:
        path = Path(folder) / "catalog.duckdb"
        make(path)
        return silenced(duckdb.connect(path, read_only=True))


def silenced(database: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The same connection without a progress bar, which DuckDB draws on standard output, amid what is printed there."""
    # In a notebook without ipywidgets the setting cannot be changed, and no bar is drawn either.
    with suppress(duckdb.InvalidInputException):
        database.execute("set enable_progress_bar = false")
    return database


def open_sandboxed(
    make: Callable[[Path], object], root: Path, memory_limit: str | None = None
) -> duckdb.DuckDBPyConnection:
    """The same for a catalogue, locked to its tables and metrics and with its settings locked."""
    database = open_private(make)
    try:
        if memory_limit is not None:
            database.execute("set memory_limit = $1", [memory_limit])
        _lock_down(database, root)
    except duckdb.Error as error:
        database.close()
        raise StoreError(f"The catalogue of {root} cannot be opened safely: {error}.") from error
    return database


def _lock_down(database: duckdb.DuckDBPyConnection, root: Path) -> None:
    spill = root / f"{UNFINISHED}spill-{secrets.token_hex(8)}"
    folders = ", ".join("'{}'".format(str(root / name).replace("'", "''")) for name in ("tables", "metrics"))
    # In this order: the last two close the door behind the others.
    for setting in (
        f"temp_directory = '{str(spill).replace(chr(39), chr(39) * 2)}'",
        "parquet_metadata_cache = true",
        f"allowed_directories = [{folders}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        database.execute(f"set {setting}")
