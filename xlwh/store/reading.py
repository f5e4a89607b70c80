"""The files of entries as something to read: where they lie, or out of the segments that they were packed into."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from xlwh.digests import sha256
from xlwh.errors import StoreError
from xlwh.store.damage import GONE, Damage, leads_out
from xlwh.store.files import sort_of
from xlwh.store.objects import all_at_hand, at_hand, is_gone, is_there, stored
from xlwh.store.parquet import is_whole
from xlwh.store.segments import COLUMN, Packed, bytes_of, has_digest, read_index
from xlwh.store.slots import Entry

Source = Path | BytesIO
"""A Parquet file, or its bytes: what Polars reads."""

_RUN = 8
"""Files that follow one another in a segment, from which on they are read there and not one by one."""


@dataclass(frozen=True)
class StoredFile:
    """The file of an entry, told apart by its place; it never changes."""

    root: Path
    file: str
    entry: Entry = field(compare=False, repr=False)

    @classmethod
    def of(cls, root: Path, entry: Entry) -> StoredFile:
        """That of an entry of the warehouse at `root`."""
        return cls(root, entry.file, entry)

    def scan(self) -> pl.LazyFrame:
        """Its rows."""
        return scan(self.root, [self.entry])

    def metadata(self) -> dict[str, str]:
        """What it says of itself."""
        return pl.read_parquet_metadata(source(self.root, self.entry))


def source(root: Path, entry: Entry) -> Source:
    """The file of an entry; the path where it would lie where it is nowhere. `StoreError` where a store does not answer.

    One that was packed is read into memory, and is small.
    """
    if (found := _packed(root, entry)) is None:
        return at_hand(root, entry.file)
    try:
        return BytesIO(bytes_of(*found))
    except FileNotFoundError:
        return root / entry.file


def content(root: Path, entry: Entry) -> bytes:
    """The bytes of the file of an entry. OSError where it is gone."""
    found = source(root, entry)
    return found.read_bytes() if isinstance(found, Path) else found.getvalue()


def is_stored(root: Path | str, entry: Entry) -> bool:
    """Whether the file of an entry is there, in the size that it was committed with."""
    if entry.segment is None or is_beside(root, entry):
        return is_there(root, entry.file, entry.size_bytes)
    return _is_segment_there(root, entry.segment)


def is_lost(root: Path, entry: Entry) -> bool:
    """Whether the file of an entry is nowhere, in whatever state."""
    if entry.segment is None or is_beside(root, entry):
        return is_gone(root, entry.file, entry.size_bytes)
    return not _is_segment_there(root, entry.segment)


def bring_files(root: Path, entries: Iterable[Entry]) -> None:
    """Have the files of entries here, where an object store has them: several at a time."""
    all_at_hand(root, {entry.file if is_beside(root, entry) else str(entry.segment) for entry in entries})


def packed_damage(root: Path, entry: Entry, deep: bool) -> Damage | None:
    """Why an entry cannot be had from its segment as it was committed; None where it can.

    With `deep` its bytes are read. What readers of the whole segment need is the matter of `segment_damage`.
    """
    if not deep:
        return segment_damage(root, str(entry.segment), deep=False)
    if leads_out(root, str(entry.segment)):
        return "irregular_file", "its path leads out of the warehouse"
    try:
        has = hashlib.sha256(content(root, entry)).hexdigest()
    except FileNotFoundError:
        return GONE
    except OSError as error:
        return "unreadable_file", error.strerror or str(error)
    except StoreError as error:
        return "unreadable_file", str(error).removesuffix(" Run: xlwh repair")
    if has == entry.digest:
        return None
    return "wrong_digest", f"its bytes in {entry.segment} are not those that were written"


def segment_damage(root: Path, segment: str, deep: bool) -> Damage | None:
    """Why a segment is not the file that was written; with `deep` all of it is read. None where all is well."""
    if leads_out(root, segment):
        return "irregular_file", "its path leads out of the warehouse"
    if (objects := stored(root, segment)) is not None and not deep:
        return GONE if objects.size_of(segment) is None else None
    for again in (False, True):
        # A copy that was damaged here is no fault of what is stored.
        try:
            path = root / segment if objects is None else objects.bring(segment, again=again)
            found = _segment_damage(path, segment, deep)
        except FileNotFoundError:
            return GONE
        except OSError as error:
            found = "unreadable_file", error.strerror or str(error)
        if found is None or objects is None:
            break
    return found


def _segment_damage(path: Path, segment: str, deep: bool) -> Damage | None:
    state = path.lstat()
    if not stat.S_ISREG(state.st_mode):
        return "irregular_file", f"it is {sort_of(state)}, and no file"
    if not is_whole(path):
        return "unreadable_file", "it does not begin and end as a Parquet file does"
    if deep and not has_digest(segment, sha256([path])):
        return "wrong_digest", "its bytes are not those that were written"
    return None


def scan(root: Path, entries: Iterable[Entry], **options: Any) -> pl.LazyFrame:
    """The rows of at least one entry, in the order of the entries; `options` are those of `polars.scan_parquet`."""
    frames = []
    for run in _runs(root, list(entries)):
        first = _packed(root, run[0])
        if first is None:
            read: Any = all_at_hand(root, (entry.file for entry in run))
        elif len(run) < _RUN:
            read = [source(root, entry) for entry in run]
        else:
            # One column more than the files have.
            rows = pl.scan_parquet(
                first[0], hive_partitioning=False, glob=False, **{**options, "extra_columns": "ignore"}
            )
            rows = rows.slice(first[1].first_row, sum(entry.rows for entry in run))
            frames.append(rows.drop(COLUMN, strict=False))
            continue
        frames.append(pl.scan_parquet(read, hive_partitioning=False, glob=False, **options))
    return frames[0] if len(frames) == 1 else pl.concat(frames)


def _runs(root: Path, entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Entries that are read together: all from files, or all from one segment, where they follow one another."""
    run: list[Entry] = []
    for entry in entries:
        if run and not _follows(root, run[-1], entry):
            yield run
            run = []
        run.append(entry)
    if run:
        yield run


def _follows(root: Path, one: Entry, next_one: Entry) -> bool:
    before, after = (None if is_beside(root, each) else each.segment for each in (one, next_one))
    if before != after:
        return False
    return before is None or next_one.number == (one.number or 0) + 1


def is_beside(root: Path | str, entry: Entry) -> bool:
    """Whether the file of an entry is on this disk, also where it was packed."""
    return entry.segment is None or os.path.isfile(f"{root}/{entry.file}")


def _packed(root: Path, entry: Entry) -> tuple[Path, Packed] | None:
    """The segment to read a file from, and where it is there; None for one that is read by itself.

    `StoreError` where the index of the segment is damaged, or has no such file.
    """
    if is_beside(root, entry):
        return None
    path = at_hand(root, str(entry.segment))
    try:
        index = _index(str(path), path.stat().st_mtime_ns)
    except FileNotFoundError:
        # Whoever reads it says so.
        return None
    found = index.get(entry.file)
    if found is None or found.number != entry.number or entry.digest not in (None, found.digest):
        raise StoreError(f"{entry.segment} does not have {entry.file} as the manifest says. Run: xlwh repair")
    return path, found


@lru_cache(256)
def _index(path: str, _changed: int) -> Mapping[str, Packed]:
    return {each.file: each for each in read_index(Path(path))}


def _is_segment_there(root: Path | str, segment: str) -> bool:
    if os.path.isfile(f"{root}/{segment}"):
        return True
    objects = stored(Path(root), segment)
    return objects is not None and objects.size_of(segment) is not None
