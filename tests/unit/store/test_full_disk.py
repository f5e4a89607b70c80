"""Disks that are full: what is told, what is left behind, and that reading and `gc` need no room."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from datetime import timedelta

import polars as pl
import pytest
from circumstances import fill

from xlwh.digests import HashCache
from xlwh.errors import StoreError
from xlwh.failures import told
from xlwh.store import Warehouse
from xlwh.store.connect import read_info


@pytest.fixture
def disk(tmp_path):
    """A small file system; call it with its size, as often as wanted."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = []

    def sized(size):
        options = ("-o", f"{'remount,' * bool(mounted)}size={size}")
        ran = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", place], capture_output=True)
        if ran.returncode:
            pytest.skip(f"no file system can be mounted here: {ran.stderr.decode().strip()}")
        mounted.append(size)
        return place

    yield sized
    if mounted:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize("size", ["4k", "16k", "40k", "60k"])
def test_a_warehouse_that_has_no_room_is_none_or_whole(disk, frames, sql, size):
    root = disk(size) / "warehouse"
    with pytest.raises((StoreError, OSError)) as failed:
        Warehouse(root, create=True).write({frames.PREDICTIONS: frames.predictions(2000)}, "mark")
    assert f"The file system {root.parent} is full" in told(failed.value, [root])
    manifest = root / "manifest.sqlite"
    disk("20m")
    if manifest.is_file():
        assert sqlite3.connect(manifest).execute("pragma integrity_check").fetchall() == [("ok",)]
    warehouse = Warehouse(root, create=True, sql_dirs=[sql])
    warehouse.write({frames.PREDICTIONS: frames.predictions(2000)}, "mark")
    warehouse.build_catalogue()
    assert warehouse.check() == []


def test_a_full_warehouse_is_read_and_gc_makes_room(disk, frames, sql, monkeypatch):
    root = disk("60m") / "warehouse"
    # Temporary files too.
    (root.parent / "tmp").mkdir()
    warehouse = Warehouse(root, create=True, sql_dirs=[sql])
    for number in range(3):
        warehouse.write({frames.PREDICTIONS: frames.predictions(400)}, f"mark {number}")
        warehouse.build_catalogue()
    old = [file for file, state in warehouse.manifest.files().items() if not state.current]
    HashCache.of.cache_clear()
    filler = fill(root.parent)
    warehouse = Warehouse(root, sql_dirs=[sql])
    assert warehouse.scan("predictions").select(pl.len()).collect().item() == 400
    assert warehouse.check() == []
    with warehouse.connect() as database:
        assert database.execute("select count(*) from predictions").fetchall() == [(400,)]
    with pytest.raises(StoreError, match=f"The file system {root.parent} is full"):
        warehouse.drop([frames.PREDICTIONS])
    with pytest.raises(StoreError) as failed:
        warehouse.write({frames.ATTRIBUTIONS: frames.attributions(3000)}, "mark")
    assert "is full (" in told(failed.value, [root])
    monkeypatch.setenv("XLWH_TEMP", str(root.parent / "tmp"))
    time.sleep(0.01)
    report = warehouse.gc(timedelta(0))
    assert set(report.removed) == set(old)
    assert all(warehouse.manifest.files()[file].removed for file in old)
    filler.unlink()
    assert not list(root.glob("**/.tmp-*"))
    warehouse.write({frames.ATTRIBUTIONS: frames.attributions(3)}, "mark")
    warehouse.build_catalogue()
    assert warehouse.check() == []
    assert read_info(root / "catalog.duckdb").commit == warehouse.manifest.head()


def test_a_catalogue_that_has_no_room_is_not_published(disk, frames, sql):
    root = disk("60m") / "warehouse"
    warehouse = Warehouse(root, create=True, sql_dirs=[sql])
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    warehouse.build_catalogue()
    before = (root / "catalog.duckdb").read_bytes()
    warehouse.write({frames.PREDICTIONS: frames.predictions(3)}, "other")
    filler = fill(root.parent)
    for room in (0, 1 << 14, 1 << 16, 1 << 18):
        with filler.open("r+b") as file:
            file.truncate(filler.stat().st_size - room)
        with pytest.raises((StoreError, OSError)):
            warehouse.build_catalogue()
        assert (root / "catalog.duckdb").read_bytes() == before
        assert not list(root.glob(".tmp-*"))
    filler.unlink()
    warehouse.build_catalogue()
    assert warehouse.check() == []


def test_caches_that_cannot_be_written_or_read_cost_time_only(disk, tmp_path, monkeypatch):
    monkeypatch.setattr("xlwh.digests.SETTLED_S", 0.0)
    place = disk("1m")
    file = tmp_path / "file"
    file.write_text("content")
    time.sleep(0.05)
    expected = HashCache(tmp_path / "other.sqlite").digest([file])
    filler = fill(place)
    assert HashCache(place / "cache" / "hashes.sqlite").digest([file]) == expected
    filler.unlink()
    assert HashCache(place / "cache" / "hashes.sqlite").digest([file]) == expected
    for damage in (b"", b"no database" * 500):
        (place / "cache" / "hashes.sqlite").write_bytes(damage)
        for _ in range(2):
            assert HashCache(place / "cache" / "hashes.sqlite").digest([file]) == expected
    assert sqlite3.connect(place / "cache" / "hashes.sqlite").execute(
        "select count(*) from digests"
    ).fetchone() == (1,)
