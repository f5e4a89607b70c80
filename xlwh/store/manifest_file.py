"""The SQLite file of a manifest: its schema, making it, and opening it only where it is what it must be."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sqlite3
import stat
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from xlwh.errors import StoreError
from xlwh.failures import full_disk
from xlwh.store import artefacts, journal
from xlwh.store.clock import stored
from xlwh.store.database import Source
from xlwh.store.files import MANIFEST, PLACE, UNFINISHED, files_in, may_write, path_beside, publish
from xlwh.store.journal import Journal, Mark, about
from xlwh.store.local import require_local
from xlwh.store.locks import FileLock
from xlwh.store.roots import source_of
from xlwh.store.soundness import (
    APPLICATION_ID,
    MOVED,
    RECOVER,
    SCHEMA_VERSION,
    DamagedManifestError,
    LostManifestError,
    beside,
    require_length,
    require_schema,
    require_whole,
    unusable,
)

if TYPE_CHECKING:
    from xlwh.store.slots import Slot

STATEMENTS = (
    """create table if not exists commits (
    number integer primary key autoincrement,
    created_at text not null
)""",
    """create table if not exists versions (
    slot_table text not null,
    keys text not null,
    part text not null,
    file text not null unique,
    fingerprint text not null,
    rows integer not null,
    size_bytes integer not null,
    version integer not null,
    valid_from integer not null references commits (number),
    valid_to integer references commits (number),
    removed integer not null default 0,
    digest text,
    segment text,
    number integer,
    packed_from integer references commits (number)
)""",
    "create unique index if not exists one_current on versions (slot_table, keys, part) where valid_to is null",
    "create index if not exists by_validity on versions (valid_from, valid_to)",
    "create index if not exists by_end on versions (valid_to) where valid_to is not null",
    "create index if not exists by_segment on versions (segment) where segment is not null",
    "create index if not exists by_packing on versions (packed_from) where packed_from is not null",
    "create table if not exists about (name text primary key, value text not null)",
    """create table if not exists hidden (
    slot_table text not null,
    keys text not null,
    part text not null,
    valid_from integer not null references commits (number),
    valid_to integer references commits (number)
)""",
    "create unique index if not exists one_hidden on hidden (slot_table, keys, part) where valid_to is null",
    "create index if not exists hidden_from on hidden (valid_from)",
    "create index if not exists hidden_to on hidden (valid_to)",
    """create table if not exists scope (
    one integer primary key check (one = 1),
    study text not null,
    digest text not null,
    head integer not null
)""",
    *artefacts.TABLES,
)
"""What makes the tables and indexes of a manifest. One of an earlier version gets them with its next commit."""

_LATER = {
    "digest": "text",
    "segment": "text",
    "number": "integer",
    "packed_from": "integer references commits (number)",
}
"""Columns of `versions` that manifests of earlier versions lack, in their order."""

_SHARED_BYTES = 200_000
"""On a disk with less room than this SQLite's log and its index, which processes share, may find none."""

_CHECKPOINT = re.compile(r"models/[^/]+/[0-9a-f]{16}/")

_whole: set[tuple[int, int]] = set()
"""Files that were read to their end in this process, with a log that another one left."""


def has_manifest(root: Path) -> bool:
    """Whether a folder is a warehouse, its manifest sound or not. `StoreError` where it is one whose manifest is lost."""
    if _has_manifest(root):
        return True
    # Of one in an object store it is not here that files are.
    found = None if source_of(root) is not None else _left(root)
    # Another process may have made it since.
    if found is not None and not _has_manifest(root):
        raise LostManifestError(root / MANIFEST, found)
    return _has_manifest(root)


def _has_manifest(root: Path) -> bool:
    return os.path.lexists(root / PLACE) or os.path.lexists(root / MANIFEST)


def _left(root: Path) -> str | None:
    """Something in a folder without a manifest that a warehouse leaves there."""
    journals = [root / journal.NAME, *beside(root / MANIFEST)]
    for path in journals:
        if os.path.lexists(path):
            return path.name
    for folder in ("tables", "models"):
        for path, _ in files_in(root / folder) if (root / folder).is_dir() else ():
            file = path.relative_to(root).as_posix()
            if UNFINISHED not in file and (folder == "tables" or _CHECKPOINT.match(file)):
                return file
    return None


class SqliteConnection(sqlite3.Connection):
    """A connection to a manifest's file."""

    def columns(self, table: str) -> Collection[str]:
        """Names of a table's columns; none where it does not exist."""
        return [name for (name,) in self.execute("select name from pragma_table_info(?)", (table,))]

    def now(self) -> datetime:
        """What this machine's clock says."""
        return datetime.now(UTC)

    def add_commit(self, number: int, now: str) -> None:
        """Make the row of a new commit."""
        self.execute("insert into commits (number, created_at) values (?, ?)", (number, now))

    def require_held(self, slots: Collection[Slot]) -> None:
        """Nothing: who holds a lock of this machine has it until the process ends."""

    @contextmanager
    def recording(self, lock: FileLock) -> Iterator[None]:
        """A transaction that reads, while nobody else writes to the journal that the lock is of."""
        with lock:
            self.execute("begin")
            try:
                yield
            finally:
                self.execute("rollback")


class ManifestFile:
    """One manifest's file, with its journal beside it. Made where there is none and nothing of a warehouse either."""

    def __init__(self, path: Path, timeout_s: float = 60.0) -> None:
        self.path = path
        self.journal = Journal(path.with_name(journal.NAME), timeout_s)
        self._timeout_s = timeout_s
        self._known: tuple[tuple[int, int], int] | None = None
        """File and SQLite's count of changes of its schema, when that was found to be right."""

    def create(self) -> None:
        """Make an empty manifest."""
        require_local(self.path.parent, f"The manifest of {self.path.parent}")
        # Under another name first: a half-made manifest is never seen, whenever the process is killed.
        unfinished = path_beside(self.path)
        try:
            with closing(new_database(unfinished)) as connection:
                introduce(connection, self.journal)
                log_ahead(connection)
            publish(unfinished, self.path)
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        finally:
            for suffix in ("", "-journal", "-wal", "-shm"):
                unfinished.with_name(f"{unfinished.name}{suffix}").unlink(missing_ok=True)

    def _unusable(self, error: sqlite3.Error) -> StoreError:
        full = full_disk(error, [self.path.parent])
        if full:
            return StoreError(f"The manifest {self.path} cannot be used: {error}. {full}")
        return unusable(self.path, error)

    def examine(self) -> None:
        """Refuse a manifest that is damaged, or that is not the one that its journal is of."""
        if not self.path.is_file():
            what = "a folder" if self.path.is_dir() else "a link that leads nowhere"
            raise DamagedManifestError(self.path, f"it is {what}")
        foreign = self.path.with_name(f"{self.path.name}-journal")
        if _holds_something(foreign):
            raise DamagedManifestError(
                self.path, f"SQLite would write {foreign.name} into it, which xlwh never makes"
            )
        require_length(self.path)
        # Before the manifest is read, which is ahead of it.
        mark = self._mark()
        log = self.path.with_name(f"{self.path.name}-wal")
        if _holds_something(log) and self._place() not in _whole:
            self._examine_log(mark)
        with self.open() as connection:
            if mark is not None:
                require_same(connection, self.path, mark)

    def _examine_log(self, mark: Mark | None) -> None:
        # SQLite takes over whatever log lies beside a file, also another file's. To read writes nothing.
        place = self._place()
        try:
            with closing(self._reading("mode=ro")) as connection:
                require_schema(connection, self.path, STATEMENTS)
                require_whole(connection, self.path)
                if mark is not None:
                    require_same(connection, self.path, mark)
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error
        _whole.add(place)

    def _mark(self) -> Mark | None:
        try:
            return self.journal.mark()
        except OSError as error:
            raise StoreError(
                f"The journal of the manifest, {self.journal.path}, cannot be read: {error.strerror}. Move it away; the "
                "next commit writes it anew."
            ) from error

    @contextmanager
    def open(self) -> Iterator[SqliteConnection]:
        """A connection for one operation: nothing to share between threads, nothing left open after a kill."""
        try:
            place = self._place()
            connection, before = self._connect()
            try:
                connection.execute("pragma synchronous = full")
                self._require_schema(connection, place)
                yield connection
            finally:
                connection.close()
            if before is not None and before != self._state():
                raise StoreError(f"The manifest {self.path} was changed while it was read. Try again.")
            if place != self._place():
                raise StoreError(f"The manifest {self.path} was replaced meanwhile. Run the command again.")
        except FileNotFoundError as error:
            raise StoreError(f"The manifest {self.path} is gone. {RECOVER}.") from error
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        except ValueError as error:
            # SQLite keeps whatever is put into a column.
            raise DamagedManifestError(
                self.path, f"it holds a value that cannot be read ({error})"
            ) from error

    def _require_schema(self, connection: SqliteConnection, place: tuple[int, int]) -> None:
        [[count]] = connection.execute("pragma schema_version")
        if self._known != (place, count):
            require_schema(connection, self.path, STATEMENTS)
            self._known = place, count

    def _connect(self) -> tuple[SqliteConnection, tuple[int, int] | None]:
        """A connection, and the state of the file where nothing keeps writers from changing it meanwhile."""
        if self._may_write():
            return self._writing(), None
        # SQLite's log cannot be made beside a file that may only be read. One that is there belongs to a writer, whose
        # commits it holds: it is read with it. Without one the file is all there is.
        log = self.path.with_name(f"{self.path.name}-wal")
        how, before = ("mode=ro", None) if log.exists() else ("mode=ro&immutable=1", self._state())
        return self._reading(how), before

    def _may_write(self) -> bool:
        return may_write(self.path.parent) and may_write(self.path)

    def require_local(self) -> None:
        """Refuse a manifest on a file system of a network, unless nobody writes to it: not this process, and no other."""
        if self._may_write() or self.path.with_name(f"{self.path.name}-wal").exists():
            require_local(self.path.parent, f"The manifest of {self.path.parent}")

    def _writing(self) -> SqliteConnection:
        connection = self._reading("mode=rw")
        if shutil.disk_usage(self.path.parent).free < _SHARED_BYTES:
            # What processes share beside the file takes room. One that has the file for itself keeps that in memory.
            connection.execute("pragma locking_mode = exclusive")
        return connection

    def _reading(self, how: str) -> SqliteConnection:
        where = f"{self.path.absolute().as_uri()}?{how}"
        return sqlite3.connect(
            where, uri=True, timeout=self._timeout_s, isolation_level=None, factory=SqliteConnection
        )

    def _state(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_mtime_ns, found.st_size

    def _place(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_dev, found.st_ino

    def follow(self, connection: SqliteConnection) -> None:
        """Bring the journal up to the last commit."""
        known = about(connection)
        self.journal.follow(connection, known["identity"], known["began_at"])


def _holds_something(path: Path) -> bool:
    """Whether there is a file that is not empty; SQLite of another process may remove it at any moment."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def new_database(path: Path) -> SqliteConnection:
    """A new file with a manifest's tables and nothing in them."""
    connection = sqlite3.connect(path, isolation_level=None, factory=SqliteConnection)
    connection.execute("pragma synchronous = full")
    for statement in STATEMENTS:
        connection.execute(statement)
    return connection


def log_ahead(connection: SqliteConnection) -> None:
    """Let readers never wait for a writer: the last that is done to a new file.

    With a log of its own a part of the file could be left behind where the disk is full.
    """
    connection.execute("pragma journal_mode = wal")


def known_schema() -> dict[tuple[str, str], frozenset[str]]:
    """(type, name) of everything that a manifest may hold, as SQLite lists it -> the columns of a table."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in STATEMENTS:
            connection.execute(statement)
        found = connection.execute("select type, name from sqlite_master").fetchall()
        return {
            (kind, name): frozenset(row[1] for row in connection.execute(f"pragma table_info({name})"))
            for kind, name in found
        }


def introduce(connection: SqliteConnection, beside: Journal) -> None:
    """Within a transaction that writes: bring a manifest of an earlier version up to the present one."""
    [[version]] = connection.execute("pragma user_version")
    if version == SCHEMA_VERSION:
        return
    if version == MOVED:
        raise StoreError("The manifest was moved elsewhere meanwhile. Run the command again.")
    columns = set(connection.columns("versions"))
    for name, kind in _LATER.items() if columns else ():
        if name not in columns:
            connection.execute(f"alter table versions add column {name} {kind}")
    for statement in STATEMENTS:
        connection.execute(statement)
    [[first]] = connection.execute("select min(created_at) from commits")
    mark = beside.mark()
    values = {
        "identity": secrets.token_hex(16) if mark is None else mark.identity,
        "began_at": stored(datetime.now(UTC)) if first is None else first,
    }
    connection.executemany("insert or ignore into about values (?, ?)", values.items())
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    connection.execute(f"pragma user_version = {SCHEMA_VERSION}")


def mark_moved(connection: SqliteConnection) -> None:
    """Within a transaction: let nobody commit to this manifest any more."""
    connection.execute(f"pragma user_version = {MOVED}")


def require_same(connection: Source, place: Path | str, mark: Mark) -> None:
    """`DamagedManifestError` where a manifest is not the one whose commits a journal has, or an older state of it."""
    identity = about(connection).get("identity", mark.identity)
    row = connection.execute("select created_at from commits where number = ?", (mark.number,)).fetchone()
    [[last]] = connection.execute("select coalesce(max(number), 0) from commits")
    if identity == mark.identity and mark.number > last:
        raise DamagedManifestError(
            place, f"it ends at commit {last}, and {journal.NAME} at {mark.number}: it is an older copy"
        )
    if identity != mark.identity or (mark.number and (row is None or row[0] != mark.created_at)):
        raise DamagedManifestError(place, f"{journal.NAME} beside it is of another manifest")
