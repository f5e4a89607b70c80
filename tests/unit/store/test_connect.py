"""`xlwh.connect`: what it opens, what it refuses, and what it leaves behind."""

from __future__ import annotations

import tempfile

import pytest

import xlwh
from xlwh.errors import StoreError
from xlwh.store import Warehouse


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


def test_nothing_is_left_behind(root, monkeypatch, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with xlwh.connect(root) as database:
        before = {path.name for path in root.iterdir()}
        database.execute("select count(*) from predictions").fetchall()
    assert list(scratch.iterdir()) == []
    assert {path.name for path in root.iterdir()} == before


def test_large_queries_may_spill_beside_the_tables(root):
    with xlwh.connect(root) as database:
        [(folder,)] = database.execute("select current_setting('temp_directory')").fetchall()
    assert folder.startswith(f"{root}/.tmp-spill-")


def test_nothing_is_drawn_on_standard_output(root):
    """DuckDB's progress bar would stand in the CSV of every query that takes two seconds."""
    setting = "select current_setting('enable_progress_bar')"
    with xlwh.connect(root) as database, database.cursor() as cursor:
        assert str(database.execute(setting).fetchall()[0][0]).lower() == "false"
        assert str(cursor.execute(setting).fetchall()[0][0]).lower() == "false"


def test_changing_the_settings_is_refused(root):
    import duckdb

    with xlwh.connect(root) as database, pytest.raises(duckdb.Error, match="locked"):
        database.execute("set threads = 2")
