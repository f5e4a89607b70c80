"""Whether a stored file is the one that the manifest says: there, a file, of its size and bytes, true to its contract."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from xlwh.digests import sha256
from xlwh.errors import ContractError, StoreError
from xlwh.store.contract import checked
from xlwh.store.parquet import UnreadableError, decoded, is_whole
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
]

MEND = "run `xlwh repair`"

_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


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
    damage = _damage(root, entry, deep)
    if damage is not None:
        kind, problem = damage
        yield Finding(kind, entry.file, f"{problem}; {MEND}", entry.slot)
        return
    if deep:
        try:
            yield from _content(root / entry.file, entry)
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
    """StoreError where the file of an entry has other bytes than were written, before they are used for a new file."""
    damage = _damage(root, entry, deep=True)
    if damage is not None:
        raise StoreError(f"{entry.file} of {entry.slot} is damaged: {damage[1]}. Run: xlwh repair")


def _damage(root: Path, entry: Entry, deep: bool) -> tuple[Kind, str] | None:
    """Why a file is not the one that was written."""
    path = root / entry.file
    if _leads_out(root, entry.file):
        return "irregular_file", "its path leads out of the warehouse"
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            what = next((name for is_it, name in _KINDS if is_it(found.st_mode)), "something else")
            return "irregular_file", f"it is {what}, and no file"
        if found.st_size != entry.size_bytes:
            return "wrong_size", f"it has {found.st_size} bytes, {entry.size_bytes} in the manifest"
        if not is_whole(path):
            return "unreadable_file", "it does not begin and end as a Parquet file does"
        if deep and entry.digest is not None and (digest := sha256([path])) != entry.digest:
            told = f"{digest[:8]}…, {entry.digest[:8]}… in the manifest"
            return "wrong_digest", f"its bytes are not those that were written: their SHA-256 is {told}"
    except (FileNotFoundError, NotADirectoryError):
        return "missing_file", f"the current file of {entry.slot} is gone"
    except OSError as error:
        return "unreadable_file", error.strerror or str(error)
    return None


def _leads_out(root: Path, file: str) -> bool:
    """Whether a path that the manifest gives leads out of the warehouse, by what it says or through a linked folder.

    The owner may have linked the folder of all tables, or of one, to another disk; below it there is no reason for a
    link.
    """
    parts = file.split("/")
    if "\0" in file or not {"", ".", ".."}.isdisjoint(parts):
        return True
    folder = os.path.join(root, *parts[:2])
    for part in parts[2:-1]:
        folder = f"{folder}/{part}"
        if os.path.islink(folder):
            return True
    return False


def _content(path: Path, entry: Entry) -> Iterator[Finding]:
    """What is wrong with what a file holds. UnreadableError where it cannot be read."""
    metadata = decoded(lambda: pl.read_parquet_metadata(path))
    rows = decoded(
        lambda: pl.scan_parquet(path, hive_partitioning=False, glob=False).select(pl.len()).collect().item()
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
    frame = decoded(lambda: pl.read_parquet(path, hive_partitioning=False, glob=False))
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
