"""A copied or moved warehouse is read from its own files, never from those of the place it comes from."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
import pytest

import xlwh
from xlwh.store import Warehouse, addresses, catalogue
from xlwh.store.connect import read_info

COUNT = "select count(*) from predictions"


def counted(warehouse: Warehouse) -> int:
    with warehouse.connect() as database:
        return database.execute(COUNT).fetchall()[0][0]


def plainly(root: Path, sql: str = COUNT) -> list[tuple]:
    with duckdb.connect(root / "catalog.duckdb", read_only=True) as database:
        return database.execute(sql).fetchall()


@pytest.fixture
def filled(warehouse, frames) -> Warehouse:
    warehouse.write({frames.PREDICTIONS: frames.predictions(examples=2)}, "mark")
    warehouse.build_catalogue()
    return warehouse


def grow(warehouse: Warehouse, frames, examples: int) -> None:
    warehouse.write({frames.PREDICTIONS: frames.predictions(examples=examples)}, f"mark {examples}")
    warehouse.build_catalogue()


@pytest.mark.parametrize(
    "how", ["copied", "moved", "copied, then the original changed", "copied, then changed"]
)
def test_our_own_ways_show_the_files_of_the_place(how, filled, frames, sql, tmp_path):
    here = tmp_path / "it's there"
    (shutil.move if how == "moved" else shutil.copytree)(filled.root, here)
    expected = 2
    if how == "copied, then the original changed":
        grow(filled, frames, 5)
    if how == "copied, then changed":
        Warehouse(here, sql_dirs=[sql]).write({frames.PREDICTIONS: frames.predictions(examples=3)}, "other")
        expected = 3
    warehouse = Warehouse(here, sql_dirs=[sql])
    assert warehouse.scan("predictions").select(pl.len()).collect().item() == expected
    assert counted(warehouse) == expected
    assert read_info(here / "catalog.duckdb").root == str(here)
    assert plainly(here) == [(expected,)]
    with xlwh.connect(here) as database:
        assert database.execute("select commit from catalogue_info").fetchall() == [
            (warehouse.manifest.head(),)
        ]


@pytest.mark.parametrize(
    "sql_text", [COUNT, "select model from predictions limit 1", "from predictions where model = 'no'"]
)
def test_plain_duckdb_refuses_the_catalogue_of_another_place(sql_text, filled, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(filled.root, copy)
    with pytest.raises(duckdb.Error, match=r"copied or moved: .* Build it anew .*: xlwh catalogue"):
        plainly(copy, sql_text)
    plainly(filled.root, sql_text)
    moved = tmp_path / "moved"
    shutil.move(filled.root, moved)
    with pytest.raises(duckdb.Error, match=r"No files found|copied or moved"):
        plainly(moved, sql_text)
    Warehouse(moved).build_catalogue()
    plainly(moved, sql_text)


def test_every_table_with_files_is_guarded(filled, frames, tmp_path):
    """Also what the metrics of installed packages have computed."""
    results = filled.root / "metrics"
    results.mkdir()
    pl.DataFrame({"n": [1]}).write_parquet(results / "surprise-1.parquet")
    facts = {"file": "surprise-1.parquet", "function": "p:f", "description": "How odd."}
    (results / "current.json").write_text(json.dumps({"surprise": facts}))
    warehouse = Warehouse(filled.root)
    warehouse.write({frames.ATTRIBUTIONS: frames.attributions()}, "mark")
    warehouse.build_catalogue()
    copy = tmp_path / "copy"
    shutil.copytree(filled.root, copy)
    for name in ("predictions", "token_attributions", "surprise"):
        assert plainly(filled.root, f"select * from {name}")
        with pytest.raises(duckdb.Error, match="copied or moved"):
            plainly(copy, f"select * from {name}")


def test_links_to_a_warehouse_are_the_same_place(filled, sql, tmp_path):
    link = tmp_path / "link"
    os.symlink(filled.root, link)
    before = (filled.root / "catalog.duckdb").stat().st_ino
    for root in (link, link / ".." / "link"):
        assert counted(Warehouse(root, sql_dirs=[sql])) == 2
        assert plainly(root) == [(2,)]
    assert (filled.root / "catalog.duckdb").stat().st_ino == before


def test_another_spelling_of_the_place_does_not_build_it_again_and_again(filled, sql, tmp_path, monkeypatch):
    """As on a file system that ignores case, or where one folder is mounted twice."""
    other = tmp_path / "WAREHOUSE"
    os.symlink(filled.root, other)
    warehouse = Warehouse(filled.root, sql_dirs=[sql])
    warehouse.root = other
    monkeypatch.setattr(warehouse, "build_catalogue", lambda: pytest.fail("built again"))
    assert counted(warehouse) == 2
    assert warehouse.catalogue_is_current()
    assert warehouse.check(deep=True) == []


def test_names_that_differ_in_case_only(filled, tmp_path, monkeypatch):
    assert not addresses._ignores_case(filled.root)
    os.symlink(filled.root, filled.root.with_name(filled.root.name.swapcase()))
    assert addresses._ignores_case(filled.root)
    assert "lower(path)" in addresses._is_here(filled.root, filled.root / "catalog.duckdb")


def test_a_copy_that_cannot_be_written(filled, frames, sql, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(filled.root, copy)
    grow(filled, frames, 4)
    warehouse = Warehouse(copy, sql_dirs=[sql])

    def refused() -> Path:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(warehouse, "build_catalogue", refused)
    assert counted(warehouse) == 2
    assert read_info(copy / "catalog.duckdb").root == str(filled.root)


def test_cursors_of_a_connection_are_not_refused(filled):
    with filled.connect() as database, database.cursor() as cursor:
        assert cursor.execute(COUNT).fetchall() == [(2,)]


def test_an_earlier_contract_is_guarded(frames, tmp_path):
    entry_of = Warehouse(tmp_path / "w", create=True)
    [entry] = entry_of.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    for version in (0, entry.version):
        text = catalogue._files_view("predictions", [replace(entry, version=version)])
        assert text.count("from read_parquet") == text.count(f"where {addresses.HERE}") == 1


@pytest.mark.parametrize("order", [("original", "copy"), ("copy", "original")])
def test_a_copy_attached_beside_the_original_is_refused_too(order, filled, tmp_path):
    """Both are open then, so that one at the right place is not enough."""
    places = {"original": filled.root, "copy": tmp_path / "copy"}
    shutil.copytree(filled.root, places["copy"])

    def both(name: str) -> list[tuple]:
        with duckdb.connect() as database:
            for each in order:
                database.execute(f"attach '{places[each]}/catalog.duckdb' as {each} (read_only)")
            return database.execute(f"select count(*) from {name}.predictions").fetchall()

    with pytest.raises(duckdb.Error, match="copied or moved"):
        both("copy")
    Warehouse(places["copy"]).build_catalogue()
    assert both("copy") == both("original") == [(2,)]


def test_a_catalogue_says_for_one_place_that_it_was_built(filled, sql, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(filled.root, copy)
    Warehouse(copy, sql_dirs=[sql]).build_catalogue()
    marks = "select schema_name from duckdb_schemas() where starts_with(schema_name, 'built_for_')"
    assert plainly(copy, marks) == [(addresses.place_mark(copy),)]
