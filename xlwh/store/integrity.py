"""Whether a stored file is the one that the manifest says: there, a file, of its size and bytes, true to its contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import polars as pl

from xlwh.digests import FileMemo
from xlwh.errors import ContractError, StoreError
from xlwh.store.apart import UNVOUCHED
from xlwh.store.contract import checked
from xlwh.store.damage import damage
from xlwh.store.objects import stored
from xlwh.store.parquet import UnreadableError, decoded, is_whole
from xlwh.store.reading import Source, bring_files, is_beside, packed_damage, segment_damage, source
from xlwh.store.slots import Entry, Slot, contract

Kind = Literal[
    "missing_file",
    "irregular_file",
    "wrong_size",
    "wrong_digest",
    "unreadable_file",
    "wrong_metadata",
    "broken_contract",
    "old_contract",
    "wrong_offsets",
    "orphan_file",
    "stale_catalogue",
    "damaged_journal",
]

_LOOKED_AT = FileMemo[tuple[Kind, str] | None](500_000)
"""What is wrong with files."""

MEND = "run `xlwh repair`"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be, and what mends it."""

    kind: Kind
    file: str
    """Path relative to the warehouse."""
    problem: str
    slot: Slot | None = None
    """Whose current file it is; None for files that no slot has."""

    @property
    def message(self) -> str:
        """The problem, with the file that has it."""
        return f"{self.file}: {self.problem}"


def faults(root: Path, entry: Entry, deep: bool) -> Iterator[Finding]:
    """What is wrong with the file of an entry of the warehouse at `root`; nothing where all is well.

    Without `deep` only its beginning and its end are read. With it all of its bytes are compared with their digest; if
    that is right, or there is none, it is decoded, and held against its metadata and contract. A file is not looked into
    any further once it is not what the manifest says.
    """
    found = _damage(root, entry, deep)
    if found is not None:
        kind, problem = found
        yield Finding(kind, entry.file, f"{problem}; {MEND}", entry.slot)
        return
    if deep:
        try:
            file = source(root, entry)
            yield from _content(file, entry) if entry.digest else _content_apart(file, entry)
        except UnreadableError as error:
            yield Finding("unreadable_file", entry.file, f"{error}; {MEND}", entry.slot)
            return
    version = contract(entry.slot.table).version
    if entry.version != version:
        problem = (
            f"written for version {entry.version} of the contract, now {version}; run `xlwh materialize`"
        )
        yield Finding("old_contract", entry.file, problem, entry.slot)


def require_undamaged(root: Path, entry: Entry) -> None:
    """StoreError where the file of an entry has other bytes than were written, before anything is made from them.

    A file that rests is read once by a process; of one that was packed it is the segment.
    """
    bring_files(root, [entry])
    file, part = entry.file, (entry.size_bytes, entry.digest)
    looked: Callable[[], tuple[Kind, str] | None] = partial(_damage, root, entry, deep=True)
    if not is_beside(root, entry) and entry.segment is not None:
        # The whole of it: rows are read by its own footer, too.
        file, part = entry.segment, (0, None)
        looked = partial(segment_damage, root, entry.segment, deep=True)
    try:
        found = _LOOKED_AT.get(root / file, looked, part)
    except OSError:
        found = looked()
    if found is not None:
        raise StoreError(f"{file} of {entry.slot} is damaged: {found[1]}. Run: xlwh repair")


def _damage(root: Path, entry: Entry, deep: bool) -> tuple[Kind, str] | None:
    """Why a file is not the one that was written."""
    is_packed = not is_beside(root, entry)
    found = (
        packed_damage(root, entry, deep)
        if is_packed
        else damage(root, entry.file, entry.size_bytes, entry.digest, deep)
    )
    if found is not None:
        kind, problem = found
        return kind, f"the current file of {entry.slot} is gone" if kind == "missing_file" else problem
    if is_packed or (not deep and stored(root, entry.file) is not None):
        return None
    try:
        is_parquet = is_whole(root / entry.file)
    except OSError as error:
        return "unreadable_file", error.strerror or str(error)
    return None if is_parquet else ("unreadable_file", "it does not begin and end as a Parquet file does")


def _content_apart(file: Source, entry: Entry) -> list[Finding]:
    """The same of bytes that may be any: they are decoded where they can do no harm."""
    return UNVOUCHED.call(_listed, file, entry)


def _listed(file: Source, entry: Entry) -> list[Finding]:
    return list(_content(file, entry))


def _content(file: Source, entry: Entry) -> Iterator[Finding]:
    """What is wrong with what a file holds. UnreadableError where it cannot be read."""
    metadata = decoded(lambda: pl.read_parquet_metadata(file))
    rows = decoded(
        lambda: pl.scan_parquet(file, hive_partitioning=False, glob=False).select(pl.len()).collect().item()
    )
    expected = {
        "xlwh.table": entry.slot.table,
        "xlwh.version": str(entry.version),
        "xlwh.fingerprint": entry.fingerprint,
        "xlwh.rows": str(entry.rows),
    }
    wrong = [
        f"{name} is {metadata.get(name)!r} in the file and {value!r} in the manifest"
        for name, value in expected.items()
        if metadata.get(name) != value
    ]
    if rows != entry.rows:
        wrong.append(f"{rows} rows in the file, {entry.rows} in the manifest")
    for problem in wrong:
        yield Finding("wrong_metadata", entry.file, f"{problem}; {MEND}", entry.slot)
    if wrong:
        return
    frame = decoded(lambda: pl.read_parquet(file, hive_partitioning=False, glob=False))
    if entry.version != contract(entry.slot.table).version:
        return
    try:
        _keeps_contract(entry.slot, frame)
    except ContractError as error:
        yield Finding("broken_contract", entry.file, f"{error} {MEND}", entry.slot)


def _keeps_contract(slot: Slot, frame: pl.DataFrame) -> None:
    """ContractError, or UnreadableError for values on which the rules cannot be tried."""
    broken: list[ContractError] = []

    def rules() -> None:
        try:
            checked(slot, frame)
        except ContractError as error:
            broken.append(error)

    decoded(rules)
    if broken:
        raise broken[0]
