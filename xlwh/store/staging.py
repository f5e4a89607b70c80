"""Resumable work: chunks of a partition that survive `kill -9`, and become its files when all are there."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from xlwh.digests import sha256
from xlwh.errors import ContractError, HeldError, StoreError
from xlwh.jsons import parsed
from xlwh.store.claims import Claims
from xlwh.store.contract import check_key, checked, conforming, empty, schema
from xlwh.store.files import (
    UNFINISHED,
    globbed,
    make_folder,
    path_beside,
    publish,
    remove,
    remove_folder,
    sync,
    write_whole,
)
from xlwh.store.manifest import Manifest
from xlwh.store.slots import Entry, Slot, contract
from xlwh.store.write import make_current, write_stream

_ABOUT = "slots.json"
"""File of a staging folder: the slots that it is of."""
_DIGEST = "sha256"
"""File of a chunk: the digest of its others, with their names and sizes."""

ROWS_IN_MEMORY = 500_000
"""Rows that `Staging.finish` sorts at a time: of token attributions, some 350 MB at the peak, however many there are."""


class Staging:
    """Chunks of work on some slots under one fingerprint, held by one process at a time.

    Entering claims the slots (`HeldError` naming the holder if one is held), unless `claims` is None: then the caller
    has claimed them. It removes what was staged for these slots under other fingerprints, and finds the chunks that an
    earlier process finished. Leaving lets go of the claims and keeps the chunks; only `finish` removes them.

    With `held_s`, what is appended is held in memory until that many seconds have passed since the last chunk, or it is
    ROWS_IN_MEMORY rows: a kill costs no more than that, and work that is finished sooner needs no chunk at all.
    """

    def __init__(
        self,
        root: Path,
        manifest: Manifest,
        claims: Claims | None,
        slots: Sequence[Slot],
        fingerprint: str,
        held_s: float = 0.0,
    ) -> None:
        if not slots:
            raise StoreError("Staging needs at least one slot.")
        self.slots = tuple(sorted(set(slots)))
        self.fingerprint = fingerprint
        self._root, self._manifest, self._claims = root, manifest, claims
        self._base = root / "staging"
        self._folder = self._base / f"{_digest([*map(str, self.slots), fingerprint])}"
        self._held_s = held_s
        self._waiting: list[Mapping[Slot, pl.DataFrame]] = []
        self._last_chunk = 0.0
        self._held = ExitStack()
        self._entered = False

    def __enter__(self) -> Self:
        with ExitStack() as held:
            if self._claims is not None:
                held.enter_context(self._claims.claim(self.slots))
            self._remove_stale()
            make_folder(self._folder)
            about = self._folder / _ABOUT
            if not about.is_file():
                content = {"slots": [str(slot) for slot in self.slots], "fingerprint": self.fingerprint}
                write_whole(about, json.dumps(content, indent=1).encode())
            for chunk in self._folder.glob("chunk-*"):
                # What was damaged while it waited is made again: its rows would be committed as sound.
                if not _is_as_written(chunk):
                    remove_folder(chunk)
            self._held = held.pop_all()
        self._entered = True
        self._last_chunk = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._write_waiting()
        finally:
            self._entered = False
            self._held.close()

    def _remove_stale(self) -> None:
        # We hold our slots, so nobody works on a folder that shares one with us.
        for folder, slots in _folders(self._base):
            if folder != self._folder and not slots.isdisjoint(self.slots):
                remove_folder(folder)
        for unfinished in self._folder.glob(f"{UNFINISHED}*"):
            remove(unfinished)

    def _chunks(self) -> list[Path]:
        if not self._entered:
            raise StoreError("Staging is used outside its `with` block.")
        return sorted(self._folder.glob("chunk-*"))

    def done(self, column: str = "example_id") -> set[Any]:
        """Values of `column` in all finished chunks, over all their tables that have it."""
        self._write_waiting()
        values: set[Any] = set()
        for slot in self.slots:
            paths = self._paths(slot)
            if paths and column in schema(slot.table):
                found = pl.scan_parquet(paths, glob=False).select(pl.col(column).unique()).collect()
                values.update(found[column].to_list())
        return values

    def pieces(self, columns: Sequence[str]) -> pl.DataFrame:
        """Distinct values of some columns in all finished chunks, over all their tables."""
        self._write_waiting()
        found = [
            pl.scan_parquet(paths, glob=False).select(columns).unique()
            for slot in self.slots
            if (paths := self._paths(slot))
        ]
        if not found:
            return empty(self.slots[0].table).select(columns)
        return pl.concat(found).unique().collect()

    def frames(self) -> dict[str, pl.DataFrame]:
        """Table -> rows of all finished chunks, in the order in which they were appended."""
        self._write_waiting()
        frames: dict[str, list[pl.DataFrame]] = {}
        for slot in self.slots:
            parts = frames.setdefault(slot.table, [empty(slot.table)])
            parts += [pl.read_parquet(path, glob=False) for path in self._paths(slot)]
        return {table: pl.concat(parts) for table, parts in frames.items()}

    def _paths(self, slot: Slot) -> list[Path]:
        number = self.slots.index(slot)
        paths = [chunk / f"{number}.parquet" for chunk in self._chunks()]
        return [path for path in paths if path.is_file()]

    def append(self, frames: Mapping[Slot, pl.DataFrame]) -> None:
        """Add one chunk: after a crash either all of its frames are there or none.

        The frames are checked against their contracts (`ContractError`) as in `Warehouse.write`, once they are written.
        """
        if not self._entered:
            raise StoreError("Staging is used outside its `with` block.")
        unknown = [str(slot) for slot in frames if slot not in self.slots]
        if unknown:
            raise StoreError(f"{unknown[0]} is not among the slots being staged: {_listed(self.slots)}.")
        self._waiting.append(frames)
        rows = sum(frame.height for each in self._waiting for frame in each.values())
        if time.monotonic() - self._last_chunk >= self._held_s or rows >= ROWS_IN_MEMORY:
            self._write_waiting()

    def _take_waiting(self) -> dict[Slot, pl.DataFrame]:
        """What was appended and is not in a chunk, checked; it waits no longer."""
        waiting, self._waiting = self._waiting, []
        parts: dict[Slot, list[pl.DataFrame]] = {}
        for frames in waiting:
            for slot, frame in frames.items():
                parts.setdefault(slot, []).append(conforming(slot.table, frame, str(slot)))
        return {slot: checked(slot, pl.concat(each)) for slot, each in parts.items()}

    def _write_waiting(self) -> None:
        """Make one chunk of what was appended and is in none."""
        if not self._waiting:
            return
        ordered, done = self._take_waiting(), self._chunks()
        number = 1 + (int(done[-1].name.removeprefix("chunk-")) if done else 0)
        chunk = self._folder / f"chunk-{number:08d}"
        unfinished = path_beside(chunk)
        unfinished.mkdir()
        try:
            for slot, frame in ordered.items():
                path = unfinished / f"{self.slots.index(slot)}.parquet"
                frame.write_parquet(path, compression="zstd", compression_level=1)
                sync(path)
            written = sorted(unfinished.iterdir())
            write_whole(unfinished / _DIGEST, sha256(written, named=True).encode())
            publish(unfinished, chunk)
        finally:
            # On a full disk it would stand in the way of everybody.
            remove(unfinished)
        self._last_chunk = time.monotonic()

    def finish(
        self,
        sort_by: Sequence[str] | None = None,
        provenance: Mapping[str, str] | None = None,
        apart: str | None = None,
    ) -> list[Entry]:
        """Write the chunks of each slot as one file, all slots in one commit, and remove the staging.

        Rows are ordered by `sort_by` (key columns; by default the whole key, so that the result does not depend on
        where the work was interrupted). About `ROWS_IN_MEMORY` rows are in memory at a time, more only if one value of
        the first key column that varies has more. Raises `ContractError` if two chunks share a key; slots without rows
        become empty, current files.

        With `apart`, a key column of which no two chunks share a value, chunks are written one after another as they
        were appended, and only one of them is in memory: for rows too large to sort.
        """
        if apart is not None or self._chunks():
            self._write_waiting()
        waiting = self._take_waiting()
        before = {slot: self._manifest.current(slot) for slot in self.slots}
        files = []
        frames: Callable[[], Iterator[pl.DataFrame]]
        for slot in self.slots:
            paths = self._paths(slot)
            if slot in waiting:
                rows = waiting[slot].height
                frames = partial(_sorted, waiting.pop(slot), _sorting(slot, sort_by))
            else:
                rows = pl.scan_parquet(paths, glob=False).select(pl.len()).collect().item() if paths else 0
                frames = (
                    partial(_in_order, slot, paths, _sorting(slot, sort_by))
                    if apart is None
                    else partial(_as_appended, slot, paths, _sorting(slot, [apart])[0])
                )
            files.append(write_stream(self._root, slot, frames, rows, self.fingerprint, provenance or {}))
        entries = make_current(self._root, self._manifest, files, before)
        remove_folder(self._folder)
        return entries


def _sorting(slot: Slot, sort_by: Sequence[str] | None) -> tuple[str, ...]:
    key = contract(slot.table).key
    unknown = set(sort_by or ()) - set(key)
    if unknown:
        raise StoreError(
            f"`{slot.table}` is sorted by columns of its key ({', '.join(key)}), not `{min(unknown)}`."
        )
    return tuple(sort_by or key)


def _sorted(frame: pl.DataFrame, sort_by: tuple[str, ...]) -> Iterator[pl.DataFrame]:
    """Rows that were checked, as one sorted frame."""
    yield frame.sort(sort_by, maintain_order=True)


def _in_order(slot: Slot, paths: list[Path], sort_by: tuple[str, ...]) -> Iterator[pl.DataFrame]:
    """All rows of the chunks, sorted, as frames of about `ROWS_IN_MEMORY`; `ContractError` if a key repeats."""
    if not paths:
        return
    rows = pl.scan_parquet(paths, glob=False)
    # Rows of equal keys agree in every key column, so cutting along one of them keeps them together.
    cuts = []
    for column in sort_by:
        counts = rows.group_by(column).len().sort(column).collect()
        if counts.height > 1:
            cuts = list(_stretches(counts))
            break
    for cut in cuts or [pl.lit(True)]:
        frame = rows.filter(cut).collect().sort(sort_by, maintain_order=True)
        check_key(slot.table, frame, str(slot))
        yield frame


def _as_appended(slot: Slot, paths: list[Path], apart: str) -> Iterator[pl.DataFrame]:
    """The chunks in their order; `ContractError` if a value of the column `apart` is in two of them."""
    seen: set[Any] = set()
    for path in paths:
        values = set(pl.scan_parquet(path, glob=False).select(pl.col(apart).unique()).collect()[apart])
        if twice := values & seen:
            raise ContractError(
                f"{slot}: {len(twice)} values of `{apart}` are in two chunks of staged work, one is {min(twice)!r}. "
                "Nothing was written."
            )
        seen |= values
        yield pl.read_parquet(path, glob=False)


def _stretches(counts: pl.DataFrame) -> Iterator[pl.Expr]:
    """Conditions that cut the sorted values of the first column into stretches of about `ROWS_IN_MEMORY` rows.

    `counts` holds each value, NULL first, and how many rows have it.
    """
    column = pl.col(counts.columns[0])
    lower: pl.Expr | None = None
    total = 0
    *others, _last = counts.iter_rows()
    for value, count in others:
        total += count
        if total >= ROWS_IN_MEMORY and value is not None:
            yield column.le(value) | column.is_null() if lower is None else lower & column.le(value)
            lower = column.gt(value)
            total = 0
    yield pl.lit(True) if lower is None else lower


def _is_as_written(chunk: Path) -> bool:
    """Whether a chunk has the bytes that were written."""
    files = sorted(path for path in chunk.iterdir() if path.name != _DIGEST)
    try:
        return sha256(files, named=True) == (chunk / _DIGEST).read_text(encoding="ascii")
    except (OSError, ValueError):
        return False


def abandoned(root: Path, claims: Claims) -> Iterator[Path]:
    """Staging folders that no process is working on; none can begin to until the next one is asked for.

    One that does not say what it is of belongs to a process that was killed as it made it.
    """
    for folder in globbed(root / "staging", "[0-9a-f]" * 16):
        if not (folder / _ABOUT).exists():
            yield folder
    for folder, slots in _folders(root / "staging"):
        with suppress(HeldError), claims.claim(sorted(slots)):
            if folder.is_dir():
                yield folder


def _folders(base: Path) -> Iterator[tuple[Path, set[Slot]]]:
    """Staging folders with the slots that they are of."""
    for about in globbed(base, f"*/{_ABOUT}"):
        try:
            slots = {Slot.parse(name) for name in parsed(about.read_text())["slots"]}
        except FileNotFoundError:
            # Another process finished with it, and removed it, since it was listed.
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError, StoreError) as error:
            raise StoreError(
                f"{about} cannot be read ({error}). Remove its folder: what was unfinished is made anew."
            ) from None
        yield about.parent, slots


def _digest(names: Sequence[str]) -> str:
    return hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()


def _listed(slots: Sequence[Slot]) -> str:
    return ", ".join(str(slot) for slot in slots)
