"""A stored file again, at another address or with other values in some columns; and commits that are made as one."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

import polars as pl

from xlwh.errors import StoreError
from xlwh.store.artefacts import Artefact, Name
from xlwh.store.checkpoints import resting
from xlwh.store.claims import Claims
from xlwh.store.clock import Stamp
from xlwh.store.files import make_folder
from xlwh.store.integrity import require_undamaged
from xlwh.store.manifest import Changes, FileState, Manifest, NewFile, Origin, Scope, Snapshot, entry_of
from xlwh.store.parquet import write_parquet
from xlwh.store.reading import scan
from xlwh.store.segments import Segment
from xlwh.store.slots import Entry, Slot, contract
from xlwh.store.write import file_metadata, new_name


def rewrite(
    root: Path,
    entry: Entry,
    slot: Slot,
    columns: Sequence[pl.Expr],
    fingerprint: str,
    provenance: Mapping[str, str],
) -> NewFile:
    """Write a file of `slot` with the rows of another one, in their order, some columns replaced.

    Rows are streamed and not checked against the contract: they were, and it may be an earlier one, which is kept.
    StoreError where the file is damaged.
    """
    require_undamaged(root, entry)
    file = new_name(slot, fingerprint)
    make_folder((root / file).parent)
    rows = scan(root, [entry]).with_columns(columns)
    metadata = file_metadata(slot, fingerprint, entry.rows, provenance) | {"xlwh.version": str(entry.version)}
    written = write_parquet(rows, root / file, metadata, contract(slot.table).row_group_rows)
    return NewFile(slot, file, fingerprint, entry.rows, written.size_bytes, entry.version, written.digest)


class Pending:
    """A manifest whose commits nobody else sees until `publish` makes them one."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._before = {entry.slot: entry for entry in manifest.snapshot().entries}
        self._now = dict(self._before)
        self._put: dict[Slot, NewFile] = {}
        self._artefacts = manifest.artefacts()
        self._new_artefacts: dict[Name, Artefact] = {}
        self._first = self._head = manifest.head()
        self._changed: list[tuple[int, Slot]] = []
        """Pending commit -> slot that it changed, in their order."""

    @property
    def place(self) -> str:
        """As it is."""
        return self._manifest.place

    def claims(self) -> Claims:
        """As they are."""
        return self._manifest.claims()

    def current(self, slot: Slot) -> Entry | None:
        """The slot's entry, pending ones included."""
        return self._now.get(slot)

    def snapshot(self, as_of: datetime | int | None = None, table: str | None = None) -> Snapshot:
        """All entries, pending ones included; StoreError for an earlier state."""
        if as_of is not None:
            raise StoreError("Pending commits have no history.")
        entries = (entry for entry in self._now.values() if table in (None, entry.slot.table))
        return Snapshot(self._head, None, tuple(sorted(entries, key=lambda entry: entry.slot)))

    def head(self) -> int:
        """Grows with every pending commit."""
        return self._head

    def changes(self, since: int) -> Changes:
        """What pending commits changed; StoreError for an earlier state."""
        if since < self._first:
            raise StoreError("Pending commits have no history.")
        at = bisect(self._changed, since, key=itemgetter(0))
        slots = {slot for _, slot in self._changed[at:]}
        put = tuple(self._now[slot] for slot in slots if slot in self._now)
        return Changes(self._head, put, frozenset(slots - self._now.keys()), frozenset())

    def commit(
        self,
        put: Sequence[NewFile] = (),
        drop: Sequence[Slot] = (),
        expected: Mapping[Slot, str | None] | None = None,
        artefacts: Sequence[Artefact] = (),
        gone: Collection[Name] = (),
    ) -> list[Entry]:
        """Note a commit. What others commit meanwhile is found out by `publish`."""
        if gone:
            raise StoreError("Pending commits drop no artefacts by name.")
        self._head += 1
        for name in resting([*drop, *(file.slot for file in put)]):
            self._artefacts.pop(name, None)
            self._new_artefacts.pop(name, None)
        self._artefacts |= {artefact.address: artefact for artefact in artefacts}
        self._new_artefacts |= {artefact.address: artefact for artefact in artefacts}
        self._changed += ((self._head, slot) for slot in (*drop, *(file.slot for file in put)))
        for slot in drop:
            self._now.pop(slot, None)
            self._put.pop(slot, None)
        now = datetime.now(UTC)
        entries = [entry_of(file, now, self._head) for file in put]
        self._now |= {entry.slot: entry for entry in entries}
        self._put |= {file.slot: file for file in put}
        return entries

    def artefacts(self, as_of: int | None = None) -> dict[Name, Artefact]:
        """The artefacts, pending ones included; StoreError for an earlier state."""
        if as_of is not None:
            raise StoreError("Pending commits have no history.")
        return dict(self._artefacts)

    def artefact(self, name: Name, fingerprint: str) -> Artefact | None:
        """As it is, without pending ones."""
        return self._manifest.artefact(name, fingerprint)

    def scope(self) -> Scope | None:
        """As it is."""
        return self._manifest.scope()

    def set_scope(
        self, hidden: Collection[Entry], study: Scope | None = None, among: Collection[Slot] | None = None
    ) -> bool:
        """Refused: pending commits hide nothing."""
        raise StoreError("Pending commits hide nothing.")

    def pack(self, segment: Segment) -> None:
        """Refused: pending commits pack nothing."""
        raise StoreError("Pending commits pack nothing.")

    def forget(self, files: Sequence[str]) -> None:
        """Refused: pending commits remove nothing."""
        raise StoreError("Pending commits remove nothing.")

    def files(self, by_key: bool = False) -> dict[str, FileState]:
        """As they are."""
        return self._manifest.files(by_key)

    def require_whole(self) -> None:
        """As it is."""
        self._manifest.require_whole()

    def backup_problem(self) -> str | None:
        """As it is."""
        return self._manifest.backup_problem()

    def stamps(self) -> list[Stamp]:
        """As they are."""
        return self._manifest.stamps()

    def origin(self) -> Origin:
        """As it is."""
        return self._manifest.origin()

    def note_checked(self) -> None:
        """Refused: pending commits are not checked."""
        raise StoreError("Pending commits are not checked.")

    def publish(self) -> list[Entry]:
        """Make everything one commit. ConflictError, and nothing is changed, where another process changed a slot."""
        gone = [slot for slot in self._before if slot not in self._now]
        expected = {
            slot: None if (entry := self._before.get(slot)) is None else entry.file
            for slot in (*gone, *self._put)
        }
        new = list(self._new_artefacts.values())
        return self._manifest.commit(list(self._put.values()), gone, expected, new) if expected else []
