"""Read-only DuckDB connections that are locked to the tables of one warehouse; and what its catalogue says of itself."""

from __future__ import annotations

import atexit
import os
import secrets
import tempfile
import weakref
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING

import duckdb

from xlwh.errors import SqlError, StoreError
from xlwh.failures import full_disk
from xlwh.store import spill
from xlwh.store.addresses import SCHEME
from xlwh.store.files import KEPT as KEPT
from xlwh.store.files import NAME as NAME
from xlwh.store.literals import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PRIVATE = "xlwh-private-"
"""How the folder of a private copy of a catalogue begins."""

FORM = 2
"""Of a catalogue, where another one could not be read in the sandbox: one of another form counts as none."""

FOLDERS = ("tables", "metrics", KEPT)
"""Folders of a warehouse that connections read."""

_open: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
"""Sandboxed connections that are in use."""


@dataclass(frozen=True)
class CatalogueInfo:
    """What a catalogue says of itself."""

    commit: int
    """Manifest commit that it shows."""
    built_at: datetime
    """UTC."""
    root: str
    """Warehouse that its paths lead to."""
    definitions: str
    """Digest of the SQL and the contracts that it was built from."""
    kept: Mapping[str, Mapping[str, int]]
    """View whose kept rows it reads -> their files, relative to the kept rows' folder, and their bytes."""
    changes: str
    """What `xlwh.store.kept.changes` was when the kept rows were looked up."""

    def lost(self) -> list[str]:
        """Those of the files that are gone, or not of the size that they had."""
        folder = Path(self.root) / KEPT
        return [file for files in self.kept.values() for file in files if _size(folder / file) != files[file]]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def failure(error: duckdb.Error) -> SqlError:
    """What DuckDB says of a query as an error of ours, with what mends it where a stored file is at fault."""
    text = str(error).rstrip()
    if "Traceback (most recent call last)" in text:
        # What our file system raised; the last line says it.
        text = text.rpartition("\n")[2]
    if KEPT in text:
        return SqlError(f"{text}\nThe kept rows of a view are damaged or gone. Run: `xlwh catalogue`.")
    if "parquet" in text.lower() or "TProtocolException" in text:
        text += "\nIf a file of the warehouse is damaged, `xlwh repair` makes it again, and `xlwh catalogue` mends kept rows."
    return SqlError(text)


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


def read_info(path: Path) -> CatalogueInfo | None:
    """What the catalogue at `path` says of itself; None if it is none or cannot be read."""
    try:
        opened = _open_informed(path)
    except StoreError:
        # Without room for a copy of it: whoever makes room has to know too.
        opened = _informed(silenced(duckdb.connect(path, read_only=True)))
    if opened is None:
        return None
    database, info = opened
    database.close()
    return info


def same_place(one: Path | str, other: Path | str) -> bool:
    """Whether two paths lead to one folder, however they are spelt: through links, or in another case."""
    try:
        return str(one) == str(other) or os.path.samefile(one, other)
    except OSError:
        return False


def open_catalogue(root: Path, memory_limit: str | None = None) -> duckdb.DuckDBPyConnection | None:
    """A sandboxed connection to the catalogue of the warehouse at `root`, as it stands.

    None where it is missing, cannot be read, was built for another place, or reads kept rows that are gone or cut short.
    """
    opened = _open_informed(root / NAME)
    if opened is None:
        return None
    database, info = opened
    if not same_place(info.root, root) or info.lost():
        database.close()
        return None
    # The root as its own paths spell it, which need not be as we do.
    return sandboxed(database, Path(info.root), memory_limit)


def open_in_memory(
    root: Path, memory_limit: str | None = None, keeps: bool = False
) -> duckdb.DuckDBPyConnection:
    """An empty database that reads the warehouse at `root`, with `keeps` writes kept rows, and nothing else."""
    return sandboxed(silenced(duckdb.connect()), root, memory_limit, keeps)


def _open_informed(path: Path) -> tuple[duckdb.DuckDBPyConnection, CatalogueInfo] | None:
    """A private copy of a catalogue; None if it is none or cannot be read. `StoreError` where there is no room for one."""
    try:
        return _informed(open_private(partial(copyfile, path)))
    except (duckdb.Error, OSError) as error:
        if full := full_disk(error, [spill.folder()]):
            raise StoreError(f"The catalogue {path} cannot be opened. {full}") from error
        return None


def _informed(
    database: duckdb.DuckDBPyConnection,
) -> tuple[duckdb.DuckDBPyConnection, CatalogueInfo] | None:
    try:
        return database, info_of(database)
    except duckdb.Error:
        database.close()
        return None


def info_of(database: duckdb.DuckDBPyConnection) -> CatalogueInfo:
    """What an open catalogue says of itself. Raises `duckdb.Error` for a database that is none, or of another form."""
    rows = database.execute(
        "select form, commit, built_at, root, definitions, changes from catalogue_info"
    ).fetchall()
    if [tuple(map(type, row)) for row in rows] != [(int, int, datetime, str, str, str)]:
        raise duckdb.InvalidInputException("The catalogue says something else of itself than xlwh writes.")
    [(form, commit, built_at, root, definitions, changes)] = rows
    if form != FORM:
        raise duckdb.InvalidInputException(f"The catalogue is of form {form}.")
    kept: dict[str, dict[str, int]] = {}
    for file, size in database.execute("select file, size_bytes from kept.files").fetchall():
        kept.setdefault(file.partition("/")[0], {})[file] = size
    return CatalogueInfo(commit, built_at.replace(tzinfo=UTC), root, definitions, kept, changes)


def read_objects(database: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Let a connection that is not sandboxed read the files of a warehouse as sandboxed ones do, if they are in an object store."""
    from xlwh.store.filesystem import StoredFiles
    from xlwh.store.objects import behind

    if behind(root) is not None:
        database.register_filesystem(StoredFiles([root / name for name in FOLDERS]))
        # By this the macro that makes paths knows it.
        database.execute(f"set allowed_directories = [{quoted(SCHEME)}]")


def sandboxed(
    database: duckdb.DuckDBPyConnection, root: Path, memory_limit: str | None = None, keeps: bool = False
) -> duckdb.DuckDBPyConnection:
    """The same connection, locked to reading the files of the warehouse at `root`, and with its settings locked.

    It has no access to the disk but through `xlwh.store.filesystem`; with `keeps` it may also write to the folder of kept
    rows. What does not fit into memory goes to local temporary space (see `xlwh.store.spill`). Closes it where that
    fails, and raises `StoreError`.
    """
    from xlwh.store.filesystem import StoredFiles

    place = spill.folder()
    folders = [root / name for name in FOLDERS]
    allowed = [f"{SCHEME}{folder}/" for folder in folders] + ([f"{root / KEPT}/"] if keeps else [])
    try:
        database.register_filesystem(StoredFiles(folders))
        if memory_limit is not None:
            database.execute("set memory_limit = $1", [memory_limit])
        # In this order: the last two close the door behind the others.
        for setting in (
            f"temp_directory = {quoted(str(place / secrets.token_hex(8)))}",
            f"max_temp_directory_size = {quoted(spill.limit(place))}",
            "parquet_metadata_cache = true",
            # As of any local file: the system keeps them in memory already.
            "enable_external_file_cache = false",
            f"allowed_directories = [{', '.join(map(quoted, allowed))}]",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            database.execute(f"set {setting}")
    except duckdb.Error as error:
        database.close()
        raise StoreError(f"The warehouse {root} cannot be read safely: {error}.") from error
    _open.add(database)
    return database


@atexit.register
def _close_all() -> None:
    # A thread of DuckDB that reads ahead when Python ends would take the process down with it.
    for database in list(_open):
        database.close()
