"""The manifest: which file is the current one of which slot, with every earlier state kept.

It is the one piece of shared, mutable state of a warehouse. `Manifest` is what the store needs of it; the
embedded one is SQLite. Each change is one numbered commit, so that the warehouse can be seen as of any of them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from sys import intern
from typing import Protocol

from xlwh.errors import StoreError
from xlwh.store import artefacts as artefact_rows
from xlwh.store.artefacts import Artefact, Name
from xlwh.store.checkpoints import resting
from xlwh.store.clock import Stamp, commit_at, settled, stamps
from xlwh.store.locks import FileLock
from xlwh.store.manifest_file import (
    ManifestFile,
    about,
    has_manifest,
    introduce,
    stored,
)
from xlwh.store.manifest_file import moment as read_moment
from xlwh.store.slots import Entry, Slot
from xlwh.store.soundness import require_whole


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that is on disk and synced, about to become the current one of its slot."""

    slot: Slot
    file: str
    fingerprint: str
    rows: int
    size_bytes: int
    version: int
    """Of the contract that it was checked against."""
    digest: str
    """SHA-256 of the file, in hexadecimal."""


def entry_of(file: NewFile, created_at: datetime, commit: int) -> Entry:
    """A file as the entry that a commit makes of it."""
    return Entry(
        file.slot,
        file.file,
        file.fingerprint,
        file.rows,
        file.size_bytes,
        file.version,
        created_at,
        commit,
        file.digest,
    )


@dataclass(frozen=True)
class Snapshot:
    """All current entries at one commit; commit 0 is the empty warehouse."""

    commit: int
    created_at: datetime | None
    entries: tuple[Entry, ...]
    hidden: frozenset[Slot] = field(default=frozenset())
    """Slots that were out of the study's scope then."""

    @property
    def shown(self) -> tuple[Entry, ...]:
        """The entries that were in scope."""
        return tuple(entry for entry in self.entries if entry.slot not in self.hidden)


@dataclass(frozen=True)
class Changes:
    """What became of slots between one commit and a later one, as the later one has them."""

    commit: int
    """Number of the later one."""
    put: tuple[Entry, ...]
    """Entries that are current now and were not then."""
    gone: frozenset[Slot]
    """Slots that have no current entry any more."""
    rescoped: frozenset[Slot]
    """Slots that were hidden or shown."""

    @property
    def tables(self) -> set[str]:
        """Tables of which anything changed."""
        return {slot.table for slot in (*(entry.slot for entry in self.put), *self.gone, *self.rescoped)}


@dataclass(frozen=True)
class Scope:
    """The study by which slots are hidden or shown."""

    study: str
    """Its name."""
    digest: str
    """Of all that it says."""
    head: int
    """Number of the last commit when the scope was found: later ones may need another."""


class ConflictError(StoreError):
    """A slot was changed by another process between reading and committing."""


class Manifest(Protocol):
    """What the store needs of a manifest."""

    def current(self, slot: Slot) -> Entry | None:
        """The slot's current entry."""

    def snapshot(self, as_of: datetime | int | None = None, table: str | None = None) -> Snapshot:
        """All entries, or those of one table, that are (or were) current at a commit number or time; default: now.

        Raises `StoreError` for a commit that does not exist yet.
        """

    def head(self) -> int:
        """Number of the last commit; 0 if there is none."""

    def changes(self, since: int) -> Changes:
        """What changed after a commit, up to the last one; found in time that grows with the changes only.

        Raises `StoreError` for a commit that does not exist yet.
        """

    def commit(
        self,
        put: Sequence[NewFile] = (),
        drop: Sequence[Slot] = (),
        expected: Mapping[Slot, str | None] | None = None,
        artefacts: Sequence[Artefact] = (),
        gone: Collection[Name] = (),
    ) -> list[Entry]:
        """Make `put` and `artefacts` current and remove `drop` and `gone`, in one transaction with one number.

        `expected` maps slots to the file that must still be current (None: no entry); if any differs nothing is
        changed and `ConflictError` is raised. What is put is no longer hidden. The artefacts of slots that change go
        (see `checkpoints.resting`), unless they are put again. Returns the entries of `put`, in order.
        """

    def artefacts(self, as_of: int | None = None) -> dict[Name, Artefact]:
        """The artefacts that are (or were) current at a commit number; default: now."""

    def artefact(self, name: Name, fingerprint: str) -> Artefact | None:
        """A version of an artefact, current or not, as the last commit that put it had it; None where none did."""

    def scope(self) -> Scope | None:
        """Whose scope the hidden slots are; None if none was ever set."""

    def set_scope(
        self, hidden: Collection[Entry], study: Scope | None = None, among: Collection[Slot] | None = None
    ) -> bool:
        """Hide exactly these current files, or of the slots `among` exactly these; False if they were already.

        A change is a commit of its own; a file that is not current any more is left as it is. `study` is noted as the
        one whose scope it is, which alone makes no commit.
        """

    def forget(self, files: Sequence[str]) -> None:
        """Mark files of superseded entries as removed from disk, so that time travel can say so."""

    def files(self) -> dict[str, FileState]:
        """Every file that any commit named, of tables and of artefacts -> what is known of it."""

    def require_whole(self) -> None:
        """Read all of it. `StoreError` where it is damaged."""

    def backup_problem(self) -> str | None:
        """Why it could not be made anew of its backup as it is; None where it could."""

    def stamps(self) -> list[Stamp]:
        """All commits in order, with their times and whether these can be right."""

    def origin(self) -> Origin:
        """Since when it has a history."""

    def note_checked(self) -> None:
        """Note that every current file was read, and found to be as this manifest says."""


@dataclass(frozen=True)
class FileState:
    """Whether a file is current, when it stopped being so, and whether it was removed."""

    current: bool
    superseded_at: datetime | None
    """A time by which it surely was; None where it is current, or where the clock was wrong and that cannot be told."""
    removed: bool


@dataclass(frozen=True)
class Origin:
    """What a manifest can know: nothing of files from before it began, or was rebuilt."""

    began_at: datetime | None
    """When it was made; None for one of an earlier version without commits."""
    rebuilt_at: datetime | None
    """When `xlwh recover` made it of what was stored; None if that never was."""
    is_checked: bool
    """Whether it was compared with all files since it was rebuilt."""


_Row = tuple[str, str, str, str, str, int, int, int, str, int, str | None]


class SqliteManifest:
    """A manifest in one SQLite file, in WAL mode: readers never wait, writers wait for one commit at most."""

    def __init__(self, path: Path, timeout_s: float = 60.0) -> None:
        """Open it, or make one where there is none; `StoreError` where it is damaged, or was lost."""
        self.path = path
        self._file = ManifestFile(path, timeout_s)
        if not has_manifest(path.parent):
            with FileLock(path.with_suffix(".lock"), f"The manifest {path}", wait_s=timeout_s):
                if not has_manifest(path.parent):
                    self._file.create()
        self._file.examine()

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._file.open()

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        connection.execute("begin immediate")
        try:
            introduce(connection, self._file.journal)
            yield
        except BaseException:
            # A full disk has ended it already.
            if connection.in_transaction:
                connection.execute("rollback")
            raise
        connection.execute("commit")

    @contextmanager
    def _committing(self) -> Iterator[sqlite3.Connection]:
        """A transaction whose commits get into the journal once they are made."""
        with self._open() as connection:
            with self._transaction(connection):
                yield connection
            self._file.follow(connection)

    def current(self, slot: Slot) -> Entry | None:
        with self._open() as connection:
            # Nobody adds a column between the two statements.
            connection.execute("begin")
            return self._current(connection, slot)

    def _current(self, connection: sqlite3.Connection, slot: Slot) -> Entry | None:
        row = connection.execute(
            f"{_select(connection)} where v.slot_table = ? and v.keys = ? and v.part = ? and v.valid_to is null",
            slot.address,
        ).fetchone()
        return None if row is None else _entry(row)

    def head(self) -> int:
        with self._open() as connection:
            return int(connection.execute("select coalesce(max(number), 0) from commits").fetchone()[0])

    def snapshot(self, as_of: datetime | int | None = None, table: str | None = None) -> Snapshot:
        with self._open() as connection:
            connection.execute("begin")
            commit, created_at = self._resolve(connection, as_of)
            last, _ = self._resolve(connection, None)
            # Each condition has an index: of the present, and of one table.
            then = (
                "v.valid_to is null"
                if commit == last
                else "v.valid_from <= :at and coalesce(v.valid_to > :at, true)"
            )
            of_table = "" if table is None else "and v.slot_table = :table"
            rows = connection.execute(
                f"{_select(connection)} where {then} {of_table} order by v.slot_table, v.keys, v.part",
                {"at": commit, "table": table},
            )
            entries = tuple(_entries(rows))
            hidden = _hidden(connection, commit)
            connection.execute("rollback")
        return Snapshot(commit, created_at, entries, frozenset(e.slot for e in entries if e.slot in hidden))

    def changes(self, since: int) -> Changes:
        with self._open() as connection:
            connection.execute("begin")
            self._resolve(connection, since)
            commit, _ = self._resolve(connection, None)
            put = tuple(
                _entries(
                    connection.execute(
                        f"{_select(connection)} where v.valid_from > ? and v.valid_to is null", (since,)
                    )
                )
            )
            ended = _slots(
                connection.execute(
                    "select v.slot_table, v.keys, v.part from versions v where v.valid_to > ? and not exists "
                    "(select 1 from versions n where n.slot_table = v.slot_table and n.keys = v.keys "
                    "and n.part = v.part and n.valid_to is null)",
                    (since,),
                )
            )
            rescoped = set[Slot]()
            if _has_scope(connection):
                for moved in ("valid_from", "valid_to"):
                    rescoped |= _slots(
                        connection.execute(
                            f"select slot_table, keys, part from hidden where {moved} > ?", (since,)
                        )
                    )
            connection.execute("rollback")
        return Changes(commit, put, frozenset(ended), frozenset(rescoped))

    def _resolve(
        self, connection: sqlite3.Connection, as_of: datetime | int | None
    ) -> tuple[int, datetime | None]:
        last = connection.execute("select coalesce(max(number), 0) from commits").fetchone()[0]
        if isinstance(as_of, datetime):
            moment, now = as_of if as_of.tzinfo is not None else as_of.astimezone(), datetime.now(UTC)
            number = commit_at(_stamps(connection, now), moment, now)
        else:
            number = last if as_of is None else as_of
        if not 0 <= number <= last:
            raise StoreError(f"There is no commit {number} in {self.path}; the last one is {last}.")
        row = connection.execute("select created_at from commits where number = ?", (number,)).fetchone()
        return number, None if row is None else read_moment(row[0])

    def commit(
        self,
        put: Sequence[NewFile] = (),
        drop: Sequence[Slot] = (),
        expected: Mapping[Slot, str | None] | None = None,
        artefacts: Sequence[Artefact] = (),
        gone: Collection[Name] = (),
    ) -> list[Entry]:
        with self._committing() as connection:
            for slot, file in (expected or {}).items():
                found = self._current(connection, slot)
                if (None if found is None else found.file) != file:
                    raise ConflictError(f"{slot} was changed by another process; run the step again.")
            number, now = self._next(connection)
            changed = [*drop, *(file.slot for file in put)]
            _show(connection, number, changed)
            for slot in changed:
                connection.execute(
                    "update versions set valid_to = ? "
                    "where slot_table = ? and keys = ? and part = ? and valid_to is null",
                    (number, *slot.address),
                )
            connection.executemany(
                "insert into versions (slot_table, keys, part, file, fingerprint, rows, size_bytes, version, "
                "valid_from, digest) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *f.slot.address,
                        f.file,
                        f.fingerprint,
                        f.rows,
                        f.size_bytes,
                        f.version,
                        number,
                        f.digest,
                    )
                    for f in put
                ],
            )
            artefact_rows.replace(connection, number, artefacts, {*gone, *resting(changed)})
        created_at = read_moment(now)
        return [entry_of(file, created_at, number) for file in put]

    def artefacts(self, as_of: int | None = None) -> dict[Name, Artefact]:
        with self._open() as connection:
            connection.execute("begin")
            commit, _ = self._resolve(connection, as_of)
            return artefact_rows.at(connection, commit)

    def artefact(self, name: Name, fingerprint: str) -> Artefact | None:
        with self._open() as connection:
            return artefact_rows.last(connection, name, fingerprint)

    def _next(self, connection: sqlite3.Connection) -> tuple[int, str]:
        """Number of a new commit, and what the clock says."""
        now = stored(datetime.now(UTC))
        number = connection.execute("insert into commits (created_at) values (?)", (now,)).lastrowid
        assert number is not None
        return number, now

    def scope(self) -> Scope | None:
        with self._open() as connection:
            if not _has_scope(connection):
                return None
            row = connection.execute("select study, digest, head from scope").fetchone()
        return None if row is None else Scope(*row)

    def set_scope(
        self, hidden: Collection[Entry], study: Scope | None = None, among: Collection[Slot] | None = None
    ) -> bool:
        with self._committing() as connection:
            last = connection.execute("select coalesce(max(number), 0) from commits").fetchone()[0]
            before = _hidden(connection, last)
            if among is not None:
                before &= set(among)
            current = (self._current(connection, entry.slot) for entry in hidden)
            wanted = {
                found.slot
                for entry, found in zip(hidden, current, strict=True)
                if found is not None and found.file == entry.file
            }
            changes = wanted != before
            if changes:
                number, _ = self._next(connection)
                _show(connection, number, before - wanted)
                connection.executemany(
                    "insert into hidden (slot_table, keys, part, valid_from) values (?, ?, ?, ?)",
                    [(*slot.address, number) for slot in sorted(wanted - before)],
                )
            if study is not None:
                # A scope that was found before the last commit is looked at again; its own commit changes nothing.
                head = number if changes and study.head == last else study.head
                connection.execute(
                    "insert or replace into scope values (1, ?, ?, ?)", (study.study, study.digest, head)
                )
        return changes

    def forget(self, files: Sequence[str]) -> None:
        with self._open() as connection, self._transaction(connection):
            connection.executemany(
                "update versions set removed = 1 where file = ? and valid_to is not null",
                [(file,) for file in files],
            )
            artefact_rows.forget(connection, files)

    def files(self) -> dict[str, FileState]:
        with self._open() as connection:
            connection.execute("begin")
            ended = settled(_stamps(connection, datetime.now(UTC)))
            rows = connection.execute("select file, valid_to, removed from versions").fetchall()
            rows += artefact_rows.states(connection)
        return {
            file: FileState(valid_to is None, ended.get(valid_to), bool(removed))
            for file, valid_to, removed in rows
        }

    def require_whole(self) -> None:
        self._file.examine()
        with self._open() as connection:
            require_whole(connection, self.path)

    def backup_problem(self) -> str | None:
        found = self._file.journal.read()
        if found is None:
            return "there is none" if self.head() else None
        # A commit that was made meanwhile is in it soon.
        return found.damage

    def stamps(self) -> list[Stamp]:
        with self._open() as connection:
            return _stamps(connection, datetime.now(UTC))

    def origin(self) -> Origin:
        with self._open() as connection:
            connection.execute("begin")
            known = about(connection)
            [[first]] = connection.execute("select min(created_at) from commits")
        began, rebuilt = known.get("began_at", first), known.get("rebuilt_at")
        return Origin(
            None if began is None else read_moment(began),
            None if rebuilt is None else read_moment(rebuilt),
            rebuilt is None or known.get("checked") == rebuilt,
        )

    def note_checked(self) -> None:
        if not self.origin().is_checked:
            with self._open() as connection, self._transaction(connection):
                connection.execute(
                    "insert or replace into about select 'checked', value from about where name = 'rebuilt_at'"
                )


def _select(connection: sqlite3.Connection) -> str:
    """The beginning of a query of entries, up to its conditions."""
    digest = "v.digest" if _has_digests(connection) else "null"
    return (
        "select v.slot_table, v.keys, v.part, v.file, v.fingerprint, v.rows, v.size_bytes, v.version, "
        f"c.created_at, v.valid_from, {digest} from versions v left join commits c on c.number = v.valid_from"
    )


def _has_digests(connection: sqlite3.Connection) -> bool:
    """Whether a commit was made since files have digests."""
    found = connection.execute("select count(*) from pragma_table_info('versions') where name = 'digest'")
    return bool(found.fetchone()[0])


def _has_scope(connection: sqlite3.Connection) -> bool:
    found = connection.execute("select count(*) from sqlite_master where name in ('hidden', 'scope')")
    return bool(found.fetchone()[0] == 2)


def _hidden(connection: sqlite3.Connection, commit: int) -> set[Slot]:
    if not _has_scope(connection):
        return set()
    rows = connection.execute(
        "select slot_table, keys, part from hidden where valid_from <= ? and (valid_to is null or valid_to > ?)",
        (commit, commit),
    )
    return _slots(rows)


def _slots(rows: Iterable[tuple[str, str, str]]) -> set[Slot]:
    return {Slot(table, tuple(_keys(keys)), part) for table, keys, part in rows}


def _show(connection: sqlite3.Connection, number: int, slots: Collection[Slot]) -> None:
    connection.executemany(
        "update hidden set valid_to = ? where slot_table = ? and keys = ? and part = ? and valid_to is null",
        [(number, *slot.address) for slot in slots],
    )


def _stamps(connection: sqlite3.Connection, now: datetime) -> list[Stamp]:
    commits = connection.execute("select number, created_at from commits order by number")
    return list(stamps([(number, read_moment(told)) for number, told in commits], now))


def _keys(text: str) -> list[str]:
    found = json.loads(text) if isinstance(text, str) else None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError(f"{text!r} are no keys")
    return found


def _entry(row: _Row) -> Entry:
    return next(_entries([row]))


def _entries(rows: Iterable[_Row]) -> Iterator[Entry]:
    # Hundreds of thousands of entries have few different names and times: each is kept once.
    folders: dict[str, tuple[str, ...]] = {}
    times: dict[str, datetime] = {}
    for table, keys, part, file, mark, rows_stored, size_bytes, version, created_at, commit, digest in rows:
        if keys not in folders:
            folders[keys] = tuple(map(intern, _keys(keys)))
        if created_at not in times:
            times[created_at] = read_moment(created_at)
        texts, numbers = (file, mark, digest or ""), (rows_stored, size_bytes, version, commit)
        if not all(type(each) is str for each in texts) or not all(type(each) is int for each in numbers):
            raise ValueError(f"{file!r}: {mark!r}, {digest!r}, {numbers}")
        yield Entry(
            Slot(intern(table), folders[keys], intern(part)),
            file,
            mark,
            rows_stored,
            size_bytes,
            version,
            times[created_at],
            commit,
            digest,
        )
