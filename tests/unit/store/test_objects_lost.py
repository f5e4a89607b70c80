"""Warehouses in an object store of which something is lost: objects, the manifest, what says where that is, a process."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import s3_server
from obstore.store import LocalStore

import xlwh
from tests.unit.store.conftest import attributions
from xlwh.cli import main
from xlwh.errors import StoreError
from xlwh.store import Slot, Warehouse, bucket
from xlwh.store.files import PLACE
from xlwh.store.manifest_postgres import identity_of
from xlwh.store.move import to_postgres
from xlwh.store.objects import behind, root_of
from xlwh.store.place import read_place
from xlwh.store.postgres import Address, Database
from xlwh.store.recover import recover

ONE = Slot("token_attributions", ("m", "de"), "nli.lig")
OTHER = Slot("token_attributions", ("m", "fr"), "nli.lig")
PRINT = "0" * 32


def rows(slot, **more):
    model, language = slot.keys
    return attributions(model=model, language=language, **more)


@pytest.fixture
def filled(url):
    """The same with two files."""
    warehouse = Warehouse(url)
    for slot in (ONE, OTHER):
        warehouse.write({slot: rows(slot)}, PRINT)
    return url


def objects_of(url):
    found = behind(root_of(url))
    assert found is not None
    return found


def faults(url):
    """What is wrong with stored files."""
    return [each for each in Warehouse(url).check(deep=True) if each.kind != "stale_catalogue"]


def tables_in(url):
    return sorted(each.key for each in objects_of(url).bucket.listing("tables"))


def new_address(postgres):
    return Address(postgres.url(), f"xlwh_{secrets.token_hex(6)}")


def forget_manifest(url, postgres):
    """The server that had it is gone, and nobody has a backup."""
    objects_of(url).remove([PLACE])
    to_postgres(root_of(url), new_address(postgres))


def test_what_is_lost_in_the_store_is_made_again_also_by_a_machine_that_has_a_copy(filled, node):
    first, second = Warehouse(filled).entries()
    objects_of(filled).bucket.remove([first.file])
    objects_of(filled).forget_listing()
    warehouse = Warehouse(filled)
    assert (warehouse.root / first.file).is_file()
    assert not warehouse.is_fresh(first.slot, PRINT)
    assert warehouse.is_fresh(second.slot, PRINT)
    warehouse.write({first.slot: rows(first.slot)}, PRINT)
    node("two")
    assert not faults(filled)


def test_copies_that_are_used_stay_whatever_the_disk_remembers(filled, monkeypatch):
    """As on a disk that notes no access times, where every file has those of its making."""
    warehouse = Warehouse(filled)
    objects = objects_of(filled)
    unused, used = [warehouse.root / entry.file for entry in warehouse.entries()]
    now = time.time()
    made = {unused: now - 40 * 3600, used: now - 50 * 3600}
    for path, when in made.items():
        os.utime(path, (when, when))
    monkeypatch.setattr(time, "time", lambda: now - 10 * 3600)
    assert warehouse.scan("token_attributions", language="fr").collect().height
    with closing(warehouse.connect()) as connection:
        connection.sql("select * from token_attributions where language = 'fr'").fetchall()
    monkeypatch.setattr(time, "time", lambda: now)
    for path, when in made.items():
        os.utime(path, (when, when))
    assert objects.trim(used.stat().st_size + 1)
    assert (unused.exists(), used.exists()) == (False, True)
    # Long enough ago it is as good as never.
    monkeypatch.setattr(time, "time", lambda: now + 100 * 24 * 3600)
    assert not objects._uses.last()
    assert not list((warehouse.root / "uses").iterdir())


def test_a_manifest_is_recovered_from_the_ends_of_objects(filled, node, postgres, downloads):
    expected = {(e.slot, e.file, e.fingerprint, e.rows, e.digest) for e in Warehouse(filled).entries()}
    node("two")
    forget_manifest(filled, postgres)
    assert recover(root_of(filled)).from_files == 2
    assert not downloads
    assert {
        (e.slot, e.file, e.fingerprint, e.rows, e.digest) for e in Warehouse(filled).entries()
    } == expected
    assert not faults(filled)


def test_objects_without_a_digest_are_read_as_a_whole_and_not_kept(filled, node, postgres, downloads):
    before = Warehouse(filled).entries()
    objects = objects_of(filled)
    for entry in before:
        # As an earlier version put it there.
        objects.bucket.put(entry.file, objects.bucket.read(entry.file))
    garbage = f"{ONE.folder}/{ONE.part}-{'0' * 16}.parquet"
    for content in (b"", b"PAR1", b"\xff\xff\xff\x7fPAR1", b"x" * 100_000 + b"\xff\xff\0\0PAR1"):
        objects.bucket.put(garbage, content, digest="0" * 64)
        node(f"after-{len(content)}")
        forget_manifest(filled, postgres)
        told = recover(root_of(filled))
        assert [each.file for each in told.unplaced] == [garbage]
        assert told.from_files == 2
        assert {e.digest for e in Warehouse(filled).entries()} == {e.digest for e in before}
        assert not list((root_of(filled) / "tables").rglob("*.parquet"))
    assert downloads


def test_sql_that_was_set_back_is_recovered_as_it_was_last(filled, node, postgres, tmp_path):
    folder = tmp_path / "sql"
    folder.mkdir()
    for number in (1, 2, 1):
        (folder / "mine.sql").write_text(f"-- mine: A number.\nselect {number} as n")
        Warehouse(filled).adopt_sql(folder)
        # The store's times are in whole seconds.
        time.sleep(1.1)
    node("two")
    forget_manifest(filled, postgres)
    recover(root_of(filled))
    with closing(xlwh.connect(filled)) as connection:
        assert connection.sql("select n from mine").fetchall() == [(1,)]
    assert not faults(filled)


PLACES = {
    "cut short": b'url = "postgresql://me@db/research"\nsche',
    "empty": b"",
    "no text": b"\xff\xfe\x00",
    "of another program": b"[package]\nname = 'x'\n",
    "numbers": b"url = 1\nschema = 2\nidentity = 3\n",
    "another kind of server": b'url = "mysql://db/x"\nschema = "x"\nidentity = "x"\n',
    "a password": b'url = "postgresql://me:secret@db/x"\nschema = "x"\nidentity = "x"\n',
    "no schema": b'url = "postgresql://me@db/x"\nschema = "; drop"\nidentity = "x"\n',
    "nested": b"a = " + b"[" * 100_000,
}


@pytest.mark.parametrize("content", PLACES.values(), ids=PLACES)
def test_a_place_that_says_nothing_is_one_error_and_is_written_again(filled, node, content, capsys):
    address = read_place(root_of(filled)).address
    objects_of(filled).bucket.put(PLACE, content)
    node("two")
    for command in (["tables"], ["check"], ["gc"], ["recover"]):
        assert main([*command, "--warehouse", filled]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"Error: {filled}/{PLACE} ")
        assert error.count("\n") == 1
        assert f"--warehouse {filled}" in error
        assert "secret" not in error
    command = ["manifest", address.url, "--schema", address.schema, "--warehouse", filled]
    assert main(command) == 0, capsys.readouterr()
    node("three")
    assert len(Warehouse(filled).entries()) == 2


def test_a_place_that_is_gone_is_written_again_and_only_of_its_own_manifest(
    filled, url, make, node, postgres
):
    mine = read_place(root_of(filled))
    other = make(f"s3://{s3_server.BUCKET}/{secrets.token_hex(6)}/wh")
    Warehouse(other).write({ONE: rows(ONE)}, PRINT)
    objects_of(filled).remove([PLACE])
    with pytest.raises(StoreError, match="another warehouse"):
        to_postgres(root_of(filled), read_place(root_of(other)).address)
    assert "again" in to_postgres(root_of(filled), mine.address)
    assert read_place(root_of(filled)) == mine
    assert identity_of(Database(mine.address)) == mine.identity
    assert len(Warehouse(filled).entries()) == 2


def test_without_the_right_to_delete_gc_says_so_and_changes_nothing(filled, node, s3, monkeypatch):
    warehouse = Warehouse(filled)
    warehouse.write({ONE: rows(ONE, first=5)}, "1" * 32)
    warehouse.build_catalogue()
    left = warehouse.root / "staging" / ".tmp-0"
    left.parent.mkdir(exist_ok=True)
    left.write_text("")
    os.utime(left, (0, 0))
    before = tables_in(filled)
    for name, value in s3.reader.items():
        monkeypatch.setenv(name, value)
    node("reader")
    reader = Warehouse(filled)
    pauses = []
    monkeypatch.setattr(bucket.time, "sleep", pauses.append)
    with pytest.raises(StoreError, match=r"cannot be deleted, and nothing was.*does not let you in") as error:
        reader.gc(timedelta(0))
    assert not pauses, "what is refused is not asked for again"
    assert "\n" not in str(error.value)
    node("one")
    assert not [state for state in Warehouse(filled).manifest.files().values() if state.removed]
    assert left.exists()
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    node("one again")
    assert tables_in(filled) == before
    assert len(Warehouse(filled).gc(timedelta(0)).removed) == 1


KILLED = """
import os, sys
from xlwh.store import Warehouse
from xlwh.store.objects import Objects
from tests.unit.store.test_objects_lost import ONE, PRINT, rows

genuine = Objects.send

def send(self, files):
    genuine(self, files)
    os.kill(os.getpid(), 9)

Objects.send = send
Warehouse(sys.argv[1]).write({ONE: rows(ONE)}, PRINT)
"""


def test_a_process_that_is_killed_between_the_put_and_the_commit(url, node, monkeypatch):
    root = Path(__file__).parents[3]
    path = os.pathsep.join(map(str, (root, root / "tests")))
    killed = subprocess.run([sys.executable, "-c", KILLED, url], env={**os.environ, "PYTHONPATH": path})
    assert killed.returncode == -9
    [left] = tables_in(url)
    assert not Warehouse(url).entries()
    assert not Warehouse(url).is_fresh(ONE, PRINT)
    for machine in ("one", "two"):
        node(machine)
        if not Warehouse(url).is_fresh(ONE, PRINT):
            Warehouse(url).write({ONE: rows(ONE)}, PRINT)
    [entry] = Warehouse(url).entries()
    assert tables_in(url) == sorted([left, entry.file])
    assert Warehouse(url).scan("token_attributions").collect().height == rows(ONE).height
    Warehouse(url).build_catalogue()
    # It may be about to be committed.
    assert not Warehouse(url).gc(timedelta(0)).removed
    monkeypatch.setattr("xlwh.store.gc.UNNAMED_GRACE", timedelta(0))
    node("three")
    assert Warehouse(url).gc(timedelta(0)).removed == (left,)
    assert tables_in(url) == [entry.file]
    assert not faults(url)


ODD = (
    "a b",
    "größe",
    "gro\u0308ße",
    "100%",
    "a%20b",
    "a+b",
    "~x",
    "日本語",
    "a*b[1]{2}",
    "a'b\"c",
    "^|`<>",
    "&=;,:!$()",
)


def test_odd_names_in_urls_are_taken_as_they_are(node, make):
    """Each is another place than the others, also where one would be the other in a web browser."""
    top = f"s3://{s3_server.BUCKET}/{secrets.token_hex(6)}"
    urls = [make(f"{top}/{name}/{name}") for name in ODD]
    for number, url in enumerate(urls, 1):
        Warehouse(url).write({ONE: rows(ONE, examples=number)}, PRINT)
    node("two")
    for number, (name, url) in enumerate(zip(ODD, urls, strict=True), 1):
        [entry] = Warehouse(url).entries()
        assert tables_in(url) == [entry.file]
        found = Warehouse(url).scan("token_attributions").collect()
        assert found["example_id"].n_unique() == number, name
    there = objects_of(top).bucket.listing()
    assert {each.key.rpartition("/tables/")[0] for each in there if "/tables/" in each.key} == {
        f"{name}/{name}" for name in ODD
    }


@pytest.mark.parametrize("mark", "?#\\@")
def test_marks_that_urls_have_for_something_else_are_refused_by_name(node, mark, capsys):
    assert main(["tables", "--warehouse", f"s3://{s3_server.BUCKET}/a{mark}b/wh"]) == 1
    error = capsys.readouterr().err
    assert f"`{mark}`" in error
    assert error.count("\n") == 1


def test_a_store_that_misses_one_object_removes_the_others(tmp_path):
    """As those do that have no request for many."""
    there = bucket.Bucket("s3://bucket/wh")
    there.__dict__["_store"] = LocalStore(tmp_path)
    gone, *names = [f"{number:02}" for number in range(50)]
    for name in (*names, "kept"):
        (tmp_path / name).write_text("")
    there.remove([gone, *names])
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
