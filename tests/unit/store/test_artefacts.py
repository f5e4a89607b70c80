"""Artefacts in the manifest: put and dropped with the rows that they belong to, looked after like the files of tables."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from xlwh.digests import sha256
from xlwh.store import Slot, Warehouse, schema
from xlwh.store.checkpoints import CHECKPOINT, checkpoint
from xlwh.store.rewrite import Pending

ROW = Slot("models", ("m",))
NAME = ("model", "m")


def row(**changes: object) -> pl.DataFrame:
    """The row of a model that is fine-tuned here."""
    values = dict.fromkeys(schema("models")) | {
        "model": "m", "kind": "finetuned", "source": "base", "family": "bert", "weight_hash": "0" * 64,
        "tokenizer_hash": "0" * 64, "num_layers": 1, "num_heads": 1, "hidden_size": 1, "vocab_size": 1,
        "num_parameters": 1, "dtype": "float32", **changes,
    }  # fmt: skip
    return pl.DataFrame([values], schema=schema("models"))


def made(warehouse: Warehouse, digest: str) -> Path:
    """A model that was trained into a folder, its row and its checkpoint in one commit."""
    folder = warehouse.root / "models" / "m" / digest
    (folder / "deep").mkdir(parents=True)
    (folder / "model.safetensors").write_text(f"weights {digest}")
    (folder / "deep" / "config.json").write_text("{}")
    found = checkpoint(warehouse.root, "m", folder, warehouse.hashes)
    warehouse.write({ROW: row()}, "f" * 32, {CHECKPOINT: digest}, [found])
    return folder


def test_a_checkpoint_is_committed_with_its_row_and_superseded_with_it(warehouse):
    first = made(warehouse, "a" * 16)
    manifest = warehouse.manifest
    assert manifest.head() == 1
    found = manifest.artefacts()[NAME]
    assert [file.file for file in found.files] == [
        f"models/m/{'a' * 16}/deep/config.json",
        f"models/m/{'a' * 16}/model.safetensors",
    ]
    assert found.files[1].digest == sha256([first / "model.safetensors"])
    assert found.is_whole(warehouse.root)
    second = made(warehouse, "b" * 16)
    assert manifest.artefacts(1)[NAME] == found == manifest.artefact(NAME, "a" * 16)
    assert manifest.artefacts()[NAME].fingerprint == "b" * 16
    # Kept for as long as files of tables are.
    assert warehouse.gc(timedelta(hours=1)).removed == ()
    assert f"models/m/{'a' * 16}" in warehouse.gc(timedelta(0)).removed
    assert not first.exists()
    assert {file for file, state in manifest.files().items() if state.removed} >= {
        f.file for f in found.files
    }
    warehouse.drop([ROW])
    assert (manifest.artefacts(), manifest.artefacts(2)[NAME].fingerprint) == ({}, "b" * 16)
    assert f"models/m/{'b' * 16}" in warehouse.gc(timedelta(0)).removed
    assert not second.exists()


def test_a_checkpoint_that_comes_back_is_kept(warehouse):
    first = made(warehouse, "a" * 16)
    made(warehouse, "b" * 16)
    again = checkpoint(warehouse.root, "m", first, warehouse.hashes)
    warehouse.write({ROW: row()}, "f" * 32, {CHECKPOINT: "a" * 16}, [again])
    assert f"models/m/{'b' * 16}" in warehouse.gc(timedelta(0)).removed
    assert again.is_whole(warehouse.root)


@pytest.mark.parametrize("damage", ["gone", "cut", "folder", "other"])
def test_check_names_what_is_not_as_it_was_committed(warehouse, damage):
    file = made(warehouse, "a" * 16) / "model.safetensors"
    warehouse.build_catalogue()
    assert warehouse.check() == []
    size = file.stat().st_size
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage != "gone":
        file.write_bytes(b"x" * (size if damage == "other" else 3))
    assert warehouse.manifest.artefacts()[NAME].is_whole(warehouse.root) is (damage == "other")
    assert bool(warehouse.check()) is (damage != "other")
    [found] = warehouse.check(deep=True)
    assert found.file == f"models/m/{'a' * 16}/model.safetensors"
    # What makes the row again makes its checkpoint.
    assert (found.slot, "xlwh repair" in found.problem) == (ROW, True)
    assert warehouse.check(deep=True, tables=["models"]) == [found]
    assert warehouse.check(deep=True, tables=["tokens"]) == []


def test_a_warehouse_from_before_opens_and_gets_artefacts_when_they_are_first_put(warehouse, as_before):
    made(warehouse, "a" * 16)
    as_before(warehouse.manifest.path)
    assert warehouse.manifest.artefacts() == {}
    assert warehouse.manifest.artefact(NAME, "a" * 16) is None
    # The row names it.
    assert warehouse.gc(timedelta(0)).removed == ()
    folder = warehouse.root.parent / "mine"
    folder.mkdir()
    (folder / "mine.sql").write_text("select 1 as one")
    shutil.copytree(folder, warehouse.root / "sql")
    Warehouse(warehouse.root).adopt_sql(folder)
    assert list(warehouse.manifest.artefacts()) == [("sql", "mine")]
    head = warehouse.manifest.head()
    Warehouse(warehouse.root).adopt_sql(folder)
    assert warehouse.manifest.head() == head
    (folder / "mine.sql").unlink()
    Warehouse(warehouse.root).adopt_sql(folder)
    assert warehouse.manifest.artefacts() == {}


def test_pending_commits_hold_artefacts_back(warehouse):
    made(warehouse, "a" * 16)
    pending = Pending(warehouse.manifest)
    pending.commit(drop=[ROW])
    assert pending.artefacts() == {}
    assert NAME in warehouse.manifest.artefacts()
    pending.publish()
    assert warehouse.manifest.artefacts() == {}


@pytest.mark.parametrize("place", ["../outside", "models/../../outside", "models/m/link/config.json"])
def test_a_file_that_lies_outside_is_told_and_never_opened(warehouse, place):
    folder = made(warehouse, "a" * 16)
    shutil.copytree(folder, warehouse.root.parent / "outside-folder")
    (warehouse.root / "models" / "m" / "link").symlink_to(warehouse.root.parent / "outside-folder" / "deep")
    (warehouse.root.parent / "outside").write_text("{}")
    with sqlite3.connect(warehouse.root / "manifest.sqlite") as manifest:
        manifest.execute("update artefacts set file = ? where file like '%config.json'", (place,))
    for deep in (False, True):
        [found] = [each for each in warehouse.check(deep) if each.file == place]
        assert found.kind == "irregular_file"
