"""The manifest's backup: a file of lines beside it to which each commit is appended.

Every commit is a block: a line with its number and time, a line for each row that it added (`+`) or ended (`-`), and a
last line with a checksum that covers all blocks so far. Blocks are written after their commit, by whoever comes next if a
process was killed in between: the journal may lack the last commits, and never has one that the manifest had not. What it
costs does not depend on what is stored. It is not synced: a power failure may take its end, which the next commit writes
again.

The lines hold rows as the manifest has them, by name, so they do not depend on what keeps it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from xlwh.errors import StoreError
from xlwh.jsons import parsed
from xlwh.store.database import Source
from xlwh.store.files import path_beside, publish
from xlwh.store.locks import FileLock

NAME = "manifest.journal"
"""The journal's file in a warehouse."""

ADDRESSES = {
    "versions": ("slot_table", "keys", "part"),
    "hidden": ("slot_table", "keys", "part"),
    "artefacts": ("kind", "name", "file"),
}
"""Tables whose rows hold from one commit to another -> what tells their current rows apart."""

_FORMAT = 1
_WINDOW = 1 << 16
"""Bytes that are read at a time to find the last commit."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mark:
    """The last commit in a journal."""

    identity: str
    """Of the manifest whose journal it is."""
    number: int
    """0 where there is none."""
    created_at: str
    checksum: int
    end: int
    """Bytes of the journal up to the end of its block."""
    is_torn: bool
    """Whether something follows that is no whole block."""


@dataclass
class History:
    """All commits and rows of a manifest."""

    identity: str
    began_at: str
    commits: list[tuple[int, str]] = field(default_factory=list)
    """Number and time."""
    rows: dict[str, list[Row]] = field(default_factory=lambda: {table: [] for table in ADDRESSES})
    """Table -> rows, with the commits from and to which they hold."""
    damage: str | None = None
    """Why a journal could not be read to its end."""

    @property
    def last(self) -> int:
        """Number of the last commit; 0 if there is none."""
        return self.commits[-1][0] if self.commits else 0

    def current(self, table: str) -> Iterator[Row]:
        """The rows of a table that hold at the last commit."""
        return (row for row in self.rows[table] if row["valid_to"] is None)


class Journal:
    """The journal of one manifest."""

    def __init__(self, path: Path, timeout_s: float = 60.0) -> None:
        self.path = path
        self._timeout_s = timeout_s

    def lock(self) -> FileLock:
        """Held by whoever writes to it."""
        what = f"The journal {self.path}"
        return FileLock(self.path.with_name(f"{self.path.name}.lock"), what, wait_s=self._timeout_s)

    def mark(self) -> Mark | None:
        """Its last commit, found in a time that does not depend on its size; None where there is no journal."""
        try:
            with self.path.open("rb") as file:
                return self._mark(file)
        except FileNotFoundError:
            return None

    def _mark(self, file: BinaryIO) -> Mark | None:
        first = file.readline(_WINDOW)
        head = _header(first, self.path)
        if head is None:
            return None
        size = file.seek(0, 2)
        window = _WINDOW
        while True:
            start = max(len(first), size - window)
            file.seek(start)
            content = file.read(size - start)
            at = len(content)
            while (at := content.rfind(b"\n", 0, at)) >= 0:
                line = content[content.rfind(b"\n", 0, at) + 1 : at + 1]
                if (ended := _end(line)) is not None:
                    end = start + at + 1
                    return Mark(head["identity"], *ended, end, end != size)
            if start == len(first):
                return Mark(head["identity"], 0, "", 0, len(first), size != len(first))
            window *= 8

    def follow(self, connection: Source, identity: str, began_at: str) -> None:
        """Append the commits that the manifest has and the journal has not; begin it anew where there is none.

        `StoreError` where it cannot be written: the commits are made all the same, and it is made up for next time.
        """
        try:
            with connection.recording(self.lock()):
                mark = self.mark()
                if mark is None:
                    self.write(history(connection, identity, began_at))
                else:
                    self._append(connection, mark)
        except OSError as error:
            raise StoreError(
                f"The commit is made, but its record in {self.path} could not be written: {error.strerror}. "
                "The next commit makes up for it."
            ) from error

    def _append(self, connection: Source, mark: Mark) -> None:
        commits = connection.execute(
            "select number, created_at from commits where number > ? order by number", (mark.number,)
        ).fetchall()
        if not commits and not mark.is_torn:
            return
        with self.path.open("r+b") as file:
            file.truncate(mark.end)
            file.seek(mark.end)
            checksum = mark.checksum
            for number, created_at in commits:
                content, checksum = _block(number, created_at, _changes(connection, number), checksum)
                file.write(content)

    def write(self, history: History) -> None:
        """Replace the journal by one of this history."""
        unfinished = path_beside(self.path)
        changes: dict[int, list[list[Any]]] = {number: [] for number, _ in history.commits}
        for table, rows in history.rows.items():
            for row in rows:
                if row["valid_to"] is not None:
                    changes[row["valid_to"]].append(["-", table, [row[name] for name in ADDRESSES[table]]])
        for table, rows in history.rows.items():
            for row in rows:
                changes[row["valid_from"]].append(["+", table, _content(row)])
        head = {
            "xlwh": "manifest",
            "format": _FORMAT,
            "identity": history.identity,
            "began_at": history.began_at,
        }
        try:
            with unfinished.open("wb") as file:
                file.write(_line(head))
                checksum = 0
                for number, created_at in history.commits:
                    content, checksum = _block(number, created_at, changes.pop(number), checksum)
                    file.write(content)
            publish(unfinished, self.path)
        finally:
            unfinished.unlink(missing_ok=True)

    def read(self) -> History | None:
        """All that it says, up to where it is damaged; None where there is no journal."""
        try:
            with self.path.open("rb") as file:
                head = _header(file.readline(_WINDOW), self.path)
                if head is None:
                    return None
                found = History(head["identity"], head["began_at"])
                replay = _Replay(found)
                try:
                    for number, created_at, changes in _blocks(file):
                        replay.apply(number, created_at, changes)
                except _TornError as error:
                    found.damage = f"{error} after commit {found.last}"
        except FileNotFoundError:
            return None
        return found


def about(connection: Source) -> dict[str, str]:
    """What a manifest says of itself; empty for one of an earlier version."""
    if not connection.columns("about"):
        return {}
    return dict(connection.execute("select name, value from about").fetchall())


def history(connection: Source, identity: str, began_at: str) -> History:
    """All that a manifest holds, within one transaction."""
    found = History(identity, began_at)
    found.commits = connection.execute("select number, created_at from commits order by number").fetchall()
    for table in _tables(connection):
        order = ", ".join(("valid_from", *ADDRESSES[table]))
        found.rows[table] = list(_named(connection.execute(f"select * from {table} order by {order}")))
    return found


def difference(journal: History, manifest: History) -> str | None:
    """What a journal says otherwise than the manifest whose journal it is, up to its last commit; None where nothing is."""
    last = journal.last
    if journal.commits != [(number, told) for number, told in manifest.commits if number <= last]:
        return "its commits are not those of the manifest"
    for table in ADDRESSES:
        said, held = (
            sorted(
                json.dumps(_until(row, last), sort_keys=True)
                for row in each.rows[table]
                if row["valid_from"] <= last
            )
            for each in (journal, manifest)
        )
        if said != held:
            return f"it and the manifest say different things of {table}"
    return None


def _until(row: Row, last: int) -> Row:
    """A row as it was at a commit."""
    end = row["valid_to"]
    return {
        **_content(row),
        "from": row["valid_from"],
        "to": end if end is not None and end <= last else None,
    }


def _tables(connection: Source) -> list[str]:
    return [table for table in ADDRESSES if connection.columns(table)]


def _changes(connection: Source, number: int) -> Iterator[list[Any]]:
    """What one commit ended, then what it added."""
    tables = _tables(connection)
    for table in tables:
        columns = ", ".join(ADDRESSES[table])
        rows = connection.execute(
            f"select {columns} from {table} where valid_to = ? order by {columns}", (number,)
        )
        yield from (["-", table, list(row)] for row in rows)
    for table in tables:
        order = ", ".join(ADDRESSES[table])
        rows = connection.execute(f"select * from {table} where valid_from = ? order by {order}", (number,))
        yield from (["+", table, _content(row)] for row in _named(rows))


def _named(rows: Any) -> Iterator[Row]:
    names = [column[0] for column in rows.description]
    return (dict(zip(names, row, strict=True)) for row in rows)


def _content(row: Row) -> Row:
    """What a commit says of a row that it adds; the rest follows from later ones, and from the disk."""
    later = ("valid_from", "valid_to", "removed", "segment", "number", "packed_from")
    return {name: value for name, value in row.items() if name not in later and value is not None}


class _TornError(Exception):
    """What follows is no whole block, or does not fit what is before it."""


class _Replay:
    """Commits that follow one another, as the rows that they leave."""

    def __init__(self, found: History) -> None:
        self._found = found
        self._current: dict[str, dict[tuple[Any, ...], Row]] = {table: {} for table in ADDRESSES}

    def apply(self, number: int, created_at: str, changes: Iterable[list[Any]]) -> None:
        self._found.commits.append((number, created_at))
        for sign, table, content in changes:
            current = self._current[table]
            if sign == "-":
                current.pop(tuple(content))["valid_to"] = number
            else:
                row = {**content, "valid_from": number, "valid_to": None}
                self._found.rows[table].append(row)
                current[tuple(row[name] for name in ADDRESSES[table])] = row


def _header(line: bytes, path: Path) -> dict[str, Any] | None:
    """The first line of a journal; None where it is none. `StoreError` for one of a later version of xlwh."""
    found = _parsed(line)
    if not isinstance(found, dict) or found.get("xlwh") != "manifest":
        return None
    if found.get("format") != _FORMAT:
        raise StoreError(f"The journal {path} is of a later version of xlwh. Install that version.")
    is_told = all(isinstance(found.get(name), str) for name in ("identity", "began_at"))
    return found if is_told else None


def _end(line: bytes) -> tuple[int, str, int] | None:
    """Number, time and checksum of the last line of a block; None for any other line."""
    if not line.startswith(b'{"end":'):
        return None
    found = _parsed(line)
    if not isinstance(found, dict):
        return None
    number, told, checksum = found.get("end"), found.get("at"), found.get("crc")
    if isinstance(number, int) and isinstance(told, str) and isinstance(checksum, int):
        return number, told, checksum
    return None


def _parsed(line: bytes) -> Any:
    try:
        return parsed(line.decode())
    except ValueError:
        return None


def _blocks(file: BinaryIO) -> Iterator[tuple[int, str, list[list[Any]]]]:
    """Number, time and changes of each commit; `_TornError` where the next one is not whole."""
    checksum, last = 0, 0
    while begin := file.readline():
        content, changes = begin, list[list[Any]]()
        head = _parsed(begin)
        if not isinstance(head, dict) or "commit" not in head:
            raise _TornError("it is damaged")
        while (line := file.readline()).startswith(b"["):
            content += line
            changes.append(_parsed(line))
        checksum = zlib.crc32(content, checksum)
        is_whole = line.endswith(b"\n") and _end(line) == (head["commit"], head.get("at"), checksum)
        if not is_whole or head["commit"] <= last:
            raise _TornError("it is damaged, or was cut short")
        last = head["commit"]
        yield last, head["at"], changes


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def _block(number: int, created_at: str, changes: Iterable[list[Any]], before: int) -> tuple[bytes, int]:
    """The lines of a commit, and the checksum at their end."""
    content = _line({"commit": number, "at": created_at}) + b"".join(map(_line, changes))
    checksum = zlib.crc32(content, before)
    return content + _line({"end": number, "at": created_at, "crc": checksum}), checksum
