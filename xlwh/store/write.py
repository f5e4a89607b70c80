"""From a checked frame, or a stream of them, to a new immutable file; and making such files current."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from xlwh.errors import ContractError, HeldError, StoreError
from xlwh.failures import full_disk
from xlwh.store.artefacts import Artefact
from xlwh.store.contract import schema
from xlwh.store.files import make_folder
from xlwh.store.manifest import ConflictError, Manifest, NewFile
from xlwh.store.objects import behind
from xlwh.store.parquet import write_parquet
from xlwh.store.slots import Entry, Slot, contract


def write_frame(
    root: Path, slot: Slot, frame: pl.DataFrame, fingerprint: str, provenance: Mapping[str, str]
) -> NewFile:
    """Write a frame that keeps its contract to a new file of the slot's folder."""
    file = new_name(slot, fingerprint)
    make_folder((root / file).parent)
    metadata = file_metadata(slot, fingerprint, frame.height, provenance)
    table = contract(slot.table)
    written = write_parquet(frame, root / file, metadata, table.row_group_rows)
    return NewFile(slot, file, fingerprint, frame.height, written.size_bytes, table.version, written.digest)


def write_stream(
    root: Path,
    slot: Slot,
    frames: Callable[[], Iterator[pl.DataFrame]],
    rows: int,
    fingerprint: str,
    provenance: Mapping[str, str],
) -> NewFile:
    """The same for frames that follow one another and need not be in memory together; `rows` is their sum.

    A `ContractError` that `frames` raises is passed on, and nothing is left on disk.
    """
    refused: list[ContractError] = []

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        try:
            yield from frames()
        except ContractError as error:
            # Polars would show it as an error of its own.
            refused.append(error)
            raise

    file, table = new_name(slot, fingerprint), contract(slot.table)
    make_folder((root / file).parent)
    stream = register_io_source(source, schema=schema(slot.table))
    try:
        metadata = file_metadata(slot, fingerprint, rows, provenance)
        written = write_parquet(stream, root / file, metadata, table.row_group_rows)
    except pl.exceptions.PolarsError:
        if refused:
            raise refused[0] from None
        raise
    return NewFile(slot, file, fingerprint, rows, written.size_bytes, table.version, written.digest)


def make_current(
    root: Path,
    manifest: Manifest,
    files: Sequence[NewFile],
    before: Mapping[Slot, Entry | None],
    artefacts: Sequence[Artefact] = (),
) -> list[Entry]:
    """Make written files, and artefacts, current in one commit, unless a slot changed since it was as in `before`.

    A slot that another process filled meanwhile with the same fingerprint holds the same rows, and is replaced; for
    any other change the files are removed and `ConflictError` is raised.
    """
    expected = {slot: None if entry is None else entry.file for slot, entry in before.items()}
    with taken_back(root, manifest, files):
        try:
            return manifest.commit(put=files, expected=expected, artefacts=artefacts)
        except ConflictError:
            for file in files:
                now = manifest.current(file.slot)
                if now != before[file.slot] and (now is None or now.fingerprint != file.fingerprint):
                    raise
            return manifest.commit(put=files, artefacts=artefacts)


@contextmanager
def taken_back(root: Path, manifest: Manifest, files: Sequence[NewFile]) -> Iterator[None]:
    """Remove new files, also of the object store, where the commit that was to name them is refused in the block.

    Where a commit fails otherwise, it may be made all the same.
    """
    try:
        yield
    except (ConflictError, HeldError):
        take_back(root, files)
        raise
    except StoreError as error:
        if full_disk(error, [root]):
            # They take the room that others need to make some.
            current = (manifest.current(file.slot) for file in files)
            take_back(
                root,
                [
                    file
                    for file, now in zip(files, current, strict=True)
                    if now is None or now.file != file.file
                ],
            )
        raise


def take_back(root: Path, files: Iterable[NewFile]) -> None:
    """Remove files that no commit has named, nor will."""
    named = [file.file for file in files]
    for name in named:
        (root / name).unlink(missing_ok=True)
    if (objects := behind(root)) is not None:
        # `gc` does so too, after an hour.
        with suppress(StoreError):
            objects.remove(named)


def new_name(slot: Slot, fingerprint: str) -> str:
    """A path in the slot's folder, relative to the warehouse, that was never used."""
    # The random share makes a name that is never used twice, also for the same fingerprint.
    digest = hashlib.blake2b(fingerprint.encode() + secrets.token_bytes(16), digest_size=8).hexdigest()
    return f"{slot.folder}/{slot.part}-{digest}.parquet"


def file_metadata(slot: Slot, fingerprint: str, rows: int, provenance: Mapping[str, str]) -> dict[str, str]:
    """What every file says of itself, beside its provenance."""
    return {
        **provenance,
        "xlwh.table": slot.table,
        "xlwh.version": str(contract(slot.table).version),
        "xlwh.fingerprint": fingerprint,
        "xlwh.rows": str(rows),
    }
