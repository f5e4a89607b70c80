"""Warehouses in an object store on machines that are behind, full, or have something else than they should."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import timedelta
from types import SimpleNamespace

import pytest

import xlwh
from dagster_project.checks import contract
from xlwh.errors import StoreError
from xlwh.store import Slot, Warehouse, bucket
from xlwh.store.objects import behind, root_of
from xlwh.store.roots import LOCAL, SOURCE, folder_of

ONE = Slot("token_attributions", ("m", "de"), "nli.lig")
PRINT = "0" * 32


def rows(frames, **more):
    return frames.attributions(model="m", language="de", **more)


def counted(url):
    with closing(xlwh.connect(url)) as connection:
        return connection.sql("select count(*) from token_attributions").fetchall()[0][0]


def objects_of(url):
    found = behind(root_of(url))
    assert found is not None
    return found


@pytest.mark.parametrize("machine", ["one", "two"])
def test_a_warehouse_that_is_made_anew_at_a_url_shows_nothing_of_the_former(url, node, make, frames, machine):
    Warehouse(url).write({ONE: rows(frames)}, PRINT)
    for name in ("one", "two"):
        node(name)
        Warehouse(url).build_catalogue()
    former = counted(url)
    assert former
    objects = objects_of(url)
    objects.remove(each.key for each in objects.bucket.listing())
    node("one")
    make(url)
    node(machine)
    assert counted(url) == 0
    Warehouse(url).write({ONE: rows(frames).head(1)}, PRINT)
    node("two")
    Warehouse(url).build_catalogue()
    assert counted(url) == 1


def test_copies_of_what_the_store_has_no_more_go_too(url, node, frames, monkeypatch):
    Warehouse(url).write({ONE: rows(frames)}, PRINT)
    node("two")
    warehouse = Warehouse(url)
    warehouse.build_catalogue()
    copy = warehouse.root / warehouse.entries()[0].file
    assert counted(url)
    assert copy.is_file()
    node("one")
    Warehouse(url).drop([ONE])
    Warehouse(url).build_catalogue()
    assert Warehouse(url).gc(timedelta(0)).files
    node("two")
    Warehouse(url).build_catalogue()
    Warehouse(url).gc(timedelta(0))
    assert copy.exists()  # somebody may be reading it
    monkeypatch.setattr("xlwh.store.gc.UNNAMED_GRACE", timedelta(0))
    Warehouse(url).gc(timedelta(0))
    assert not copy.exists()


def test_a_folder_of_another_warehouse_is_refused(url, make, node):
    other = make(f"{url}-2")
    (folder_of(other) / SOURCE).write_bytes((folder_of(url) / SOURCE).read_bytes())
    with pytest.raises(StoreError, match=SOURCE):
        Warehouse(other)


def test_sql_that_is_lost_in_the_store_is_told(url, node, tmp_path):
    folder = tmp_path / "sql"
    folder.mkdir()
    (folder / "mine.sql").write_text("-- mine: A number.\nselect 1 as n")
    Warehouse(url).adopt_sql(folder)
    objects = objects_of(url)
    objects.remove(each.key for each in objects.bucket.listing("sql"))
    node("two")
    Warehouse(url).build_catalogue()
    assert [each.kind for each in Warehouse(url).check() if each.file == "sql/mine.sql"] == ["missing_file"]
    Warehouse(url).adopt_sql(folder)
    Warehouse(url).build_catalogue()
    with closing(xlwh.connect(url)) as connection:
        assert connection.sql("select n from mine").fetchall() == [(1,)]


def test_a_copy_that_was_cut_short_is_made_again_by_what_errors_name(url, node, frames):
    warehouse = Warehouse(url)
    warehouse.write({ONE: rows(frames)}, PRINT)
    warehouse.build_catalogue()
    copy = warehouse.root / warehouse.entries()[0].file
    content = copy.read_bytes()
    copy.unlink()
    copy.write_bytes(content[: len(content) // 2])
    with pytest.raises(Exception, match=r"(?i)parquet"):
        counted(url)
    Warehouse(url).check()
    assert counted(url) == rows(frames).height


def test_a_local_place_that_is_a_file_is_told(url, node, tmp_path):
    (tmp_path / "three").write_text("")
    node("three")
    with pytest.raises(StoreError, match=LOCAL):
        Warehouse(url)


def test_a_store_that_does_not_let_one_list_says_so_at_once(url, node, frames, s3, monkeypatch):
    Warehouse(url).write({ONE: rows(frames)}, PRINT)
    node("two")
    for name, value in s3.unlisted.items():
        monkeypatch.setenv(name, value)
    waited = []
    monkeypatch.setattr(bucket, "time", SimpleNamespace(monotonic=time.monotonic, sleep=waited.append))
    with pytest.raises(StoreError, match="does not let you in"):
        Warehouse(url).build_catalogue()
    assert waited == []


def test_what_another_machine_wrote_is_shown_without_a_command(url, node, frames):
    warehouse = Warehouse(url)
    warehouse.write({ONE: rows(frames)}, PRINT)
    node("two")
    assert counted(url) == rows(frames).height
    kept = Warehouse(url)
    node("one")
    warehouse.write({ONE: rows(frames).head(1)}, PRINT)
    warehouse.build_catalogue()
    node("two")
    assert counted(url) == 1
    with closing(kept.connect()) as connection:
        assert connection.sql("from token_attributions").pl().height == 1


def test_checks_of_assets_find_what_another_machine_wrote(url, node, frames):
    Warehouse(url).write({ONE: rows(frames)}, PRINT)
    node("two")
    verdict = contract(Warehouse(url), "token_attributions")
    assert verdict.looked_at == 1
    assert verdict.faults.is_empty()


def test_a_machine_without_a_catalogue_is_no_fault(url, node, frames):
    Warehouse(url).write({ONE: rows(frames)}, PRINT)
    assert not Warehouse(url).check()
    node("two")
    Warehouse(url).build_catalogue()
    node("one")
    Warehouse(url).write({ONE: rows(frames).head(1)}, PRINT)
    node("two")
    assert not Warehouse(url).check(deep=True)
