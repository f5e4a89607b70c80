"""`xlwh.connect`: what it opens, what it refuses, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pytest

import xlwh
from xlwh.errors import StoreError
from xlwh.store import Warehouse, spill


@pytest.fixture
def root(tmp_path, frames):
    warehouse = Warehouse(tmp_path / "warehouse", create=True)
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    return warehouse.root


def test_no_warehouse(tmp_path):
    with pytest.raises(StoreError, match="There is no warehouse at"):
        xlwh.connect(tmp_path)


def test_the_default_is_the_folder_warehouse(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    with xlwh.connect() as database:
        assert database.sql("select count(*) from predictions").fetchall() == [(2,)]
        assert database.sql("select * from predictions").pl().height == 2


def test_a_missing_catalogue_is_built(root):
    assert not (root / "catalog.duckdb").exists()
    with xlwh.connect(root) as database:
        assert ("predictions",) in database.execute("show tables").fetchall()
    assert (root / "catalog.duckdb").exists()


def test_as_of(root, frames):
    Warehouse(root).write({frames.PREDICTIONS: frames.predictions(examples=5)}, "two")
    with xlwh.connect(root, as_of=1) as database:
        assert database.execute("select count(*) from predictions").fetchall() == [(2,)]


def test_a_path_through_a_link_or_with_dots(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    for path in (tmp_path / "link", root / ".." / root.name):
        with xlwh.connect(path) as database:
            assert database.execute("select count(*) from predictions").fetchall() == [(2,)]


SPILLING = """
import os, signal, sys, xlwh
with xlwh.connect(sys.argv[1]) as database:
    print(database.execute("select current_setting('temp_directory')").fetchall()[0][0])
    print(database.execute("select current_setting('max_temp_directory_size')").fetchall()[0][0])
    sys.stdout.flush()
    database.execute("select count(*) from predictions").fetchall()
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def spilling(root, how, **environment):
    """Where a process that opens the warehouse would spill, and how much."""
    known = {"XLWH_TEMP", "XLWH_TEMP_LIMIT"}
    inherited = {name: value for name, value in os.environ.items() if name not in known}
    run = subprocess.run(
        [sys.executable, "-c", SPILLING, str(root), how],
        capture_output=True,
        text=True,
        check=how != "die",
        env=inherited | environment,
    )
    return run.stdout.splitlines()


def test_nothing_is_left_behind(root, tmp_path):
    (tmp_path / "scratch").mkdir()
    with xlwh.connect(root):
        before = {path.name for path in root.iterdir()}
    place, _ = spilling(root, "end", TMPDIR=str(tmp_path / "scratch"))
    assert Path(place).is_relative_to(tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []
    assert {path.name for path in root.iterdir()} == before


def test_what_a_killed_process_left_is_removed_by_the_next(root, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    other = scratch / "xlwh-temp-new"
    other.mkdir()
    spilling(root, "die", TMPDIR=str(scratch))
    [left] = [path for path in scratch.iterdir() if path != other]
    (left / "spilled").mkdir()
    (left / "spilled" / "block").write_bytes(b"x")
    spilling(root, "end", TMPDIR=str(scratch))
    # A folder without a lock may be about to get one.
    assert list(scratch.iterdir()) == [other]
    os.utime(other, (1, 1))
    spilling(root, "end", TMPDIR=str(scratch))
    assert list(scratch.iterdir()) == []


def test_the_folder_of_a_living_process_is_left_alone(root, tmp_path, monkeypatch):
    monkeypatch.setenv("XLWH_TEMP", str(tmp_path))
    mine = spill.folder()
    spilling(root, "end", XLWH_TEMP=str(tmp_path))
    assert (mine / "lock").is_file()


def test_large_queries_spill_to_temporary_space_with_a_limit(root, tmp_path):
    place, limit = spilling(root, "end", XLWH_TEMP=str(tmp_path), XLWH_TEMP_LIMIT="20MB")
    assert Path(place).is_relative_to(tmp_path)
    assert not Path(place).is_relative_to(root)
    assert limit == "19.0 MiB"
    place, limit = spilling(root, "end")
    assert Path(place).is_relative_to(tempfile.gettempdir())
    assert limit.endswith("iB")


def test_a_query_that_needs_more_than_the_limit_ends_with_an_error(root, tmp_path, monkeypatch):
    monkeypatch.setenv("XLWH_TEMP_LIMIT", "1MB")
    query = "select list(x) from (select range::varchar || 'a long text' as x from range(3000000) order by hash(range))"
    with (
        Warehouse(root).connect(memory_limit="60MB") as database,
        pytest.raises(duckdb.Error, match="max_temp_directory_size"),
    ):
        database.execute(query)


def test_a_temporary_folder_that_cannot_be_made(root, tmp_path, monkeypatch):
    monkeypatch.setenv("XLWH_TEMP", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="Set XLWH_TEMP"):
        Warehouse(root).connect()


@pytest.mark.parametrize("limit", ["much", "20", "-1GB", "20 G"])
def test_a_limit_that_is_no_size(limit, root, monkeypatch):
    monkeypatch.setenv("XLWH_TEMP_LIMIT", limit)
    with pytest.raises(StoreError, match="XLWH_TEMP_LIMIT is"):
        Warehouse(root).connect()


def test_nothing_is_drawn_on_standard_output(root):
    """DuckDB's progress bar would stand in the CSV of every query that takes two seconds."""
    setting = "select current_setting('enable_progress_bar')"
    with xlwh.connect(root) as database, database.cursor() as cursor:
        assert str(database.execute(setting).fetchall()[0][0]).lower() == "false"
        assert str(cursor.execute(setting).fetchall()[0][0]).lower() == "false"


def test_changing_the_settings_is_refused(root):
    with xlwh.connect(root) as database, pytest.raises(duckdb.Error, match="locked"):
        database.execute("set threads = 2")
