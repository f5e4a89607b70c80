"""Whether a file is a manifest that can be worked with: SQLite, of xlwh, of a schema that is known, and not altered."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from xlwh.errors import StoreError

APPLICATION_ID = 0x786C7768
"""SQLite's field for the kind of a file: `xlwh` in ASCII. Manifests of earlier versions have 0."""

SCHEMA_VERSION = 2
"""SQLite's `user_version` of the manifests that are made here. Manifests of earlier versions have 0."""

MOVED = 1 << 30
"""In place of the version: the manifest is elsewhere now, and this file is what it was."""

RECOVER = "Run: `xlwh recover`"

_SUFFIXES = ("-wal", "-shm", "-journal")


class DamagedManifestError(StoreError):
    """The file of the manifest is none, or another one than it must be; `xlwh recover` rebuilds it."""

    def __init__(self, place: Path | str, why: str) -> None:
        super().__init__(f"The manifest {place} cannot be used: {why}. {RECOVER}.")
        self.why = why


class LostManifestError(StoreError):
    """Something is stored, and the manifest is gone; `xlwh recover` makes one."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(
            f"The manifest {path} is gone, and something is stored in this warehouse ({found}). {RECOVER}."
        )


def beside(path: Path) -> list[Path]:
    """The files that SQLite keeps beside a database, those that are there."""
    found = (path.with_name(f"{path.name}{suffix}") for suffix in _SUFFIXES)
    return [each for each in found if os.path.lexists(each)]


def unusable(path: Path, error: sqlite3.Error) -> StoreError:
    """What SQLite says of a manifest as an error of ours, with what mends it."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(
            f"The manifest {path} cannot be used: {error}. Wait for the process that holds it, or stop it."
        )
    damaged = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH)
    # Text that is no UTF-8 has no code.
    if primary in damaged or primary is None or code == sqlite3.SQLITE_IOERR_SHORT_READ:
        return DamagedManifestError(path, str(error))
    return StoreError(f"The manifest {path} cannot be used: {error}.")


def require_length(path: Path) -> None:
    """Refuse a SQLite file that is shorter than it says; what is missing SQLite notices only when it is read."""
    for _ in range(2):
        with path.open("rb") as file:
            header = file.read(100)
            size = file.seek(0, os.SEEK_END)
        if not header.startswith(b"SQLite format 3\0"):
            return  # SQLite says that itself
        page = int.from_bytes(header[16:18], "big")
        pages = int.from_bytes(header[28:32], "big")
        # Another process may be writing it from its log just now.
        if size >= pages * (65536 if page == 1 else page) or path.with_name(f"{path.name}-wal").exists():
            return
    raise DamagedManifestError(path, f"it was cut short to {size} bytes")


def require_schema(connection: sqlite3.Connection, path: Path, statements: Iterable[str]) -> None:
    """Refuse a database that is not what `statements` make, or made in an earlier version; it may have more columns.

    `StoreError` for one of a later version of xlwh, `DamagedManifestError` for anything else.
    """
    [[application]] = connection.execute("pragma application_id")
    [[version]] = connection.execute("pragma user_version")
    if application not in (0, APPLICATION_ID):
        raise DamagedManifestError(path, "it is a file of another program")
    if version == MOVED:
        raise StoreError(
            f"The manifest {path} was moved to a database, which manifest.toml names; this is the former one."
        )
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"The manifest {path} cannot be used: a later version of xlwh made it (schema {version}, this one knows "
            f"{SCHEMA_VERSION}). Install that version."
        )
    found = {
        name: (kind, sql)
        for kind, name, sql in connection.execute(
            "select type, name, sql from sqlite_master where sql is not null"
        )
    }
    if not found:
        raise DamagedManifestError(path, "it is empty")
    for name, (kind, _) in found.items():
        if kind in ("view", "trigger"):
            raise DamagedManifestError(path, f"it has a {kind} `{name}`, which xlwh never makes")
    for statement in statements:
        wanted = _plain(statement)
        kind, name = _kind_and_name(wanted)
        there = found.get(name)
        if there is None:
            if kind == "table" and name in _REQUIRED:
                raise DamagedManifestError(path, f"it has no table `{name}`")
            if name == _ONE_CURRENT:
                raise DamagedManifestError(path, f"it has no index `{name}`")
            continue
        if not _agrees(kind, wanted, _plain(there[1])):
            raise DamagedManifestError(path, f"its {kind} `{name}` is not as xlwh makes it")


_REQUIRED = ("commits", "versions")
"""Tables that every version has made."""

_ONE_CURRENT = "one_current"
"""The index without which a slot could have two current files."""


def _plain(sql: str) -> str:
    return " ".join(sql.lower().replace("if not exists ", "").replace('"', "").split())


def _kind_and_name(statement: str) -> tuple[str, str]:
    words = statement.removeprefix("create ").removeprefix("unique ").split()
    return words[0], words[1].partition("(")[0]


def _agrees(kind: str, wanted: str, found: str) -> bool:
    if wanted == found:
        return True
    if kind != "table":
        return False
    # Columns are added at the end as versions go on; those that are there must be the same.
    (head, columns), (other, others) = _columns(wanted), _columns(found)
    shared = min(len(columns), len(others))
    return head == other and columns[:shared] == others[:shared] and len(others) >= len(columns) - _ADDED


_ADDED = 4
"""Columns of a table that manifests of earlier versions may lack."""


def _columns(statement: str) -> tuple[str, list[str]]:
    head, _, rest = statement.partition("(")
    return head.strip(), [each.strip() for each in rest.rstrip(") ").split(",")]


def require_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Read all of it; `DamagedManifestError` for pages that are damaged, and for rows that do not fit together."""
    for (problem,) in connection.execute("pragma integrity_check(1)"):
        if problem != "ok":
            raise DamagedManifestError(path, str(problem).strip().splitlines()[-1])
    # Text that is no UTF-8 is an error when it is read, and only then.
    for table in ("commits", "versions"):
        for _ in connection.execute(f"select * from {table}"):
            pass
    for what, query in _INVARIANTS.items():
        [[count]] = connection.execute(query)
        if count:
            raise DamagedManifestError(path, f"{what} ({count})")


_INVARIANTS = {
    "files of commits that it does not have": "select count(*) from versions v where not exists (select 1 from commits c "
    "where c.number = v.valid_from) or (v.valid_to is not null and not exists (select 1 from commits c where "
    "c.number = v.valid_to))",
    "files that ended before they began": "select count(*) from versions where valid_to <= valid_from",
    "values that are not of their type": "select count(*) from versions where typeof(slot_table) <> 'text' or "
    "typeof(keys) <> 'text' or not json_valid(keys) or typeof(part) <> 'text' or typeof(file) <> 'text' or "
    "typeof(fingerprint) <> 'text' or typeof(rows) <> 'integer' or typeof(size_bytes) <> 'integer' or "
    "typeof(version) <> 'integer'",
    "times that are none": "select count(*) from commits where julianday(created_at) is null",
}
