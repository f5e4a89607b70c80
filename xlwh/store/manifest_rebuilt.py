"""Putting a whole history in the place of a manifest, and reading it off one that cannot be worked with."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from xlwh.errors import StoreError
from xlwh.store import journal, spill
from xlwh.store.files import MANIFEST, PLACE, path_beside, publish, sync
from xlwh.store.journal import History, Journal, about, history
from xlwh.store.manifest import Scope
from xlwh.store.manifest_file import ManifestFile, introduce, log_ahead, new_database
from xlwh.store.manifest_sql import fill, note_scope
from xlwh.store.place import Place, is_embedded, read_place, write_place
from xlwh.store.soundness import DamagedManifestError, beside, require_whole

WriteJournal = Callable[[History, str], list[str]]
"""Writes the journal of a history, right before its manifest is in place. The former one may be kept under a name, which is
given without its ending; the names of what was kept."""


def write_file(path: Path, values: Mapping[str, str], known: History, scope: Scope | None = None) -> None:
    """Make a SQLite manifest at a path, with all that one is to hold; `StoreError` where that does not fit together."""
    try:
        with closing(new_database(path)) as connection:
            connection.execute("begin")
            fill(connection, values, known)
            if scope is not None:
                note_scope(connection, scope)
            introduce(connection, Journal(path.with_name(journal.NAME)))
            connection.execute("commit")
            require_whole(connection, path)
            log_ahead(connection)
    except sqlite3.Error as error:
        raise StoreError(f"No manifest can be made to commit {known.last}: {error}.") from error


def replace_manifest(
    root: Path, values: Mapping[str, str], known: History, write_journal: WriteJournal
) -> list[str]:
    """Put a manifest with this history in the place of the one of a warehouse. What is kept of the former one, by name."""
    name = _free_name(root)
    return (
        _replace_file(root, values, known, write_journal, name)
        if is_embedded(root)
        else _replace_schema(root, values, known, write_journal, name)
    )


def _replace_file(
    root: Path, values: Mapping[str, str], known: History, write_journal: WriteJournal, name: str
) -> list[str]:
    path = root / MANIFEST
    unfinished = path_beside(path)
    try:
        write_file(unfinished, values, known)
        with Journal(root / journal.NAME).lock():
            aside = write_journal(known, name)
            aside += set_aside(root, name)
            publish(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return aside


def set_aside(root: Path, name: str) -> list[str]:
    """Give the file of a manifest, and what SQLite keeps beside it, another name; the new names."""
    path, aside = root / MANIFEST, list[str]()
    for each in (path, *beside(path)):
        if os.path.lexists(each):
            aside.append(f"{name}{each.name.removeprefix(path.stem)}")
            each.rename(root / aside[-1])
    sync(root)
    return aside


def _replace_schema(
    root: Path, values: Mapping[str, str], known: History, write_journal: WriteJournal, name: str
) -> list[str]:
    from xlwh.store.manifest_postgres import create
    from xlwh.store.postgres import Database

    place, aside = read_place(root), list[str]()

    def replaces(identity: str | None) -> None:
        if identity not in (None, place.identity):
            raise StoreError(
                f"{place.address} holds the manifest of another warehouse. Remove {root / PLACE}, run `xlwh recover`, and name "
                "another schema then: xlwh manifest URL --schema NAME"
            )
        aside[:] = write_journal(known, name)
        write_place(root, Place(place.address, values["identity"]))

    former = create(Database(place.address), values, known, None, replaces)
    return aside if former is None else [*aside, f"the schema {former}"]


def _free_name(root: Path) -> str:
    number = 1
    while any(root.glob(f"manifest-damaged-{number}.*")):
        number += 1
    return f"manifest-damaged-{number}"


def own_history(root: Path) -> History | None:
    """All that the manifest of a warehouse holds, where it is whole by itself, whatever its journal says."""
    return _history_of_file(root / MANIFEST) if is_embedded(root) else _history_of_schema(root)


def _history_of_schema(root: Path) -> History | None:
    from xlwh.store.manifest_postgres import everything, identity_of
    from xlwh.store.postgres import Database

    place = read_place(root)
    database = Database(place.address)
    if identity_of(database) != place.identity:
        return None
    with database.reading() as connection:
        return everything(connection)[1]


def _history_of_file(path: Path) -> History | None:
    """The same for a file, with the log beside it or without. Found in a copy, among the temporary files: SQLite writes what lies beside a database
    into it, also where that is of another one.
    """
    if not path.is_file():
        return None
    log = path.with_name(f"{path.name}-wal")
    for files in ([path, log], [path]):
        with TemporaryDirectory(dir=spill.folder(), prefix="manifest-") as folder:
            for file in files:
                if file.is_file():
                    shutil.copyfile(file, Path(folder) / file.name)
            try:
                return _whole_history(Path(folder) / path.name)
            except DamagedManifestError:
                continue
    return None


def _whole_history(path: Path) -> History | None:
    with ManifestFile(path).open() as connection:
        require_whole(connection, path)
        connection.execute("begin")
        known = about(connection)
        [[first]] = connection.execute("select min(created_at) from commits")
        if first is None:
            return None
        return history(connection, known.get("identity", secrets.token_hex(16)), known.get("began_at", first))
