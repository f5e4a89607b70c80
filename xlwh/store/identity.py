"""What a stored file is: by its place, by what it says of itself, and what no file of a warehouse can be.

Who believes a file or a row of a manifest that no commit here vouches for (`recover`, `take`) asks here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from xlwh.digests import sha256
from xlwh.errors import StoreError
from xlwh.store.checkpoints import name_in, said_in
from xlwh.store.integrity import faults
from xlwh.store.parquet import UnreadableError, decoded
from xlwh.store.reading import Source, source
from xlwh.store.slots import Entry, Slot, contract
from xlwh.tables import TABLES

_NUMBER = re.compile("[0-9]{1,18}")
_FINGERPRINT = re.compile("[0-9a-f]{32}")
_DIGEST = re.compile("[0-9a-f]{64}")


def printable(value: object, longest: int = 120) -> str:
    """Something that nobody vouches for, as text that is safe to print."""
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value)[: longest + 1])
    return text if len(text) <= longest else f"{text[:longest]}…"


def require_possible(entry: Entry) -> None:
    """StoreError with the reason where an entry has values that xlwh does not write, of whatever type."""
    fingerprint: Any = entry.fingerprint
    if type(fingerprint) is not str or not _FINGERPRINT.fullmatch(fingerprint):
        raise StoreError(f"its fingerprint is {printable(repr(fingerprint))}, not 32 hexadecimal digits")
    numbers: tuple[tuple[str, Any], ...] = (
        ("rows", entry.rows),
        ("bytes", entry.size_bytes),
        ("the contract's version", entry.version),
    )
    for what, number in numbers:
        if type(number) is not int or not 0 <= number < 2**63:
            raise StoreError(f"it has {printable(repr(number))} for {what}")
    digest: Any = entry.digest
    if digest is not None and (type(digest) is not str or not _DIGEST.fullmatch(digest)):
        raise StoreError(f"its digest is {printable(repr(digest))}, not 64 hexadecimal digits")


def identified(
    root: Path, file: str, now: datetime, segment: str | None = None, number: int | None = None
) -> Entry:
    """What a file of a table is, by its place and by what it says of itself; it is read, out of its segment if it has one.

    `StoreError` with the reason where that is not enough, does not fit together, or where it is damaged.
    """
    place = Entry(slot_of(file), file, "", 0, 0, 0, now, 0, None, segment, number)
    try:
        found = source(root, place)
    except OSError as error:
        raise StoreError(f"it cannot be read: {error.strerror}") from error
    entry = replace(_said(file, found, now, lambda: digest_of(found)), segment=segment, number=number)
    if (wrong := problem(root, entry)) is not None:
        raise StoreError(wrong)
    return entry


def digest_of(file: Source) -> str:
    """SHA-256 of a file's bytes."""
    return sha256([file]) if isinstance(file, Path) else hashlib.sha256(file.getvalue()).hexdigest()


def identified_by_end(file: str, end: Path, digest: str, now: datetime) -> Entry:
    """The same by the end of a file, in `end`, which is as long as all of it; its rows are not looked at."""
    entry = _said(file, end, now, lambda: digest)
    try:
        rows = decoded(lambda: pl.scan_parquet(end, glob=False).select(pl.len()).collect().item())
        if entry.slot.table == "models":
            said_in(end, entry.slot.keys[0], name_in(end, entry.fingerprint))
    except UnreadableError as error:
        raise StoreError(f"it cannot be read: {error}") from error
    if rows != entry.rows:
        raise StoreError(f"it has {rows:,} rows, and says {entry.rows:,}")
    return entry


def _said(file: str, found: Source, now: datetime, digest_of: Callable[[], str]) -> Entry:
    """What the file of a path in a warehouse says of itself at its end, read in `found`."""
    slot = slot_of(file)
    try:
        metadata = decoded(lambda: pl.read_parquet_metadata(found))
        size = found.stat().st_size if isinstance(found, Path) else len(found.getvalue())
        digest = digest_of()
    except UnreadableError as error:
        raise StoreError(f"it cannot be read: {error}") from error
    except OSError as error:
        raise StoreError(f"it cannot be read: {error.strerror}") from error
    wanted = ("xlwh.table", "xlwh.version", "xlwh.fingerprint", "xlwh.rows")
    missing = [name for name in wanted if name not in metadata]
    if missing:
        raise StoreError(f"it does not say what it is (no {missing[0]} in its metadata)")
    table, version, fingerprint, rows = (metadata[name] for name in wanted)
    if table != slot.table:
        raise StoreError(f"it says that it is of the table {printable(repr(table))}")
    if not (_NUMBER.fullmatch(version) and _NUMBER.fullmatch(rows)):
        raise StoreError(f"it says version {printable(repr(version))} and {printable(repr(rows))} rows")
    if int(version) > contract(table).version:
        raise StoreError(f"a later version of xlwh wrote it (version {version} of the contract)")
    entry = Entry(slot, file, fingerprint, int(rows), size, int(version), now, 0, digest)
    require_possible(entry)
    return entry


_PART = re.compile(r"(?P<part>.+)-[0-9a-f]{16}\.parquet")


def slot_of(file: str) -> Slot:
    """The slot whose file lies at a path in a warehouse. `StoreError` with the reason where there is none."""
    _, table, *folders, name = file.split("/")
    if table not in TABLES:
        raise StoreError(f"there is no table {printable(repr(table))}")
    if (found := _PART.fullmatch(name)) is None:
        raise StoreError("its name is none that xlwh gives")
    columns = TABLES[table].partition_by
    keys = [folder.partition("=") for folder in folders]
    if [column for column, _, _ in keys] != list(columns):
        raise StoreError(f"files of {table} lie in folders by {', '.join(columns) or 'nothing'}")
    try:
        return Slot(table, tuple(value for _, _, value in keys), found["part"])
    except StoreError as error:
        raise StoreError(f"no slot has this address: {error}") from None


def problem(root: Path, entry: Entry) -> str | None:
    """What is wrong with an entry's file; an earlier contract is no fault."""
    for finding in faults(root, entry, deep=True):
        if finding.kind != "old_contract":
            return finding.problem
    try:
        if entry.slot.table == "models":
            name = name_in(root / entry.file, entry.fingerprint)
            said_in(root / entry.file, entry.slot.keys[0], name)
    except StoreError as error:
        return str(error)
    return None
