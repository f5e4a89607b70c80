"""check, gc, catalogue, readers and init."""

from __future__ import annotations

import errno
import shutil
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from xlwh.cli.care import Duration
from xlwh.corpora import readers
from xlwh.errors import StoreError
from xlwh.store import Slot, Warehouse, empty
from xlwh.store.take import take
from xlwh.study import load
from xlwh.tables import TABLES


def test_check_finds_a_missing_file(xlwh, filled):
    code, out, _ = xlwh("check")
    assert code == 0
    assert out.startswith("No faults found.\nLooked at 2 files")
    assert "xlwh check --deep" in out
    gone = filled.entries("examples")[0]
    (filled.root / gone.file).unlink()
    code, out, _ = xlwh("check")
    assert code == 1
    assert gone.file in out


@pytest.mark.parametrize(("verdict", "is_refused", "code"), [("differs", True, 1), ("not_parallel", True, 1), ("differs", False, 0), ("unrelated", True, 0), ("parallel", False, 0)])  # fmt: skip
def test_check_finds_languages_that_are_not_parallel(xlwh, filled, verdict, is_refused, code):
    row = {
        **dict.fromkeys(empty("parallelism").columns),
        "dataset": "nli",
        "split": "dev",
        "source_language": "en",
        "target_language": "de",
        "joined_by": "row",
        "source_rows": 60,
        "target_rows": 59,
        "pairs": 59,
        "length_outliers": 0.0,
        "evidence": -1.0,
        "odd_rows": 0,
        "verdict": verdict,
        "first_divergence": 23,
        "reason": "60 rows against 59",
        "aligned": "checked",
        "is_refused": is_refused,
    }
    frame = pl.DataFrame([row], schema=empty("parallelism").schema)
    filled.write({Slot("parallelism", ("nli",)): frame}, "f")
    filled.build_catalogue()
    found, out, _ = xlwh("check")
    assert found == code, out
    assert ("dataset nli: de and en, row 23: 60 rows against 59" in out) is bool(code)


def test_gc_keeps_what_is_young(xlwh, filled):
    slot = Slot("examples", ("nli", "en"), "dev")
    old = filled.root / filled.current(slot).file
    filled.write({slot: empty("examples")}, "g")
    filled.build_catalogue()
    assert xlwh("gc")[1].startswith("Removed 0 files")
    assert old.exists()
    assert xlwh("gc", "--grace", "0s")[1].startswith("Removed 1 files")
    assert not old.exists()
    assert xlwh("gc", "--grace", "soon")[0] == 2


@pytest.mark.parametrize(("text", "hours"), [("90m", 1.5), ("3600s", 1), ("12h", 12), ("7d", 168)])
def test_durations(text, hours):
    assert Duration().convert(text, None, None) == timedelta(hours=hours)


def test_the_catalogue_after_a_move(xlwh, filled, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.move(filled.root, moved)
    code, out, _ = xlwh("catalogue", "--warehouse", moved)
    assert code == 0
    assert str(moved / "catalog.duckdb") in out
    _, out, _ = xlwh("sql", "--csv", "select count(*) as n from examples", "--warehouse", moved)
    assert out == "n\n2\n"


def test_the_environment_names_the_warehouse(xlwh, filled, monkeypatch):
    monkeypatch.setenv("XLWH_WAREHOUSE", str(filled.root))
    monkeypatch.chdir("/")
    assert xlwh("sql", "--csv", "select count(*) as n from examples")[1] == "n\n2\n"


def test_what_another_warehouse_has_is_taken(xlwh, filled, tmp_path):
    other = Warehouse(tmp_path / "other", create=True)
    slot, same = Slot("examples", ("nli", "zz"), "dev"), filled.entries("examples")[0]
    other.write({slot: empty("examples")}, "there", {"xlwh.reader": "r"})
    other.write({same.slot: empty("examples")}, "there too")
    code, out, _ = xlwh("take", other.root, "examples")
    assert (code, out) == (0, "examples: 1 partition, 0 rows\n")
    taken = filled.current(slot)
    assert taken.fingerprint == "there"
    assert pl.read_parquet_metadata(filled.root / taken.file)["xlwh.reader"] == "r"
    assert filled.current(same.slot) == same
    assert xlwh("take", other.root, "examples")[1] == "examples: 0 partitions, 0 rows\n"
    assert xlwh("take", tmp_path, "examples")[0] == 1


def test_partitions_of_another_contract_are_not_taken(filled, tmp_path, monkeypatch):
    other = Warehouse(tmp_path / "other", create=True)
    monkeypatch.setattr(TABLES["examples"], "version", 99)
    other.write({Slot("examples", ("nli", "zz"), "dev"): empty("examples")}, "there")
    monkeypatch.undo()
    with pytest.raises(StoreError, match="version 99"):
        take(filled, other, "examples")


def test_readers_lists_all_of_them_with_options(xlwh):
    code, out, _ = xlwh("readers")
    assert code == 0
    for reader in readers():
        assert f"{reader.name}: {reader.description}" in out
        assert all(f"    {option.name} (" in out for option in reader.options)


def test_init_writes_a_study_that_loads(xlwh, tmp_path):
    code, out, _ = xlwh("init", "my-study")
    assert code == 0
    assert "xlwh materialize --study my-study/study.toml" in out
    study = load(tmp_path / "my-study" / "study.toml")
    assert study.consistency is not None
    assert study.models["nli-en"].finetune is not None
    code, _, errors = xlwh("init", "my-study")
    assert code == 1
    assert "exists already" in errors


def test_init_below_a_file(xlwh, tmp_path):
    (tmp_path / "file").write_text("no folder")
    code, _, errors = xlwh("init", "file/study")
    assert code == 1
    assert errors == f"Error: Not a directory: '{tmp_path}/file/study'\n"


def test_a_full_disk_leaves_no_half_of_a_study(xlwh, tmp_path, monkeypatch):
    def full(self, content):
        self.open("wb").close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    code, _, errors = xlwh("init", "my-study")
    assert code == 1
    assert errors == "Error: No space left on device: 'my-study/study.toml'\n"
    assert list((tmp_path / "my-study").iterdir()) == []


def test_init_into_a_folder_whose_name_looks_like_a_flag(xlwh):
    code, out, _ = xlwh("init", "--paper", "heads", "--", "-x")
    assert code == 0
    assert "  cd ./-x\n" in out


def test_a_study_with_a_byte_order_mark_loads(xlwh, tmp_path):
    assert xlwh("init")[0] == 0
    file = tmp_path / "study.toml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load(file).consistency is not None
