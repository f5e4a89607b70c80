"""A manifest in a SQL database: its statements, which are the same for all that keep one.

They are written so that SQLite and PostgreSQL both take them, with `?` for values. What a database does in its own way is
in its connection (`Connection`) and in the three methods that a subclass of `SqlManifest` has.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import wraps
from sys import intern
from typing import Any, ParamSpec, TypeVar

from xlwh.errors import StoreError
from xlwh.store import artefacts as artefact_rows
from xlwh.store.artefacts import Artefact, Name
from xlwh.store.checkpoints import resting
from xlwh.store.claims import Claims
from xlwh.store.clock import Stamp, commit_at, parsed, settled, stamps, stored
from xlwh.store.database import Connection, Source
from xlwh.store.journal import History, Journal, about, difference, history
from xlwh.store.manifest import (
    Changes,
    ConflictError,
    FileState,
    NewFile,
    Origin,
    Scope,
    Snapshot,
    entry_of,
)
from xlwh.store.objects import key_of
from xlwh.store.segments import Segment, is_segment
from xlwh.store.slots import Entry, Slot
from xlwh.store.soundness import DamagedManifestError
from xlwh.tables import TABLES

P = ParamSpec("P")
T = TypeVar("T")

_Row = tuple[str, str, str, str, str, int, int, int, str, int, str | None, str | None, int | None]

_SINGLY = 50
"""Slots that are looked up one by one: of more, all that is current is read at once."""


def _reads(method: Callable[P, T]) -> Callable[P, T]:
    """A method that writes nothing, which is done again where the database was lost meanwhile."""

    @wraps(method)
    def read(*arguments: P.args, **named: P.kwargs) -> T:
        manifest: Any = arguments[0]
        found: T = manifest._again(lambda: method(*arguments, **named))
        return found

    return read


class SqlManifest(ABC):
    """All that a manifest does, over connections to a database (see `Manifest`)."""

    journal: Journal
    """Its backup, in the warehouse."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for messages: a file, or a database."""

    @abstractmethod
    def claims(self) -> Claims:
        """Claims on slots that reach all processes that use this manifest."""

    @abstractmethod
    def _open(self) -> AbstractContextManager[Connection]:
        """A transaction that reads, and sees one state from its first statement to its last."""

    @abstractmethod
    def _connected(self) -> AbstractContextManager[Connection]:
        """A connection outside of a transaction."""

    @abstractmethod
    def _write(self, work: Callable[[Connection], T], is_commit: bool = True) -> T:
        """Do work in a transaction that no other may write beside; then bring the journal up to date if it `is_commit`.

        The work may be called again where the first time left nothing behind.
        """

    def _again(self, read: Callable[[], T]) -> T:
        """Read; again, where that helps."""
        return read()

    @abstractmethod
    def require_whole(self) -> None:
        """Read all of it. `StoreError` where it is damaged."""

    @_reads
    def current(self, slot: Slot) -> Entry | None:
        with self._open() as connection:
            row = connection.execute(
                f"{_select(connection)} where v.slot_table = ? and v.keys = ? and v.part = ? and v.valid_to is null",
                slot.address,
            ).fetchone()
            return None if row is None else next(_entries([row]))

    @_reads
    def head(self) -> int:
        with self._open() as connection:
            return _last(connection)

    @_reads
    def snapshot(self, as_of: datetime | int | None = None, table: str | None = None) -> Snapshot:
        with self._open() as connection:
            commit, created_at = self._resolve(connection, as_of)
            last, _ = self._resolve(connection, None)
            # Each condition has an index: of the present, and of one table.
            then, values = "v.valid_to is null", list[Any]()
            if commit != last:
                then, values = "v.valid_from <= ? and (v.valid_to is null or v.valid_to > ?)", [commit] * 2
            if table is not None:
                then, values = f"{then} and v.slot_table = ?", [*values, table]
            rows = connection.execute(
                f"{_select(connection)} where {then} order by v.slot_table, v.keys, v.part", values
            )
            entries = tuple(_entries(rows))
            hidden = _hidden(connection, commit)
        return Snapshot(commit, created_at, entries, frozenset(e.slot for e in entries if e.slot in hidden))

    @_reads
    def changes(self, since: int) -> Changes:
        with self._open() as connection:
            self._resolve(connection, since)
            commit, _ = self._resolve(connection, None)
            rows = connection.execute(
                f"{_select(connection)} where v.valid_from > ? and v.valid_to is null", (since,)
            )
            # Sorted here: SQLite would go through all that is current, in this order.
            put = tuple(sorted(_entries(rows), key=lambda entry: entry.slot))
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
            packed = list[tuple[str]]()
            if _has_segments(connection):
                packed = connection.execute(
                    "select distinct slot_table from versions where packed_from > ?", (since,)
                ).fetchall()
        tables = frozenset(table for (table,) in packed)
        return Changes(commit, put, frozenset(ended), frozenset(rescoped), tables)

    def _resolve(self, connection: Connection, as_of: datetime | int | None) -> tuple[int, datetime | None]:
        last = _last(connection)
        if isinstance(as_of, datetime):
            moment, now = as_of if as_of.tzinfo is not None else as_of.astimezone(), connection.now()
            number = commit_at(_stamps(connection), moment, now)
        else:
            number = last if as_of is None else as_of
        if not 0 <= number <= last:
            raise StoreError(f"There is no commit {number} in {self.place}; the last one is {last}.")
        row = connection.execute("select created_at from commits where number = ?", (number,)).fetchone()
        return number, None if row is None else parsed(row[0])

    def commit(
        self,
        put: Sequence[NewFile] = (),
        drop: Sequence[Slot] = (),
        expected: Mapping[Slot, str | None] | None = None,
        artefacts: Sequence[Artefact] = (),
        gone: Collection[Name] = (),
    ) -> list[Entry]:
        changed = [*drop, *(file.slot for file in put)]
        self._have_stored(put, artefacts)

        def work(connection: Connection) -> tuple[int, str]:
            connection.require_held(changed)
            found = _current_files(connection, list(expected or ()))
            for slot, file in (expected or {}).items():
                if found.get(slot) != file:
                    raise ConflictError(f"{slot} was changed by another process; run the step again.")
            number, now = _next(connection)
            _show(connection, number, changed)
            connection.executemany(
                "update versions set valid_to = ? "
                "where slot_table = ? and keys = ? and part = ? and valid_to is null",
                [(number, *slot.address) for slot in changed],
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
            return number, now

        number, now = self._write(work)
        created_at = parsed(now)
        return [entry_of(file, created_at, number) for file in put]

    @abstractmethod
    def _have_stored(self, put: Sequence[NewFile | Segment], artefacts: Sequence[Artefact] = ()) -> None:
        """Before a commit: have the files that it names where all who read them look."""

    def pack(self, segment: Segment) -> None:
        self._have_stored([segment])

        def work(connection: Connection) -> None:
            number, _ = _next(connection)
            connection.executemany(
                "update versions set segment = ?, number = ?, packed_from = ? where file = ?",
                [(segment.file, each.number, number, each.file) for each in segment.packed],
            )

        self._write(work)

    @_reads
    def artefacts(self, as_of: int | None = None) -> dict[Name, Artefact]:
        with self._open() as connection:
            commit, _ = self._resolve(connection, as_of)
            return artefact_rows.at(connection, commit)

    @_reads
    def artefact(self, name: Name, fingerprint: str) -> Artefact | None:
        with self._open() as connection:
            return artefact_rows.last(connection, name, fingerprint)

    @_reads
    def current_rows(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """Columns of the current rows of one of its tables, as they are."""
        with self._open() as connection:
            return list(
                connection.execute(f"select {', '.join(columns)} from {table} where valid_to is null")
            )

    @_reads
    def scope(self) -> Scope | None:
        with self._open() as connection:
            return scope_of(connection)

    def set_scope(
        self, hidden: Collection[Entry], study: Scope | None = None, among: Collection[Slot] | None = None
    ) -> bool:
        def work(connection: Connection) -> bool:
            last = number = _last(connection)
            before = _hidden(connection, last)
            if among is not None:
                before &= set(among)
            found = _current_files(connection, [entry.slot for entry in hidden])
            wanted = {entry.slot for entry in hidden if found.get(entry.slot) == entry.file}
            changes = wanted != before
            if changes:
                number, _ = _next(connection)
                _show(connection, number, before - wanted)
                connection.executemany(
                    "insert into hidden (slot_table, keys, part, valid_from) values (?, ?, ?, ?)",
                    [(*slot.address, number) for slot in sorted(wanted - before)],
                )
            if study is not None:
                # A scope that was found before the last commit is looked at again; its own commit changes nothing.
                head = number if changes and study.head == last else study.head
                note_scope(connection, Scope(study.study, study.digest, head))
            return changes

        return self._write(work)

    def forget(self, files: Sequence[str]) -> None:
        def work(connection: Connection) -> None:
            has_segments = _has_segments(connection)
            # Of one that was packed the file that went is a second copy.
            packed = "and segment is null" if has_segments else ""
            connection.executemany(
                f"update versions set removed = 1 where file = ? and valid_to is not null {packed}",
                [(file,) for file in files],
            )
            if has_segments:
                connection.executemany(
                    "update versions set removed = 1 where segment = ? and valid_to is not null",
                    [(file,) for file in files if is_segment(file)],
                )
            artefact_rows.forget(connection, files)

        self._write(work, is_commit=False)

    @_reads
    def files(self, by_key: bool = False) -> dict[str, FileState]:
        with self._open() as connection:
            ended = settled(_stamps(connection))
            has_segments = _has_segments(connection)
            until = (
                "case when packed_from < valid_to or valid_to is null then packed_from else valid_to end"
                if has_segments
                else "valid_to"
            )
            rows = connection.execute(f"select file, '', {until}, removed from versions").fetchall()
            if has_segments:
                # A segment may go when the last of its files does.
                rows += connection.execute(
                    "select segment, '', case when count(*) = count(valid_to) then max(valid_to) end, min(removed) "
                    "from versions where segment is not null group by segment"
                ).fetchall()
            rows += artefact_rows.states(connection)
        return {
            (key_of(file, digest) if by_key else file): FileState(
                valid_to is None, ended.get(valid_to), bool(removed)
            )
            for file, digest, valid_to, removed in rows
        }

    def backup_problem(self) -> str | None:
        found = self.journal.read()
        if found is None:
            return "there is none" if self.head() else None
        # A commit that was made meanwhile is in it soon.
        return found.damage or self.differing_journal(found)

    def differing_journal(self, found: History) -> str | None:
        """What a journal says otherwise than this manifest, of the commits that it has; None where nothing is."""
        with self._connected() as connection:
            known = about(connection)
            if not known:
                return None
            own = history(connection, known["identity"], known["began_at"])
        return difference(found, own)

    def _read_all(self) -> None:
        """Read everything as commands do. `StoreError` for what cannot be read."""
        with self._open() as connection:
            found = connection.execute(
                "select distinct slot_table from versions where valid_to is null"
            ).fetchall()
        tables = {table for (table,) in found}
        if unknown := tables - TABLES.keys():
            raise DamagedManifestError(self.place, f"it names the table {min(unknown)!r}, which there is not")
        self.snapshot()
        self.files()
        self.artefacts()
        self.stamps()
        self.scope()
        self.origin()

    @_reads
    def keeps_journal(self) -> bool:
        """Whether it has a journal; one of an earlier version gets it with its next commit."""
        with self._open() as connection:
            return bool(about(connection))

    def rewrite_journal(self) -> None:
        """Write the journal anew, of all that there is."""
        with self._connected() as connection, connection.recording(self.journal.lock()):
            known = about(connection)
            self.journal.write(history(connection, known["identity"], known["began_at"]))

    @_reads
    def stamps(self) -> list[Stamp]:
        with self._open() as connection:
            return _stamps(connection)

    @_reads
    def origin(self) -> Origin:
        with self._open() as connection:
            known = about(connection)
            [[first]] = connection.execute("select min(created_at) from commits")
            began, rebuilt = known.get("began_at", first), known.get("rebuilt_at")
            return Origin(
                None if began is None else parsed(began),
                None if rebuilt is None else parsed(rebuilt),
                rebuilt is None or known.get("checked") == rebuilt,
            )

    def note_checked(self) -> None:
        def work(connection: Connection) -> None:
            connection.execute(
                "insert into about select 'checked', value from about where name = 'rebuilt_at' "
                "on conflict (name) do update set value = excluded.value"
            )

        if not self.origin().is_checked:
            self._write(work, is_commit=False)


def scope_of(connection: Connection) -> Scope | None:
    """Whose scope a manifest has; None where it has none."""
    if not _has_scope(connection):
        return None
    row = connection.execute("select study, digest, head from scope").fetchone()
    if row is None:
        return None
    study, digest, head = row
    if type(study) is not str or type(digest) is not str or type(head) is not int:
        raise ValueError(f"a scope of {row}")
    return Scope(study, digest, head)


def note_scope(connection: Connection, scope: Scope) -> None:
    """Set whose scope it is."""
    connection.execute(
        "insert into scope values (1, ?, ?, ?) on conflict (one) do update set study = excluded.study, "
        "digest = excluded.digest, head = excluded.head",
        (scope.study, scope.digest, scope.head),
    )


def fill(connection: Connection, values: Mapping[str, str], history: History) -> None:
    """Put a whole history into the empty tables of a manifest, with what it says of itself."""
    connection.executemany("insert into about values (?, ?)", values.items())
    connection.executemany("insert into commits (number, created_at) values (?, ?)", history.commits)
    for table, rows in history.rows.items():
        by_columns = dict[tuple[str, ...], list[list[Any]]]()
        for row in rows:
            by_columns.setdefault(tuple(row), []).append(list(row.values()))
        for columns, group in by_columns.items():
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"insert into {table} ({', '.join(columns)}) values ({marks})", group)


def _last(connection: Source) -> int:
    return int(connection.execute("select coalesce(max(number), 0) from commits").fetchone()[0])


def _next(connection: Connection) -> tuple[int, str]:
    """Number of a new commit, and what the clock says."""
    number, now = _last(connection) + 1, stored(connection.now())
    connection.add_commit(number, now)
    return number, now


def _current_files(connection: Connection, slots: Collection[Slot]) -> dict[Slot, str]:
    """Slot -> its current file, of those that have one."""
    query = "select slot_table, keys, part, file from versions where valid_to is null"
    if len(slots) > _SINGLY:
        wanted = {slot.address: slot for slot in slots}
        rows = connection.execute(query)
        return {wanted[row[:3]]: row[3] for row in rows if row[:3] in wanted}
    one = f"{query} and slot_table = ? and keys = ? and part = ?"
    rows = ((slot, connection.execute(one, slot.address).fetchone()) for slot in slots)
    return {slot: row[3] for slot, row in rows if row is not None}


def _select(connection: Connection) -> str:
    """The beginning of a query of entries, up to its conditions."""
    # A SQLite manifest has them since a commit was made by a version that knows them.
    there = connection.columns("versions")
    later = ", ".join(f"v.{name}" if name in there else "null" for name in ("digest", "segment", "number"))
    return (
        "select v.slot_table, v.keys, v.part, v.file, v.fingerprint, v.rows, v.size_bytes, v.version, "
        f"c.created_at, v.valid_from, {later} from versions v left join commits c on c.number = v.valid_from"
    )


def _has_segments(connection: Source) -> bool:
    return "segment" in connection.columns("versions")


def _has_scope(connection: Source) -> bool:
    return bool(connection.columns("hidden")) and bool(connection.columns("scope"))


def _hidden(connection: Connection, commit: int) -> set[Slot]:
    if not _has_scope(connection):
        return set()
    rows = connection.execute(
        "select slot_table, keys, part from hidden where valid_from <= ? and (valid_to is null or valid_to > ?)",
        (commit, commit),
    )
    return _slots(rows)


def _slots(rows: Iterable[tuple[str, str, str]]) -> set[Slot]:
    return {Slot(table, tuple(_keys(keys)), part) for table, keys, part in rows}


def _show(connection: Connection, number: int, slots: Collection[Slot]) -> None:
    connection.executemany(
        "update hidden set valid_to = ? where slot_table = ? and keys = ? and part = ? and valid_to is null",
        [(number, *slot.address) for slot in slots],
    )


def _stamps(connection: Connection) -> list[Stamp]:
    commits = connection.execute("select number, created_at from commits order by number")
    return list(stamps([(number, parsed(told)) for number, told in commits], connection.now()))


def _keys(text: str) -> list[str]:
    found = json.loads(text) if isinstance(text, str) else None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError(f"{text!r} are no keys")
    return found


def _entries(rows: Iterable[_Row]) -> Iterator[Entry]:
    # Hundreds of thousands of entries have few different names and times: each is kept once.
    folders: dict[str, tuple[str, ...]] = {}
    times: dict[str, datetime] = {}
    for row in rows:
        table, keys, part, file, mark, rows_stored, size_bytes, version, created_at, commit = row[:10]
        digest, segment, place = row[10:]
        if keys not in folders:
            folders[keys] = tuple(map(intern, _keys(keys)))
        if created_at not in times:
            times[created_at] = parsed(created_at)
        texts = (file, mark, digest or "", segment or "")
        numbers = (rows_stored, size_bytes, version, commit, 0 if segment is None else place)
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
            None if segment is None else intern(segment),
            place,
        )
