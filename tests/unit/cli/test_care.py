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
from xlwh.store import Slot, Warehouse, empty
from xlwh.study import load


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
    other.write({slot: empty("examples")}, "a" * 32, {"xlwh.reader": "r"})
    other.write({same.slot: empty("examples")}, "b" * 32)
    code, out, _ = xlwh("take", other.root, "examples")
    assert code == 0
    assert "1 partition here with other fingerprints, and kept: examples." in out
    taken = filled.current(slot)
    assert taken.fingerprint == "a" * 32
    assert pl.read_parquet_metadata(filled.root / taken.file)["xlwh.reader"] == "r"
    assert filled.current(same.slot) == same
    code, out, _ = xlwh("take", other.root)
    assert (code, "Nothing was taken." in out, "1 partition here already: examples." in out) == (
        0,
        True,
        True,
    )
    # What is refused is told, and is no success.
    new = Slot("examples", ("nli", "yy"), "dev")
    [entry] = other.write({new: empty("examples")}, "c" * 32)
    (other.root / entry.file).write_bytes(b"x")
    code, _, err = xlwh("take", other.root)
    assert code == 1
    assert f"Refused: {new}: its file has 1 bytes" in err
    assert filled.current(new) is None
    # None, one that lies around this one, this one itself, no table.
    for arguments, why in (
        ([tmp_path / "nothing"], "There is no warehouse at"),
        ([tmp_path], "lies inside the other"),
        ([filled.root], "is this warehouse itself"),
        ([other.root, "no_such"], "There is no table `no_such`"),
        ([other.root / "manifest.sqlite"], "is a file"),
    ):
        code, _, err = xlwh("take", *arguments)
        assert (code != 0, why in err) == (True, True), err


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
    assert errors == f"Error: xlwh init: Not a directory: '{tmp_path}/file/study'\n"


def test_a_full_disk_leaves_no_half_of_a_study(xlwh, tmp_path, monkeypatch):
    def full(self, content):
        self.open("wb").close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    code, _, errors = xlwh("init", "my-study")
    assert code == 1
    assert errors.startswith("Error: xlwh init: The file system ")
    assert " was full (" in errors
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
