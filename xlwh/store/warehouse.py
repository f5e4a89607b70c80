"""The warehouse on disk: writing partitions, reading tables and views, and looking after both."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from xlwh.errors import StoreError
from xlwh.store.contract import checked, schema
from xlwh.store.files import make_folder, write_parquet
from xlwh.store.manifest import ConflictError, Manifest, NewFile, SqliteManifest
from xlwh.store.slots import Entry, Slot, contract
from xlwh.store.staging import Staging


class Warehouse:
    """A data root: immutable Parquet files, a manifest of the current ones, and a catalogue of views."""

    def __init__(self, root: Path | str, create: bool = False) -> None:
        self.root = Path(root).absolute()
        if create:
            make_folder(self.root)
        elif not (self.root / "manifest.sqlite").is_file():
            raise StoreError(f"There is no warehouse at {self.root}. Run: `xlwh materialize` or `xlwh demo`.")
        self.manifest: Manifest = SqliteManifest(self.root / "manifest.sqlite")

    def current(self, slot: Slot) -> Entry | None:
        """The slot's current entry, or None if it was never written (or dropped)."""
        return self.manifest.current(slot)

    def entries(self, table: str | None = None) -> list[Entry]:
        """All current entries, of one table or of all, ordered by slot."""
        if table is not None:
            contract(table)
        return [e for e in self.manifest.snapshot().entries if table in (None, e.slot.table)]

    def is_fresh(self, slot: Slot, fingerprint: str) -> bool:
        """Whether the slot's current file was made with this fingerprint and is still there."""
        entry = self.current(slot)
        return entry is not None and entry.fingerprint == fingerprint and (self.root / entry.file).is_file()

    def write(
        self,
        frames: Mapping[Slot, pl.DataFrame],
        fingerprint: str,
        provenance: Mapping[str, str] | None = None,
    ) -> list[Entry]:
        """Check all frames, write each to a new immutable file, then make all current in one commit.

        Frames without rows are written too: they say that the partition is done. `provenance` goes into the
        files' metadata. Raises `ContractError` before anything is written if any frame breaks its contract.
        """
        ordered = {slot: checked(slot, frame) for slot, frame in frames.items()}
        before = {slot: self.current(slot) for slot in ordered}
        files = [
            self._write_file(slot, frame, fingerprint, provenance or {}) for slot, frame in ordered.items()
        ]
        expected = {slot: None if entry is None else entry.file for slot, entry in before.items()}
        try:
            return self.manifest.commit(put=files, expected=expected)
        except ConflictError:
            # Whoever came first computed the same thing: either file is right, so ours may follow.
            if all(
                self.is_fresh(slot, fingerprint) or self.current(slot) == before[slot] for slot in ordered
            ):
                return self.manifest.commit(put=files)
            for file in files:
                (self.root / file.file).unlink(missing_ok=True)
            raise

    def _write_file(
        self, slot: Slot, frame: pl.DataFrame, fingerprint: str, provenance: Mapping[str, str]
    ) -> NewFile:
        # The random share makes a name that is never used twice, also for the same fingerprint.
        digest = hashlib.blake2b(fingerprint.encode() + secrets.token_bytes(16), digest_size=8).hexdigest()
        file = f"{slot.folder}/{slot.part}-{digest}.parquet"
        path = self.root / file
        make_folder(path.parent)
        metadata = {
            **provenance,
            "xlwh.table": slot.table,
            "xlwh.version": str(contract(slot.table).version),
            "xlwh.fingerprint": fingerprint,
            "xlwh.rows": str(frame.height),
        }
        size = write_parquet(frame, path, metadata)
        return NewFile(slot, file, fingerprint, frame.height, size)

    def drop(self, slots: Sequence[Slot]) -> None:
        """Take slots out of the manifest. Their files stay until `gc`, their history for good."""
        present = [slot for slot in slots if self.current(slot) is not None]
        if present:
            self.manifest.commit(drop=present)

    def scan(self, name: str, **filters: str) -> pl.LazyFrame:
        """A table as a LazyFrame over its exact current files, rows in slot order.

        Filters are equalities; those on partition columns choose files, the others choose rows.
        """
        columns = schema(name)
        for column in filters:
            if column not in columns:
                raise StoreError(f"`{name}` has no column `{column}`. Columns: {', '.join(columns)}.")
        files = [
            self.root / entry.file
            for entry in self.entries(name)
            if all(filters.get(k, v) == v for k, v in entry.slot.partition.items())
        ]
        frame = (
            pl.scan_parquet(files, schema=columns, hive_partitioning=False, glob=False)
            if files
            else pl.LazyFrame(schema=columns)
        )
        return frame.filter(pl.col(k) == v for k, v in filters.items()) if filters else frame

    def staging(self, slots: Sequence[Slot], fingerprint: str) -> Staging:
        """Resumable work on some slots; use it as a context manager."""
        return Staging(self, slots, fingerprint)
