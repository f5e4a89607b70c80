"""Resumable work: chunks, locks, what is left behind and what is removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from xlwh.errors import ContractError, StoreError
from xlwh.store import Slot, staging
from xlwh.store.staging import abandoned


@pytest.fixture
def slots(frames):
    return [frames.ATTRIBUTIONS, frames.PREDICTIONS]


def chunk(frames, first: int, examples: int = 2):
    return {
        frames.ATTRIBUTIONS: frames.attributions(examples=examples, first=first),
        frames.PREDICTIONS: frames.predictions(examples=examples, first=first),
    }


def test_chunks_survive_and_are_finished(warehouse, frames, slots):
    with warehouse.staging(slots, "mark") as work:
        assert work.done() == set()
        assert work.frames()["predictions"].height == 0
        work.append(chunk(frames, 2))
    with warehouse.staging(slots, "mark") as work:
        assert work.done() == {"0002", "0003"}
        assert work.done("position") == {0, 1, 2}
        work.append(chunk(frames, 0))
        assert work.frames()["predictions"]["example_id"].to_list() == ["0002", "0003", "0000", "0001"]
        entries = work.finish(provenance={"weights": "w"})
    assert {entry.commit for entry in entries} == {1}
    assert {entry.slot for entry in entries} == set(slots)
    assert warehouse.is_fresh(frames.PREDICTIONS, "mark")
    # As if it had been written at once.
    assert warehouse.scan("token_attributions").collect().equals(frames.attributions(examples=4))
    assert warehouse.scan("predictions").collect().equals(frames.predictions(examples=4))
    assert pl.read_parquet_metadata(warehouse.root / entries[0].file)["weights"] == "w"
    assert [path for path in (warehouse.root / "staging").glob("*") if path.name != "locks"] == []


def chunks(warehouse) -> int:
    return len(list((warehouse.root / "staging").glob("*/chunk-*")))


def _flipped(folder: Path) -> None:
    path = folder / "0.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        _flipped,
        lambda folder: (folder / "0.parquet").unlink(),
        lambda folder: (folder / "1.parquet").rename(folder / "0.parquet"),
        lambda folder: (folder / "sha256").unlink(),
        lambda folder: (folder / "sha256").write_bytes(b"\xff"),
    ],
)
def test_a_chunk_that_was_damaged_while_it_waited_is_made_again(warehouse, frames, slots, damage):
    with warehouse.staging(slots, "mark") as work:
        for first in (0, 2):
            work.append(chunk(frames, first))
    damage(next((warehouse.root / "staging").glob("*/chunk-00000001")))
    with warehouse.staging(slots, "mark") as work:
        assert work.done() == {"0002", "0003"}
        work.append(chunk(frames, 0))
        work.finish()
    assert warehouse.scan("predictions").collect().equals(frames.predictions(examples=4))


def test_a_folder_that_does_not_say_what_it_is_of_is_abandoned(warehouse):
    folder = warehouse.root / "staging" / ("0" * 16)
    folder.mkdir(parents=True)
    assert list(abandoned(warehouse.root, warehouse.claims)) == [folder]


def test_work_that_is_finished_soon_needs_no_chunk(warehouse, frames, slots):
    with warehouse.staging(slots, "mark", held_s=1000) as work:
        work.append(chunk(frames, 2))
        work.append(chunk(frames, 0))
        assert chunks(warehouse) == 0
        work.finish()
        assert chunks(warehouse) == 0
    held = [(warehouse.root / entry.file).read_bytes() for entry in warehouse.entries()]
    assert warehouse.scan("token_attributions").collect().equals(frames.attributions(examples=4))
    with warehouse.staging(slots, "mark") as work:
        work.append(chunk(frames, 2))
        work.append(chunk(frames, 0))
        assert chunks(warehouse) == 2
        work.finish()
    assert held == [(warehouse.root / entry.file).read_bytes() for entry in warehouse.entries()]


def test_what_is_held_is_one_chunk_after_a_while(warehouse, frames, slots, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(staging.time, "monotonic", lambda: now[0])
    with warehouse.staging(slots, "mark", held_s=2) as work:
        for first, at, written in ((0, 1.0, 0), (2, 2.5, 1), (4, 4.0, 1), (6, 4.6, 2)):
            now[0] = at
            work.append(chunk(frames, first))
            assert chunks(warehouse) == written
        work.append(chunk(frames, 8))
        work.finish()
    assert warehouse.scan("predictions").collect().equals(frames.predictions(examples=10))


def test_what_is_held_is_bounded(warehouse, frames, slots, monkeypatch):
    monkeypatch.setattr(staging, "ROWS_IN_MEMORY", 10)
    with warehouse.staging(slots, "mark", held_s=1000) as work:
        work.append(chunk(frames, 0))
        assert chunks(warehouse) == 0
        work.append(chunk(frames, 2))
        assert chunks(warehouse) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, StoreError])
def test_what_is_held_survives_every_end_but_a_kill(warehouse, frames, slots, error):
    def interrupted():
        with warehouse.staging(slots, "mark", held_s=1000) as work:
            work.append(chunk(frames, 0))
            raise error

    with pytest.raises(error):
        interrupted()
    with warehouse.staging(slots, "mark", held_s=1000) as work:
        assert work.done() == {"0000", "0001"}
        work.append(chunk(frames, 2))
        assert work.pieces(["example_id"]).height == 4
        work.finish()
    assert warehouse.scan("predictions").collect().equals(frames.predictions(examples=4))


def test_what_is_held_keeps_its_contract(warehouse, frames, slots):
    with warehouse.staging(slots, "mark", held_s=1000) as work:
        work.append(chunk(frames, 0))
        work.append(chunk(frames, 1))
        with pytest.raises(ContractError, match="rows share their key"):
            work.finish()
    with warehouse.staging(slots, "mark", held_s=1000) as work:
        work.append(chunk(frames, 0))
        work.append({frames.PREDICTIONS: frames.predictions(first=2).drop("label")})
        with pytest.raises(ContractError, match="`label` is missing"):
            work.finish()
    assert warehouse.entries() == []


def test_nothing_appended_is_empty_and_current(warehouse, frames, slots):
    with warehouse.staging(slots, "mark") as work:
        assert [entry.rows for entry in work.finish()] == [0, 0]
    assert warehouse.is_fresh(frames.ATTRIBUTIONS, "mark")


def test_a_chunk_may_leave_slots_out(warehouse, frames, slots):
    with warehouse.staging(slots, "mark") as work:
        work.append({frames.PREDICTIONS: frames.predictions()})
        work.append({frames.ATTRIBUTIONS: frames.attributions(examples=0)})
        assert {entry.slot.table: entry.rows for entry in work.finish()} == {
            "predictions": 2,
            "token_attributions": 0,
        }


def test_a_refused_chunk_leaves_nothing(warehouse, frames, slots):
    broken = {**chunk(frames, 0), frames.PREDICTIONS: frames.predictions().drop("label")}
    with warehouse.staging(slots, "mark") as work:
        with pytest.raises(ContractError, match="`label` is missing"):
            work.append(broken)
        with pytest.raises(StoreError, match="examples/dataset=d/language=en/all is not among the slots"):
            work.append({Slot("examples", ("d", "en")): frames.predictions()})
        assert work.done() == set()


def test_chunks_that_stay_apart_keep_their_order(warehouse, frames, slots):
    with warehouse.staging(slots, "mark") as work:
        work.append(chunk(frames, 2))
        work.append(chunk(frames, 0))
        work.finish(apart="example_id")
    found = warehouse.scan("predictions").collect()
    assert found["example_id"].to_list() == ["0002", "0003", "0000", "0001"]
    assert found.sort("example_id").equals(frames.predictions(examples=4))


def test_chunks_that_do_not_stay_apart_are_refused(warehouse, frames, slots):
    with warehouse.staging(slots, "mark") as work:
        work.append(chunk(frames, 0))
        work.append(chunk(frames, 1))
        with pytest.raises(ContractError, match=r"1 values of `example_id` are in two chunks.*'0001'"):
            work.finish(apart="example_id")
        with pytest.raises(StoreError, match="sorted by columns of its key"):
            work.finish(apart="label")
    assert warehouse.entries() == []


def test_a_key_in_two_chunks_is_refused(warehouse, frames, slots):
    with warehouse.staging(slots, "mark") as work:
        work.append(chunk(frames, 0))
        work.append(chunk(frames, 1))
        with pytest.raises(ContractError, match="rows share their key"):
            work.finish()
        assert work.done() == {"0000", "0001", "0002"}
    assert warehouse.entries() == []


def test_an_example_may_span_chunks(warehouse, frames):
    whole = frames.attributions(examples=2, tokens=4)
    with warehouse.staging([frames.ATTRIBUTIONS], "mark") as work:
        work.append({frames.ATTRIBUTIONS: whole[3:]})
        work.append({frames.ATTRIBUTIONS: whole[:3]})
        work.finish()
    assert warehouse.scan("token_attributions").collect().equals(whole)


@pytest.mark.parametrize("rows_in_memory", [1, 7, 20, 10_000])
def test_the_result_does_not_depend_on_the_memory(warehouse, frames, monkeypatch, rows_in_memory):
    monkeypatch.setattr(staging, "ROWS_IN_MEMORY", rows_in_memory)
    whole = frames.attributions(examples=12, tokens=3)
    mixed = whole.sample(fraction=1, shuffle=True, seed=3)
    with warehouse.staging([frames.ATTRIBUTIONS], "mark") as work:
        for start in range(0, mixed.height, 10):
            work.append({frames.ATTRIBUTIONS: mixed[start : start + 10]})
        [entry] = work.finish()
    assert entry.rows == 36
    assert warehouse.scan("token_attributions").collect().equals(whole)


def test_rows_are_sorted_by_key_columns(warehouse, frames):
    whole = frames.attributions(examples=3, tokens=2)
    with warehouse.staging([frames.ATTRIBUTIONS], "mark") as work:
        work.append({frames.ATTRIBUTIONS: whole})
        with pytest.raises(StoreError, match=r"sorted by columns of its key .* not `attribution`"):
            work.finish(sort_by=["attribution"])
        work.finish(sort_by=["position", "example_id"])
    found = warehouse.scan("token_attributions").collect()
    assert found.equals(whole.sort("position", "example_id"))


def test_one_holder_at_a_time(warehouse, open_warehouse, frames, slots):
    with warehouse.staging(slots, "mark"):
        code = (
            "import sys; from xlwh.store import Warehouse, Slot; from xlwh.errors import StoreError\n"
            "try:\n"
            "    Warehouse(sys.argv[1]).staging([Slot('predictions', ('m', 'en'), 'xnli')], 'x').__enter__()\n"
            "except StoreError as error:\n"
            "    print(error)\n"
        )
        found = subprocess.run(
            [sys.executable, "-c", code, str(warehouse.root)], check=True, capture_output=True, text=True
        )
        assert (
            f"predictions/model=m/language=en/xnli is being worked on by process {os.getpid()}"
            in found.stdout
        )
        other = Slot("predictions", ("m", "de"), "xnli")
        with open_warehouse().staging([other], "mark"):
            pass
    with open_warehouse().staging(slots, "mark"):
        pass


def test_a_failed_lock_gives_the_others_back(warehouse, frames, slots):
    other = Slot("predictions", ("m", "de"), "xnli")
    with warehouse.staging([frames.PREDICTIONS], "mark"):
        with pytest.raises(StoreError, match="being worked on"):
            warehouse.staging([other, frames.PREDICTIONS], "mark").__enter__()
        with warehouse.staging([other], "mark"):
            pass


def test_staging_of_another_fingerprint_is_removed(warehouse, frames, slots):
    with warehouse.staging(slots, "old") as work:
        work.append(chunk(frames, 0))
    apart = Slot("predictions", ("m", "de"), "xnli")
    with warehouse.staging([apart], "old") as work:
        work.append({apart: frames.predictions(language="de")})
    with warehouse.staging([frames.PREDICTIONS], "new") as work:
        assert work.done() == set()
    with warehouse.staging(slots, "old") as work:
        assert work.done() == set()
    with warehouse.staging([apart], "old") as work:
        assert work.done() == {"0000", "0001"}


def test_half_a_chunk_is_never_seen(warehouse, frames, slots):
    with warehouse.staging(slots, "mark") as work:
        work.append(chunk(frames, 0))
    [folder] = (warehouse.root / "staging").glob("*/chunk-00000001")
    half = folder.with_name(".tmp-0123")
    half.mkdir()
    (half / "0.parquet").write_bytes(b"PAR1")
    with warehouse.staging(slots, "mark") as work:
        assert work.done() == {"0000", "0001"}
        assert not half.exists()
        work.append(chunk(frames, 2))
        assert work.frames()["predictions"].height == 4


def test_only_inside_its_block(warehouse, slots):
    work = warehouse.staging(slots, "mark")
    for call in (work.done, work.frames, work.finish):
        with pytest.raises(StoreError, match="outside its `with` block"):
            call()
    with pytest.raises(StoreError, match="at least one slot"):
        warehouse.staging([], "mark")


def test_a_folder_that_another_process_removes_meanwhile(warehouse, frames, slots, monkeypatch):
    """Who starts, and `gc`, list the folders of all work: one of them may be finished with before it is read."""
    with warehouse.staging([frames.PREDICTIONS], "other") as work:
        work.append({frames.PREDICTIONS: frames.predictions(examples=1)})
    listed = type(warehouse.root).glob
    gone = warehouse.root / "staging" / "gone" / "slots.json"

    def before_it_went(self, pattern):
        return [*([gone] if pattern == "*/slots.json" else []), *listed(self, pattern)]

    monkeypatch.setattr(type(warehouse.root), "glob", before_it_went)
    assert [folder.name for folder in abandoned(warehouse.root, warehouse.claims)] != []
    with warehouse.staging(slots, "mark") as work:
        assert work.done() == set()
    assert len(list(abandoned(warehouse.root, warehouse.claims))) == 1
