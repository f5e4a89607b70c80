"""The files that a warehouse has, as they are looked at to make its manifest anew: in its folder, or in an object store.

In a folder all of a file is read. Of an object its end is: it says what the file is, and the object's metadata have the
digest of all of it. Whether the bytes between are those is for `check --deep`. Objects of earlier versions have no digest,
and are copied for as long as they are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xlwh.digests import HashCache
from xlwh.errors import StoreError
from xlwh.store import spill
from xlwh.store.apart import UNVOUCHED
from xlwh.store.artefacts import Artefact, Kind, faults, on_disk
from xlwh.store.bucket import Ending, StoredObject
from xlwh.store.checkpoints import DIGITS, damages
from xlwh.store.files import UNFINISHED, files_in
from xlwh.store.identity import identified, identified_by_end, problem
from xlwh.store.objects import AT_ONCE, STORED, Objects, key_of
from xlwh.store.segments import Packed, is_segment, read_index
from xlwh.store.slots import Entry

Identified = tuple[str, Entry | StoreError]
"""A file, and what it is, or why that cannot be told."""
_READ = "tables/models/"
"""Files that are read as a whole, since their rows say what else there has to be."""
_END_BYTES = 1 << 16
"""Of an object that are read first: more than most files say at their end."""
_FOOTER = 8
"""Bytes after the metadata of a Parquet file, which have their length."""


class Folder:
    """Files in the folder of a warehouse."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._shelve(
            {
                path.relative_to(root).as_posix(): found.st_mtime_ns
                for path, found in (files_in(root / "tables") if (root / "tables").is_dir() else ())
                if not path.name.startswith(UNFINISHED)
            }
        )

    def _shelve(self, there: Mapping[str, int]) -> None:
        self.changed_ns = {file: changed for file, changed in there.items() if not is_segment(file)}
        """Files of tables that were finished, also packed ones -> when they (or their segments) were changed, in nanoseconds since 1970."""
        self.unreadable: dict[str, StoreError] = {}
        """Segments of which it cannot be told what is in them."""
        self._packed: dict[str, tuple[str, int]] = {}
        # Of a file that several segments have, by the newest of these.
        for changed, segment in sorted(
            (changed, file) for file, changed in there.items() if is_segment(file)
        ):
            try:
                packed = self._index(segment)
            except StoreError as error:
                self.unreadable[segment] = error
                continue
            for each in packed:
                if each.file not in there:
                    self._packed[each.file] = segment, each.number
                    self.changed_ns[each.file] = changed

    def _index(self, segment: str) -> tuple[Packed, ...]:
        return read_index(self.root / segment)

    def place(self, file: str) -> tuple[str, int] | tuple[None, None]:
        """The segment that has a file, and its number there; None for one that is there by itself, or nowhere."""
        return self._packed.get(file, (None, None))

    def has(self, file: str, _digest: str | None = None) -> bool:
        """Whether there is a file of that path, packed or not."""
        return file in self._packed or (self.root / file).is_file()

    def has_folder(self, folder: Path) -> bool:
        """Whether there is a checkpoint."""
        return folder.is_dir()

    def checkpoints(self) -> list[Path]:
        """The folders of checkpoints."""
        return sorted(self.root.glob(f"models/*/{'[0-9a-f]' * DIGITS}"))

    def identified(self, files: Iterable[str], now: datetime) -> Iterator[Identified]:
        """What files of tables are."""
        for file in files:
            try:
                yield file, UNVOUCHED.call(identified, self.root, file, now, *self.place(file))
            except StoreError as error:
                yield file, error

    def problem(self, entry: Entry) -> str | None:
        """What is wrong with an entry's file."""
        return problem(self.root, entry)

    def bring(self, folder: Path) -> None:
        """Have the files of a checkpoint where they can be read."""

    def damages(self, artefact: Artefact, row: Mapping[str, Any]) -> dict[str, str]:
        """Files of a checkpoint that are not as they should be, and how."""
        return damages(self.root, artefact, row)

    def own(self, _hashes: HashCache) -> list[Artefact]:
        """Results of metrics and SQL of one's own that have to be committed to be seen."""
        return []


class Store(Folder):
    """Files in the object store of a warehouse."""

    def __init__(self, objects: Objects) -> None:
        self.root, self._objects = objects.root, objects
        there = [each for each in objects.bucket.listing() if each.key.startswith(STORED)]
        self._there = {each.key: each for each in there}
        self._shelve(
            {
                each.key: int(each.changed_at.timestamp() * 1e9)
                for each in there
                if each.key.startswith("tables/")
            }
        )
        self._folders = {
            objects.root.joinpath(*each.key.split("/")[:3])
            for each in there
            if re.fullmatch(rf"models/[^/]+/[0-9a-f]{{{DIGITS}}}/.+", each.key)
        }

    def has(self, file: str, digest: str | None = None) -> bool:
        return file in self._packed or key_of(file, digest) in self._there

    def _index(self, segment: str) -> tuple[Packed, ...]:
        # What was packed into it is read there, too.
        try:
            return read_index(self._objects.bring(segment))
        except FileNotFoundError:
            raise StoreError("it went meanwhile") from None

    def has_folder(self, folder: Path) -> bool:
        return folder in self._folders

    def checkpoints(self) -> list[Path]:
        return sorted(self._folders)

    def identified(self, files: Iterable[str], now: datetime) -> Iterator[Identified]:
        def identify(file: str) -> Identified:
            try:
                return file, self._identified(file, now)
            except StoreError as error:
                return file, error

        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from pool.map(identify, files)

    def _identified(self, file: str, now: datetime) -> Entry:
        if file in self._packed:
            return UNVOUCHED.call(identified, self.root, file, now, *self.place(file))
        try:
            end = self._end(file)
        except FileNotFoundError:
            raise StoreError("it went meanwhile") from None
        if end is None or end.digest is None or file.startswith(_READ):
            with self._copied(file):
                return UNVOUCHED.call(identified, self.root, file, now)
        with TemporaryDirectory(dir=spill.folder(), prefix="end-") as folder:
            # A file with a hole where its rows are.
            path = Path(folder) / "end.parquet"
            with path.open("wb") as stream:
                stream.truncate(end.size_bytes - len(end.content))
                stream.seek(0, 2)
                stream.write(end.content)
            return UNVOUCHED.call(identified_by_end, file, path, end.digest, now)

    def _end(self, file: str) -> Ending | None:
        """The end of an object with all that it says of itself; None for one that does not end as a Parquet file."""
        if self._there[file].size_bytes <= _FOOTER:
            return None
        end = self._objects.bucket.ending(file, _END_BYTES)
        needed = int.from_bytes(end.content[-_FOOTER:-4], "little") + _FOOTER
        if not end.content.endswith(b"PAR1") or needed > end.size_bytes:
            return None
        return end if needed <= len(end.content) else self._objects.bucket.ending(file, needed)

    @contextmanager
    def _copied(self, file: str) -> Iterator[None]:
        """A copy of a file for as long as it is read."""
        path = self.root / file
        was_there = path.is_file()
        try:
            self._objects.bring(file, again=True)
            yield
        except FileNotFoundError:
            raise StoreError("it went meanwhile") from None
        finally:
            if not was_there:
                path.unlink(missing_ok=True)

    def problem(self, entry: Entry) -> str | None:
        there = self._there.get(entry.file)
        if entry.segment is not None:
            return problem(self.root, entry)
        if there is None:
            return "it is gone"
        if there.size_bytes != entry.size_bytes:
            return f"it has {there.size_bytes:,} bytes, {entry.size_bytes:,} in the manifest"
        if entry.digest is not None and there.size_bytes > _FOOTER and not entry.file.startswith(_READ):
            said = self._objects.bucket.ending(entry.file, _FOOTER).digest
            if said == entry.digest:
                return None
        with self._copied(entry.file):
            return problem(self.root, entry)

    def bring(self, folder: Path) -> None:
        self._objects.bring_folder(folder.relative_to(self.root).as_posix())

    def damages(self, artefact: Artefact, row: Mapping[str, Any]) -> dict[str, str]:
        if not all(file.digest for file in artefact.files):
            return damages(self.root, artefact, row)
        # Their keys have the beginning of their digests.
        return {file.file: how for file, (_, how) in faults(self.root, artefact, deep=False)}

    def own(self, hashes: HashCache) -> list[Artefact]:
        found = list[Artefact]()
        for kind, pattern in _OWN.items():
            named = [
                (match["name"], each)
                for each in self._there.values()
                if (match := pattern.fullmatch(each.key)) is not None
            ]
            named.sort(key=lambda pair: (pair[0], pair[1].changed_at))
            for name, versions in groupby(named, key=lambda pair: pair[0]):
                *_, (_, newest) = versions
                found.append(self._own(kind, name, newest, hashes))
        return found

    def _own(self, kind: Kind, name: str, newest: StoredObject, hashes: HashCache) -> Artefact:
        file, _, digits = newest.key.partition("@")
        return on_disk(self.root, kind, name, [self._objects.bring(file, digits, again=True)], hashes)


_OWN: dict[Kind, re.Pattern[str]] = {
    "metric": re.compile(r"metrics/(?P<name>[a-z][a-z0-9_]*)-[0-9a-f]{16}\.parquet"),
    "sql": re.compile(r"sql/(?P<name>[a-z][a-z0-9_]*)\.sql@[0-9a-f]{16}"),
}
"""Kind -> the keys of its objects."""
