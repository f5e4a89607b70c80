"""Another warehouse, of which nothing is believed until it was looked at.

Its manifest is read as a private copy, so nothing is written there, no lock is taken, and nothing that somebody put into
it (a trigger, a view) runs. Of one in a database its journal is read, which lies in the warehouse: no server is asked that
somebody else named, but that of a warehouse in an object store, which has no journal. Its files are opened one folder at a time from its root: no link is followed, nothing is opened
that is no regular file, and no name leads outside of the places that a warehouse has.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xlwh.errors import StoreError
from xlwh.store import journal, metrics
from xlwh.store.artefacts import KINDS, PLACES, Artefact, ArtefactFile, Kind, Name
from xlwh.store.checkpoints import DIGITS
from xlwh.store.files import MANIFEST, remove, sort_of, sync
from xlwh.store.identity import printable, require_possible
from xlwh.store.journal import Journal
from xlwh.store.manifest_file import has_manifest, known_schema
from xlwh.store.objects import behind, stored
from xlwh.store.place import is_embedded
from xlwh.store.roots import name_of
from xlwh.store.segments import FOLDER, Packed, count_in, index_of, is_segment, unpacked
from xlwh.store.slots import Entry, Slot, contract
from xlwh.tables import KEY_PATTERN, TABLES

_BLOCK = 1 << 22
_TRIES = 20
"""How often the manifest is copied again where its owner writes to it meanwhile."""
_DEEPEST = 8
"""Folders of an artefact inside one another."""
_LONGEST = 4_096
"""Characters that any text of a manifest may have."""
_COLUMNS = {
    "versions": (
        *("slot_table", "keys", "part", "file", "fingerprint"),
        *("rows", "size_bytes", "version", "digest"),
    ),
    "hidden": ("slot_table", "keys", "part"),
    "artefacts": ("kind", "name", "fingerprint", "file", "size_bytes", "digest"),
}
"""Tables of a manifest -> columns that are read."""
_MEND_THERE = "Run there: `xlwh recover`."
_NAMES = {
    "model": re.compile(KEY_PATTERN),
    "metric": re.compile("[a-z][a-z0-9_]*"),
    "sql": re.compile("[a-z][a-z0-9_]*"),
}


_Place = tuple[str, Packed]
"""A segment, and where a file is in it."""


class RefusedError(StoreError):
    """Something of another warehouse is not as it has to be; the text says what."""


@dataclass(frozen=True)
class Refused:
    """Something of another warehouse that is not taken, and why."""

    what: str
    """A slot, an artefact, or what a manifest has in the place of one; printable."""
    reason: str


class Foreign:
    """What the manifest of another warehouse says, as far as it can be believed; files are looked at when they are copied."""

    def __init__(self, root: Path, copy: Path) -> None:
        """Read the manifest of the warehouse at `root` by way of a copy at `copy`, which is removed again.

        StoreError where there is none, or one that cannot be used.
        """
        self.root = root
        self.entries: list[Entry] = []
        """Its current entries that are in scope there and of this version's contracts, by slot."""
        self.hidden: list[Slot] = []
        """Slots that the study there does not name."""
        self.artefacts: dict[Name, Artefact] = {}
        self.refused: list[Refused] = []
        self._segments: dict[str, dict[str, _Place]] = {}
        """Folder of segments -> file -> where it was packed."""
        try:
            if behind(root) is not None:
                self._read_database()
                metrics.bring(root, self.artefacts.values())
            elif is_embedded(root):
                self._copy_manifest(copy)
                with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
                    self._read(connection)
            else:
                self._read_journal(copy)
        except sqlite3.Error as error:
            raise StoreError(f"The manifest {root / MANIFEST} cannot be used: {error}.") from error
        finally:
            for suffix in ("", "-wal", "-shm"):
                remove(copy.with_name(copy.name + suffix))

    def _copy_manifest(self, copy: Path) -> None:
        """Copy it with its log, so that both are of one moment."""
        log = f"{MANIFEST}-wal"
        for _ in range(_TRIES):
            before = self._state(MANIFEST), self._state(log)
            if before[0] is None and not has_manifest(self.root):
                raise StoreError(f"There is no warehouse at {self.root}: it has no {MANIFEST}.")
            try:
                self.copy(MANIFEST, copy)
                if before[1] is not None:
                    self.copy(log, copy.with_name(f"{copy.name}-wal"))
            except RefusedError as error:
                raise StoreError(f"The manifest {self.root / MANIFEST} cannot be used: {error}.") from None
            if before == (self._state(MANIFEST), self._state(log)):
                return
            remove(copy.with_name(f"{copy.name}-wal"))
            time.sleep(0.1)
        raise StoreError(f"The manifest {self.root / MANIFEST} is written to all the time. Try again later.")

    def _state(self, file: str) -> tuple[int, int, int] | None:
        try:
            found = os.lstat(self.root / file)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self, connection: sqlite3.Connection) -> None:
        # Of any text or blob: all that xlwh writes is far shorter.
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000_000)
        connection.text_factory = lambda text: text.decode(errors="replace")
        connection.execute("pragma trusted_schema = off")
        _check_schema(connection, self.root / MANIFEST)
        damage = connection.execute("pragma integrity_check(1)").fetchone()[0]
        if damage != "ok":
            raise StoreError(f"The manifest {self.root / MANIFEST} is damaged: {printable(damage)}.")
        self._believe(lambda table: list(_rows(connection, table, _COLUMNS[table])))

    def _read_journal(self, copy: Path) -> None:
        """Read the backup of a manifest that is in a database, of which every commit is in it."""
        path = self.root / journal.NAME
        for _ in range(_TRIES):
            try:
                self.copy(journal.NAME, copy)
                found = Journal(copy).read()
            except RefusedError as error:
                raise StoreError(f"The journal {path} cannot be read: {error}. {_MEND_THERE}") from None
            except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
                raise StoreError(f"The journal {path} is damaged. {_MEND_THERE}") from None
            if found is not None and found.damage is None:
                break
            # Its owner may be writing to it just now.
            time.sleep(0.1)
        else:
            raise StoreError(f"The journal {path} is damaged. {_MEND_THERE}")

        def current(table: str) -> list[tuple[Any, ...]]:
            rows = [tuple(row.get(name) for name in _COLUMNS[table]) for row in found.current(table)]
            if any(type(value) not in (str, int, type(None)) for row in rows for value in row):
                raise StoreError(f"The journal {path} holds values that no manifest has.")
            return rows

        self._believe(current)

    def _read_database(self) -> None:
        """Read the manifest that an object store names: who takes from there asks that server, as its own commands do."""
        from xlwh.store.manifests import open_manifest

        if not has_manifest(self.root):
            raise StoreError(f"There is no warehouse at {name_of(self.root)}.")
        manifest = open_manifest(self.root)
        self._believe(lambda table: manifest.current_rows(table, _COLUMNS[table]))

    def _believe(self, current: Callable[[str], list[tuple[Any, ...]]]) -> None:
        """Take over what can be believed of the current rows of each table."""
        hidden = set(current("hidden"))
        rows = current("versions")
        slots, files = Counter(row[:3] for row in rows), Counter(row[3] for row in rows)
        for row in rows:
            try:
                if slots[row[:3]] > 1 or files[row[3]] > 1:
                    raise RefusedError("the manifest names its slot or its file twice")
                if (entry := _entry(row)) is not None:
                    self.entries.append(entry) if row[:3] not in hidden else self.hidden.append(entry.slot)
            except RefusedError as error:
                self.refused.append(Refused(_address(row[:3]), str(error)))
        self.entries.sort(key=lambda entry: entry.slot)
        found: dict[tuple[Any, Any], list[tuple[Any, ...]]] = {}
        for row in current("artefacts"):
            found.setdefault(row[:2], []).append(row[2:])
        for (kind, name), rows in found.items():
            try:
                artefact = _artefact(kind, name, rows)
                self.artefacts[artefact.address] = artefact
            except RefusedError as error:
                self.refused.append(Refused(f"{printable(kind)} {printable(name)}", str(error)))

    def copy(
        self,
        file: str,
        target: Path,
        size_bytes: int | None = None,
        copied: Callable[[int], None] | None = None,
        digest: str | None = None,
    ) -> str:
        """Copy a file's bytes to `target`, which is synced; the SHA-256 of what was copied.

        `copied` is called with the bytes of each part. RefusedError where it is no regular file inside the warehouse, has
        another size than `size_bytes`, or cannot be read; OSError where the target cannot be written. `digest` is what the
        manifest says, by which an object store has it.
        """
        if (objects := stored(self.root, file)) is not None:
            with suppress(FileNotFoundError):
                objects.bring(file, digest, again=True)
        if (place := self._packed(file)) is not None:
            return self._unpack(place, target, size_bytes, copied)
        total, read = hashlib.sha256(), 0
        with self._opened(file) as source, target.open("wb") as stream:
            size = os.fstat(source).st_size
            if size_bytes is not None and size != size_bytes:
                raise RefusedError(f"its file has {size:,} bytes, {size_bytes:,} in the manifest")
            while block := _read(source):
                read += len(block)
                if size_bytes is not None and read > size_bytes:
                    break
                total.update(block)
                stream.write(block)
                if copied is not None:
                    copied(len(block))
        if size_bytes is not None and read != size_bytes:
            raise RefusedError("its file was changed while it was read")
        sync(target)
        return total.hexdigest()

    def _packed(self, file: str) -> _Place | None:
        """The segment that has a file, and where in it; None for a file that is there by itself, or nowhere."""
        if not file.startswith("tables/") or os.path.lexists(self.root / file):
            return None
        folder = f"{'/'.join(file.split('/')[:2])}/{FOLDER}"
        if folder not in self._segments:
            self._segments[folder] = dict(self._index_of(folder))
        return self._segments[folder].get(file)

    def _index_of(self, folder: str) -> Iterator[tuple[str, _Place]]:
        if (objects := stored(self.root, folder)) is not None:
            objects.bring_all(each.key for each in objects.bucket.listing(folder) if is_segment(each.key))
        try:
            segments = [each for each, _ in self.files_in(folder) if is_segment(each)]
        except RefusedError:
            return
        for segment in segments:
            # What cannot be read is of no use, and what it has is refused as gone.
            with (
                suppress(RefusedError, ValueError),
                self._opened(segment) as opened,
                open(opened, "rb", closefd=False) as stream,
            ):
                yield from ((each.file, (segment, each)) for each in index_of(stream, count_in(segment)))

    def _unpack(
        self,
        place: _Place,
        target: Path,
        size_bytes: int | None,
        copied: Callable[[int], None] | None,
    ) -> str:
        segment, packed = place
        if size_bytes is not None and (packed.size_bytes != size_bytes or packed.length > size_bytes):
            raise RefusedError(f"its file has {packed.size_bytes:,} bytes, {size_bytes:,} in the manifest")
        with self._opened(segment) as opened, open(opened, "rb", closefd=False) as stream:
            content = unpacked(stream, packed)
        target.write_bytes(content)
        sync(target)
        if copied is not None:
            copied(len(content))
        return hashlib.sha256(content).hexdigest()

    def has(self, file: str, size_bytes: int, digest: str | None) -> bool:
        """Whether something of that size is there."""
        if (place := self._packed(file)) is not None:
            return place[1].size_bytes == size_bytes
        if (objects := stored(self.root, file)) is not None:
            return objects.size_of(file, digest) == size_bytes
        try:
            return os.lstat(self.root / file).st_size == size_bytes
        except (OSError, ValueError):
            return False

    def refuses(self, kind: Kind, name: str) -> bool:
        """Whether the manifest has an artefact of that name that cannot be believed."""
        return any(each.what == f"{kind} {name}" for each in self.refused)

    def files_in(self, folder: str) -> list[tuple[str, int]]:
        """(path, bytes) of all that is no folder, in a folder and below it; RefusedError where that is none."""
        if folder.count("/") > _DEEPEST:
            raise RefusedError(f"its folder {printable(folder)} lies too deep")
        found = list[tuple[str, int]]()
        with self._folder(folder.split("/")) as descriptor:
            names = sorted(os.listdir(descriptor))
            states = {name: os.stat(name, dir_fd=descriptor, follow_symlinks=False) for name in names}
        for name, state in states.items():
            if stat.S_ISDIR(state.st_mode):
                found += self.files_in(f"{folder}/{name}")
            else:
                found.append((f"{folder}/{name}", state.st_size))
        return found

    @contextmanager
    def _opened(self, file: str) -> Iterator[int]:
        """A descriptor of a regular file, by its path from the root."""
        *folders, name = file.split("/")
        with self._folder(folders) as folder:
            try:
                # Before it is opened: that alone can do something to a device.
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode):
                    raise RefusedError(f"its file is {sort_of(found)}, not a regular file")
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                descriptor = os.open(name, flags, dir_fd=folder)
            except FileNotFoundError:
                raise RefusedError("its file is gone") from None
            except OSError as error:
                raise RefusedError(f"its file cannot be read: {error.strerror}") from None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RefusedError("its file was replaced while it was opened")
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _folder(self, names: Sequence[str]) -> Iterator[int]:
        """A descriptor of a folder, by its path from the root; no part of the path but the first may be a link."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            descriptor = os.open(self.root, flags)
            for depth, name in enumerate(names):
                try:
                    # Its owner may have put a whole folder on another disk.
                    deeper = os.open(name, flags | (os.O_NOFOLLOW if depth else 0), dir_fd=descriptor)
                finally:
                    os.close(descriptor)
                descriptor = deeper
        except OSError as error:
            reason = "it is a link or no folder" if isinstance(error, NotADirectoryError) else error.strerror
            raise RefusedError(f"its folder {printable('/'.join(names))} cannot be read: {reason}") from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _BLOCK)
    except OSError as error:
        raise RefusedError(f"its file cannot be read: {error.strerror}") from None


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """StoreError unless a manifest holds the tables and indexes of a manifest, and nothing else."""
    known = known_schema()
    tables = {name for (name,) in connection.execute("select name from sqlite_master")}
    if not {"commits", "versions"} <= tables:
        raise StoreError(f"The manifest {path} lacks the tables that xlwh makes.")
    for kind, name, place in connection.execute("select type, name, rootpage from sqlite_master").fetchall():
        if (kind, name) not in known or not place:
            raise StoreError(
                f"The manifest {path} holds the {printable(kind)} `{printable(name)}`, which this version of xlwh does not make: "
                "nothing of that warehouse is taken."
            )
        if kind == "table" and (columns := known[kind, name]):
            found = {row[1]: row[6] for row in connection.execute(f'pragma table_xinfo("{name}")')}
            lacking = columns - found.keys() - {"digest"}
            if lacking or found.keys() - columns or any(found.values()):
                raise StoreError(
                    f"The table `{name}` of the manifest {path} has other columns than xlwh makes: nothing of that "
                    "warehouse is taken."
                )


def _rows(connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Values of current rows of a table, None for a column that is not there; none where there is no such table."""
    there = {row[1] for row in connection.execute(f"pragma table_info({table})")}
    if there:
        chosen = ", ".join(column if column in there else "null" for column in columns)
        yield from connection.execute(f"select {chosen} from {table} where valid_to is null")


def _entry(row: Sequence[Any]) -> Entry | None:
    """An entry by a row of `versions`; RefusedError where it is none that xlwh could have written."""
    table, keys, part, file, fingerprint, rows, size_bytes, version, digest = row
    slot = _slot(table, keys, part)
    _check_texts(file, fingerprint)
    name = file.removeprefix(f"{slot.folder}/")
    if name == file or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.parquet", name):
        raise RefusedError(f"its file is to lie in {slot.folder}, not at {printable(file)}")
    entry = Entry(slot, file, fingerprint, rows, size_bytes, version, datetime.now(UTC), 0, digest)
    try:
        require_possible(entry)
    except StoreError as error:
        raise RefusedError(f"the manifest says of it: {error}") from None
    wanted = contract(slot.table).version
    if version != wanted:
        where = "there" if version < wanted else "with that version of xlwh here"
        raise RefusedError(
            f"it was written for version {version} of the contract, here it is {wanted}; run {where}: "
            f"xlwh materialize {slot.table}"
        )
    return entry


def _slot(table: Any, keys: Any, part: Any) -> Slot:
    _check_texts(table, keys, part)
    if table not in TABLES:
        raise RefusedError("there is no such table")
    try:
        values = json.loads(keys)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RefusedError("its keys are no list of texts")
    try:
        slot = Slot(table, tuple(values), part)
    except StoreError as error:
        raise RefusedError(printable(error, 300)) from None
    if keys != slot.address[1]:
        raise RefusedError("its keys are written otherwise than xlwh writes them")
    return slot


def _check_texts(*values: Any) -> None:
    for value in values:
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise RefusedError("the manifest has something else than a name in its place")


def _artefact(kind: Any, name: Any, rows: Sequence[tuple[Any, ...]]) -> Artefact:
    """An artefact by its rows of `artefacts`; RefusedError where it is none that xlwh could have written."""
    _check_texts(kind, name)
    if kind not in KINDS or not _NAMES[kind].fullmatch(name):
        raise RefusedError("there is no such kind of artefact, or none can have that name")
    fingerprints = {row[0] for row in rows}
    if len(fingerprints) > 1 or len({row[1] for row in rows}) < len(rows):
        raise RefusedError("the manifest names it or one of its files twice")
    (fingerprint,) = fingerprints
    files = []
    for _, file, size_bytes, digest in rows:
        _check_texts(fingerprint, file, digest)
        if type(size_bytes) is not int or size_bytes < 0 or not re.fullmatch("[0-9a-f]{64}", digest):
            raise RefusedError("the manifest has no size or digest of one of its files")
        files.append(ArtefactFile(file, size_bytes, digest))
    found = Artefact(kind, name, fingerprint, tuple(sorted(files)))
    check_places(found)
    return found


def check_places(artefact: Artefact) -> None:
    """RefusedError where the files of an artefact do not lie where its kind does, or there are none."""
    place, name, fingerprint = PLACES[artefact.kind], artefact.name, artefact.fingerprint
    if artefact.kind == "model":
        if not re.fullmatch(f"[0-9a-f]{{{DIGITS}}}", fingerprint):
            raise RefusedError(f"its checkpoint is to be named by {DIGITS} hexadecimal digits")
        folder = f"{place}/{name}/{fingerprint}/"
        if not artefact.files:
            raise RefusedError(f"there are no files in {folder}")
        for each in artefact.files:
            inside = each.file.removeprefix(folder)
            if inside == each.file or not all(map(_is_file_name, inside.split("/"))):
                raise RefusedError(f"its files are to lie in {folder}, not at {printable(each.file)}")
        return
    digest = artefact.files[0].digest
    file = f"{place}/{name}.sql" if artefact.kind == "sql" else f"{place}/{name}-{digest[:16]}.parquet"
    if [each.file for each in artefact.files] != [file] or fingerprint != digest:
        raise RefusedError(f"its one file is to be {file}")


def _is_file_name(text: str) -> bool:
    return text not in ("", ".", "..") and text.isprintable() and len(text.encode()) <= 255


def _address(row: Sequence[Any]) -> str:
    table, keys, part = row
    try:
        return str(_slot(table, keys, part))
    except RefusedError:
        return f"{printable(table)} {printable(keys)} {printable(part)}"
