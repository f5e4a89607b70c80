"""Streams to files, and what happens when two processes fill one slot."""

from __future__ import annotations

import polars as pl
import pytest

from xlwh.errors import ContractError
from xlwh.store import Entry
from xlwh.store.manifest import ConflictError
from xlwh.store.write import make_current, write_frame, write_stream


def current(warehouse, slot) -> dict[object, Entry | None]:
    return {slot: warehouse.current(slot)}


def test_a_stream_is_written_in_order(warehouse, frames):
    parts = [frames.attributions(examples=50, first=100 * i) for i in range(5)]
    file = write_stream(
        warehouse.root, frames.ATTRIBUTIONS, lambda: iter(parts), 750, "mark", {"weights": "w"}
    )
    assert pl.read_parquet(warehouse.root / file.file).equals(pl.concat(parts))
    metadata = pl.read_parquet_metadata(warehouse.root / file.file)
    assert (metadata["xlwh.rows"], metadata["weights"]) == ("750", "w")


def test_a_stream_without_frames_is_an_empty_file(warehouse, frames):
    file = write_stream(warehouse.root, frames.ATTRIBUTIONS, lambda: iter(()), 0, "mark", {})
    assert pl.read_parquet(warehouse.root / file.file).equals(frames.attributions(examples=0))


def test_a_refused_stream_leaves_nothing(warehouse, frames):
    def refuse():
        yield frames.attributions()
        raise ContractError("no")

    with pytest.raises(ContractError, match="no"):
        write_stream(warehouse.root, frames.ATTRIBUTIONS, refuse, 6, "mark", {})
    assert [path for path in (warehouse.root / "tables").rglob("*") if path.is_file()] == []


def test_names_are_never_used_twice(warehouse, frames):
    files = {
        write_frame(warehouse.root, frames.ATTRIBUTIONS, frames.attributions(), "mark", {}).file
        for _ in range(5)
    }
    assert len(files) == 5


def test_the_same_work_done_twice_is_no_conflict(warehouse, frames):
    slot = frames.ATTRIBUTIONS
    before = current(warehouse, slot)
    ours = write_frame(warehouse.root, slot, frames.attributions(), "mark", {})
    warehouse.write({slot: frames.attributions()}, "mark")
    [entry] = make_current(warehouse.root, warehouse.manifest, [ours], before)
    assert warehouse.current(slot) == entry
    assert entry.file == ours.file


def test_other_work_in_between_is_a_conflict(warehouse, frames):
    slot = frames.ATTRIBUTIONS
    before = current(warehouse, slot)
    ours = write_frame(warehouse.root, slot, frames.attributions(), "mark", {})
    [theirs] = warehouse.write({slot: frames.attributions()}, "other")
    with pytest.raises(ConflictError, match="run the step again"):
        make_current(warehouse.root, warehouse.manifest, [ours], before)
    assert warehouse.current(slot) == theirs
    assert not (warehouse.root / ours.file).exists()
