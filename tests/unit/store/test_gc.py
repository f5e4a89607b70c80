"""What gc removes, what it keeps, and what time travel says afterwards."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from xlwh.errors import HeldError, StoreError
from xlwh.models.training_state import Workspace
from xlwh.store import Slot, Warehouse, gc, schema
from xlwh.store.checkpoints import checkpoint_of
from xlwh.store.claims import COMMANDS
from xlwh.store.connect import KEPT
from xlwh.store.files import MANIFEST, remove_folder
from xlwh.store.locks import FileLock
from xlwh.store.recover import recover

NOW = timedelta(0)


@pytest.fixture
def warehouse(warehouse, made_long_ago):
    """One that was made long ago."""
    return made_long_ago(warehouse)


def age(path: Path, **elapsed: float) -> None:
    then = time.time() - timedelta(**elapsed).total_seconds()
    for item in (path, *path.rglob("*")):
        os.utime(item, (then, then))


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in (root / "tables").rglob("*.parquet")}


@pytest.fixture
def two(warehouse, frames):
    """A warehouse with a superseded and a current file."""
    [first] = warehouse.write({frames.PREDICTIONS: frames.predictions(examples=1)}, "one")
    [second] = warehouse.write({frames.PREDICTIONS: frames.predictions(examples=2)}, "two")
    return first, second


def test_superseded_files_go_after_the_grace_period(warehouse, two):
    first, second = two
    report = warehouse.gc(timedelta(hours=1))
    assert (report.removed, report.files, report.kept) == ((), 0, 1)
    report = warehouse.gc(NOW)
    assert (report.removed, report.size_bytes, report.kept) == ((first.file,), first.size_bytes, 0)
    assert files(warehouse.root) == {second.file}
    assert warehouse.gc(NOW).removed == ()


def test_dropped_files_go_too(warehouse, two, frames):
    warehouse.drop([frames.PREDICTIONS])
    warehouse.gc(NOW)
    assert files(warehouse.root) == set()


def test_files_that_the_catalogue_shows_are_kept(warehouse, frames):
    [first] = warehouse.write({frames.PREDICTIONS: frames.predictions(examples=1)}, "one")
    warehouse.build_catalogue()
    warehouse.write({frames.PREDICTIONS: frames.predictions(examples=2)}, "two")
    assert warehouse.gc(NOW).kept == 1
    with warehouse.connect() as database:
        assert database.execute("select count(*) from predictions").fetchall() == [(1,)]
    warehouse.build_catalogue()
    assert warehouse.gc(NOW).removed == (first.file,)


def test_time_travel_to_removed_files_says_so(warehouse, two):
    warehouse.gc(NOW)
    with pytest.raises(
        StoreError, match=r"Commit 1 cannot be shown: 1 of its files were removed .*the last one is 2"
    ):
        warehouse.connect(as_of=1)
    with warehouse.connect(as_of=2) as database:
        assert database.execute("select count(*) from predictions").fetchall() == [(2,)]


def test_files_without_a_commit_may_be_about_to_get_one(warehouse, two):
    folder = warehouse.root / "tables" / "predictions" / "model=m" / "language=en"
    for name in ("xnli-0000.parquet", ".tmp-0000"):
        (folder / name).write_bytes(b"x")
    (warehouse.root / ".tmp-1111").write_bytes(b"x")
    warehouse.gc(NOW)
    assert (folder / "xnli-0000.parquet").exists()
    for path in (folder / "xnli-0000.parquet", folder / ".tmp-0000", warehouse.root / ".tmp-1111"):
        age(path, hours=2)
    report = warehouse.gc(NOW)
    assert {Path(file).name for file in report.removed} == {"xnli-0000.parquet", ".tmp-0000", ".tmp-1111"}
    assert report.size_bytes == 3


def left_behind(warehouse: Warehouse, slot: Slot, name: str = "0" * 16) -> Path:
    """A file of a slot that no commit names, written days ago."""
    path = warehouse.root / slot.folder / f"{slot.part}-{name}.parquet"
    path.write_bytes(b"x")
    age(path, days=3)
    return path


def test_what_a_live_process_is_about_to_commit_stays_however_long_that_takes(warehouse, two, frames):
    folder = warehouse.root / "models" / "m" / ("0" * 16)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x")
    age(folder, days=3)
    file, claims = left_behind(warehouse, frames.PREDICTIONS), warehouse.claims
    slots = [frames.PREDICTIONS, Slot("models", ("m",))]
    held = [claims.claim(slots), *(claims.hold(command) for command in COMMANDS)]
    for each in held:
        with each:
            warehouse.gc(NOW)
        assert file.exists()
        assert folder.exists()
    assert set(warehouse.gc(NOW).removed) == {
        path.relative_to(warehouse.root).as_posix() for path in (file, folder)
    }


def test_what_is_committed_while_gc_looks_stays(warehouse, two, frames, monkeypatch):
    """Its claim is gone by the time that it is asked for, and the commit came after the manifest was read."""
    [third] = warehouse.write({frames.PREDICTIONS: frames.predictions(examples=3)}, "three")
    age(warehouse.root / third.file, days=3)
    known, asked = warehouse.manifest.files(), []
    genuine = warehouse.manifest.files

    def files() -> object:
        asked.append(None)
        return (
            {file: state for file, state in known.items() if file != third.file}
            if len(asked) == 1
            else genuine()
        )

    monkeypatch.setattr(warehouse.manifest, "files", files)
    warehouse.gc(NOW)
    assert (warehouse.root / third.file).exists()


def test_nothing_is_removed_while_the_manifest_is_made_anew(warehouse, two, monkeypatch):
    """It may have a use for any file."""
    monkeypatch.setattr(gc, "_LOCK_WAIT_S", 0.1)
    with (
        FileLock((warehouse.root / MANIFEST).with_suffix(".lock"), "it"),
        pytest.raises(HeldError, match="manifest"),
    ):
        warehouse.gc(NOW)
    monkeypatch.setattr(gc, "_collect", lambda root, *others: recover(root))
    with pytest.raises(HeldError, match="manifest"):
        warehouse.gc(NOW)


NAMED_BEFORE_A_COMMIT = {
    "write": "its slots are claimed by the run, or the staging, that writes",
    "rewrite": "`xlwh rename` is held",
    "take": "`xlwh take` is held",
}
"""Modules that give files names under which they are committed later -> how `gc` knows that they live."""


def test_whoever_names_files_before_they_are_committed_is_known():
    store = Path(gc.__file__).parent
    calls = {
        path.stem for path in store.glob("*.py") if re.search(r"(?<!def )\bnew_name\(", path.read_text())
    }
    assert calls == NAMED_BEFORE_A_COMMIT.keys()


def test_unfinished_work_is_kept_for_a_week_and_while_it_is_held(warehouse, frames):
    slot = Slot("predictions", ("m", "de"), "xnli")
    with warehouse.staging([slot], "mark") as work:
        work.append({slot: frames.predictions(language="de")})
    [folder] = [path for path in (warehouse.root / "staging").iterdir() if path.name != "locks"]
    assert warehouse.gc(NOW).removed == ()
    age(folder, days=8)
    with warehouse.staging([slot], "mark") as work:
        age(folder, days=8)
        assert warehouse.gc(NOW).removed == ()
        assert work.done() == {"0000", "0001"}
    age(folder, days=8)
    assert warehouse.gc(NOW).removed == (f"staging/{folder.name}",)
    assert not folder.exists()


def test_none_takes_up_what_is_being_removed(warehouse, frames, monkeypatch):
    slot, tried = Slot("predictions", ("m", "de"), "xnli"), []
    with warehouse.staging([slot], "mark") as work:
        work.append({slot: frames.predictions(language="de")})
    [staged] = [path for path in (warehouse.root / "staging").iterdir() if path.name != "locks"]
    training = warehouse.root / "staging" / "finetune" / f"m-{'a' * 16}"
    training.mkdir(parents=True)
    age(staged, days=8)
    age(training, days=8)

    def removing(folder):
        work = Workspace(folder, "m") if folder == training else warehouse.staging([slot], "mark")
        with pytest.raises(StoreError, match="being worked on"):
            work.__enter__()
        tried.append(folder)
        remove_folder(folder)

    monkeypatch.setattr(gc, "remove_folder", removing)
    assert len(warehouse.gc(NOW).removed) == 2
    assert tried == [staged, training]
    # One that is being trained is left alone, whatever its files' age.
    with Workspace(training, "m"):
        age(training, days=8)
        assert warehouse.gc(NOW).removed == ()


@pytest.mark.parametrize("place", [f"models/m/{'a' * 16}", f"staging/finetune/m-{'b' * 16}"])
def test_folders_never_go_by_halves(warehouse, monkeypatch, place):
    """What a killed `gc` leaves of one is swept by a later one, and is nowhere taken for whole."""
    folder = warehouse.root / place
    folder.mkdir(parents=True)
    (folder / "weights").write_text("x")
    age(folder, days=8)

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("xlwh.store.files.remove", killed)
        with pytest.raises(KeyboardInterrupt):
            warehouse.gc(NOW)
    assert not folder.exists()
    [left] = folder.parent.glob(".tmp-*")
    assert warehouse.gc(NOW).removed == (left.relative_to(warehouse.root).as_posix(),)
    assert not left.exists()


def test_files_that_come_and_go_meanwhile(warehouse, two):
    places = [
        warehouse.root / name
        for name in ("tables/tokens/model=m", f"{KEPT}/view", f"models/m/{'a' * 16}", "staging", "metrics",
                     f"staging/finetune/m-{'b' * 16}", f"staging/finetune/m-{'c' * 16}/deep")
    ]  # fmt: skip
    ended = threading.Event()

    def others():
        while not ended.is_set():
            for place in places:
                place.mkdir(parents=True, exist_ok=True)
                (place / ".tmp-1").write_text("x")
                (place / ".tmp-1").rename(place / "one.parquet")
            for place in places:
                (place / "one.parquet").unlink()
                if place.name != "staging":
                    place.rmdir()

    other = threading.Thread(target=others)
    other.start()
    try:
        for _ in range(60):
            assert not [file for file in warehouse.gc(NOW).removed if "one.parquet" in file]
            assert {finding.kind for finding in warehouse.check()} <= {"orphan_file", "stale_catalogue"}
    finally:
        ended.set()
        other.join()


def test_what_others_keep_in_the_warehouse_is_left_alone(warehouse):
    for path in ("models/m/weights", "staging/finetune/m/state", "README.md"):
        file = warehouse.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
        age(file, days=100)
    assert warehouse.gc(NOW).removed == ()


def test_checkpoints_go_when_their_row_names_another_one(warehouse):
    slot, current, former, orphan = Slot("models", ("m",)), "a" * 16, "b" * 16, "c" * 16
    row = dict.fromkeys(schema("models")) | {
        "model": "m", "kind": "finetuned", "source": "base", "family": "bert", "weight_hash": "0" * 64,
        "tokenizer_hash": "0" * 64, "num_layers": 1, "num_heads": 1, "hidden_size": 1, "vocab_size": 1,
        "num_parameters": 1, "dtype": "float32",
    }  # fmt: skip
    frame = pl.DataFrame([row], schema=schema("models"))
    warehouse.write({slot: frame}, "f" * 32, {"xlwh.checkpoint": current})
    folders = [warehouse.root / "models" / name for name in (f"m/{current}", f"m/{former}", f"gone/{orphan}")]
    folders.append(warehouse.root / "staging" / "finetune" / f"m-{former}")
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text("x")
    assert warehouse.gc(NOW).removed == ()
    for folder in folders:
        age(folder, days=8)
    # The current row is young: whoever read the one before may still be loading its checkpoint.
    assert {path.split("/")[-1] for path in warehouse.gc(NOW).removed} == {orphan, f"m-{former}"}
    with sqlite3.connect(warehouse.root / "manifest.sqlite") as manifest:
        manifest.execute("update commits set created_at = '2026-01-01T00:00:00+00:00'")
    # Where the row cannot be read, any checkpoint may be the one that it names.
    file = warehouse.root / warehouse.current(slot).file
    content = file.read_bytes()
    for damaged in (
        content[:-300] + b"\xff" * 290 + content[-10:],
        content.replace(b"a" * 16, b"../../../etc/pas"),
    ):
        assert damaged != content
        file.chmod(0o644)
        file.write_bytes(damaged)
        assert warehouse.gc(NOW).removed == ()
        with pytest.raises(StoreError, match=rf"{slot} is damaged: .* Run: xlwh repair"):
            checkpoint_of(warehouse.root, warehouse.current(slot))
    file.write_bytes(content)
    assert warehouse.gc(NOW).removed == (f"models/m/{former}",)
    assert folders[0].exists()
