"""Packing many small files into few large ones (see `xlwh.store.segments`).

Tables stay what they are, and so do their entries, with their files' names, digests and history: the manifest notes
besides which segment has each file. A segment becomes known in one commit; the files that were packed, and segments that
were replaced, stay until `gc` removes them, since somebody may be reading them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xlwh.errors import StoreError
from xlwh.store.claims import COMPACT
from xlwh.store.reading import content
from xlwh.store.segments import Original, Segment, UnfitError, count_in, write_segment
from xlwh.store.slots import Entry, contract
from xlwh.tables import TABLES

if TYPE_CHECKING:
    from xlwh.store.warehouse import Warehouse

Progress = Callable[[int, int], None]
"""Called with the files that were looked at, and how many there are to look at."""

SMALL_BYTES = 16_000_000
"""Files that are larger stay as they are: reading one by one of them costs nothing to speak of."""
SEGMENT_BYTES = 256_000_000
"""Of packed files in a segment. It is whole in memory nowhere, and what a machine brings from an object store at a time."""
SEGMENT_FILES = 2048
"""In a segment, however small: whoever reads it reads what its footer says of each."""
FEWEST = 8
"""Files, or small segments, of a table from which on packing is worth it."""
_LIVE = 0.75
"""Share of a segment's files from which on it stays, though others were made again or dropped since."""
_UNPACKED = ("models",)
"""Tables that stay as they are: their files name the checkpoints beside them."""


@dataclass
class Compacted:
    """What was packed."""

    files: int = 0
    segments: list[Segment] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    """Files that could not be packed -> why."""


def compact(
    warehouse: Warehouse,
    tables: Collection[str] = (),
    progress: Progress | None = None,
    whole: bool = False,
) -> Compacted:
    """Pack the small files of tables, by default of all; what is packed already stays, unless much of it is superseded.

    With `whole`, unless any of it is: then no segment has rows that are not shown.

    It can be stopped at any time: what was packed until then is, and the next run goes on. `StoreError` for a name that
    is no table, and where the disk refuses; `HeldError` where another process is at it.
    """
    for name in tables:
        contract(name)
    done = Compacted()
    with warehouse.claims.hold(COMPACT):
        names = [name for name in TABLES if name not in _UNPACKED and (not tables or name in tables)]
        share = 1.0 if whole else _LIVE
        batches = [batch for name in names for batch in _batches(warehouse.entries(name), share)]
        _pack_all(warehouse, batches, done, progress)
    warehouse.build_catalogue()
    return done


def renew(warehouse: Warehouse, segments: Collection[str]) -> Compacted:
    """Pack again what is sound in damaged segments; what is not stays where it is, and is told."""
    done, batches = Compacted(), dict[str, list[Entry]]()
    with warehouse.claims.hold(COMPACT):
        for entry in warehouse.entries():
            if entry.segment in segments:
                batches.setdefault(str(entry.segment), []).append(entry)
        _pack_all(warehouse, list(batches.values()), done, None)
    return done


def _pack_all(
    warehouse: Warehouse, batches: Sequence[Collection[Entry]], done: Compacted, progress: Progress | None
) -> None:
    total, before = sum(map(len, batches)), 0
    for batch in batches:
        _pack(warehouse, batch, done, partial(_told, progress, before, total))
        before += len(batch)


def _told(progress: Progress | None, before: int, total: int, number: int) -> None:
    if progress is not None:
        progress(before + number, total)


def loose(entries: Collection[Entry]) -> list[Entry]:
    """Those of a table's entries that could be packed and are not."""
    return [entry for entry in entries if entry.segment is None and _is_fit(entry)]


def _is_fit(entry: Entry) -> bool:
    is_current = entry.version == contract(entry.slot.table).version
    return is_current and entry.digest is not None and entry.size_bytes <= SMALL_BYTES


def _batches(entries: Collection[Entry], share: float) -> Iterator[list[Entry]]:
    """The entries of one table that are to be packed together; segments stay of which at least this share is current."""
    segments: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.segment is not None:
            segments.setdefault(entry.segment, []).append(entry)
    small = [each for each in segments.values() if not _is_large(each)]
    again = [
        each
        for segment, each in segments.items()
        if len(each) < share * count_in(segment) or (len(small) >= FEWEST and not _is_large(each))
    ]
    packed = [entry for each in again for entry in each if _is_fit(entry)]
    wanted = loose(entries)
    if len(wanted) < FEWEST and not packed:
        return
    batch, size = list[Entry](), 0
    for entry in sorted([*wanted, *packed], key=lambda entry: entry.slot):
        if batch and (size + entry.size_bytes > SEGMENT_BYTES or len(batch) >= SEGMENT_FILES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size_bytes
    yield batch


def _is_large(entries: Collection[Entry]) -> bool:
    return (
        sum(entry.size_bytes for entry in entries) * 4 >= SEGMENT_BYTES or len(entries) * 4 >= SEGMENT_FILES
    )


def _pack(
    warehouse: Warehouse, batch: Collection[Entry], done: Compacted, told: Callable[[int], object]
) -> None:
    by_file, number = {entry.file: entry for entry in batch}, 0
    root = Path(warehouse.root)

    def read(source: Original) -> bytes:
        nonlocal number
        told(number)
        number += 1
        try:
            return content(root, by_file[source.file])
        except (OSError, StoreError) as error:
            raise UnfitError(f"{source.file} cannot be read: {error}") from None

    def unfit(source: Original, error: UnfitError) -> None:
        done.left[source.file] = str(error)

    sources = [Original(entry.file, entry.size_bytes, entry.digest or "", entry.rows) for entry in batch]
    table = next(iter(batch)).slot.table
    segment = write_segment(root, table, sources, read, unfit)
    if segment is not None:
        warehouse.manifest.pack(segment)
        done.segments.append(segment)
        done.files += len(segment.packed)
