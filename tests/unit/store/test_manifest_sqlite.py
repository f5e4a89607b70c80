"""The embedded manifest: its file, manifests of earlier versions, and media that may only be read."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager

import pytest

from xlwh.errors import StoreError
from xlwh.store import Slot
from xlwh.store.manifest import NewFile
from xlwh.store.manifest_file import _holds_something
from xlwh.store.manifest_sqlite import SqliteManifest

ONE, TWO = Slot("tokens", ("m", "en"), "a"), Slot("tokens", ("m", "de"), "a")


def new(slot: Slot, file: str, rows: int = 1) -> NewFile:
    return NewFile(slot, file, "mark", rows, 10, 1, f"digest of {file}")


@pytest.fixture
def manifest(tmp_path):
    return SqliteManifest(tmp_path / "manifest.sqlite")


def test_readers_do_not_wait_for_a_writer(tmp_path, manifest):
    manifest.commit(put=[new(ONE, "f1")])
    writer = sqlite3.connect(tmp_path / "manifest.sqlite", isolation_level=None)
    writer.execute("begin immediate")
    try:
        assert SqliteManifest(tmp_path / "manifest.sqlite", timeout_s=0.01).current(ONE).file == "f1"
        with pytest.raises(StoreError, match="database is locked"):
            SqliteManifest(tmp_path / "manifest.sqlite", timeout_s=0.01).commit(drop=[ONE])
    finally:
        writer.close()


def test_a_damaged_manifest_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "manifest.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match=r"manifest\.sqlite cannot be used"):
        SqliteManifest(path).head()


def test_a_file_that_is_no_database_is_told(tmp_path):
    path = tmp_path / "manifest.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(
        StoreError, match=r"manifest\.sqlite cannot be used: file is not a database\. Run: `xlwh recover`\.$"
    ):
        SqliteManifest(path).head()


def test_a_manifest_from_before_scopes_opens_and_gets_one(manifest, as_before):
    manifest.commit([new(ONE, "f1")])
    as_before(manifest.path)
    (one,) = manifest.snapshot().entries
    tables = "select name from sqlite_master where name in ('hidden', 'scope')"
    with sqlite3.connect(manifest.path) as connection:
        assert connection.execute(tables).fetchall() == []
    assert manifest.snapshot().shown == (one,)
    assert manifest.scope() is None
    assert manifest.set_scope([one])
    assert manifest.snapshot().shown == ()


def test_a_manifest_from_before_digests_gets_them_with_its_next_commit(manifest, as_before, monkeypatch):
    manifest.commit(put=[new(ONE, "f1")])
    as_before(manifest.path)
    content = manifest.path.read_bytes()
    earlier = SqliteManifest(manifest.path)
    for _ in range(2):
        found = [earlier.current(ONE), *earlier.snapshot().entries, *earlier.changes(0).put]
        assert [(entry.file, entry.digest) for entry in found] == [("f1", None)] * 3
        # Then as one that may only be read.
        _read_only(monkeypatch)
    monkeypatch.undo()
    assert manifest.path.read_bytes() == content
    [second] = earlier.commit(put=[new(TWO, "f2")], expected={ONE: "f1"})
    assert second.digest == "digest of f2"
    assert {entry.file: entry.digest for entry in earlier.snapshot().entries} == {
        "f1": None,
        "f2": "digest of f2",
    }


def test_a_manifest_from_before_tells_changes_too(manifest):
    manifest.commit(put=[new(ONE, "f1"), new(TWO, "f2")])
    with closing(sqlite3.connect(manifest.path)) as connection, connection:
        for statement in ("drop index by_end", "drop table about", "pragma user_version = 0"):
            connection.execute(statement)
    earlier = SqliteManifest(manifest.path)
    assert {entry.slot for entry in earlier.changes(0).put} == {ONE, TWO}
    earlier.commit(drop=[ONE])
    assert earlier.changes(1).gone == {ONE}
    with closing(sqlite3.connect(manifest.path)) as connection:
        assert connection.execute("select count(*) from sqlite_master where name = 'by_end'").fetchone() == (
            1,
        )


def test_changes_are_found_by_indexes(manifest):
    """Else a commit would cost time for everything that is stored."""
    manifest.commit(put=[new(ONE, "f1")])
    manifest.set_scope([])
    scanned = []

    def trace(statement: str) -> None:
        if statement.startswith("select") and "> 1" in statement:
            plan = f"explain query plan {statement}"
            with closing(sqlite3.connect(manifest.path)) as connection:
                scanned.extend(row[3] for row in connection.execute(plan) if row[3].startswith("SCAN"))
            seen.append(statement)

    seen: list[str] = []
    genuine = manifest._open

    @contextmanager
    def opened():
        with genuine() as connection:
            connection.set_trace_callback(trace)
            yield connection

    manifest._open = opened
    manifest.changes(1)
    assert len(seen) == 5
    assert scanned == []


def _read_only(monkeypatch):
    """As on a file system that may only be read; permissions alone do not bind root."""
    monkeypatch.setattr(os, "access", lambda path, mode, **named: not mode & os.W_OK)


def test_a_manifest_that_may_only_be_read_is_read_and_left_alone(manifest, monkeypatch):
    manifest.commit(put=[new(ONE, "f1", rows=7)])
    _read_only(monkeypatch)
    folder = manifest.path.parent
    before = folder.stat().st_mtime_ns, sorted(path.name for path in folder.iterdir())
    entry = manifest.current(ONE)
    assert entry is not None
    assert entry.rows == 7
    assert (folder.stat().st_mtime_ns, sorted(path.name for path in folder.iterdir())) == before
    with pytest.raises(StoreError, match="readonly"):
        manifest.commit(put=[new(TWO, "f2")])


def test_a_reader_that_may_not_write_sees_the_commits_of_a_writer_at_work(manifest, monkeypatch):
    with closing(sqlite3.connect(manifest.path)) as held:
        held.execute("select count(*) from sqlite_master").fetchall()
        manifest.commit(put=[new(ONE, "f1", rows=7)])
        assert manifest.path.with_name("manifest.sqlite-wal").stat().st_size > 0
        _read_only(monkeypatch)
        assert manifest.head() == 1


def test_a_change_while_it_is_read_without_a_log_is_told(manifest, monkeypatch):
    _read_only(monkeypatch)
    with pytest.raises(StoreError, match="changed while it was read"), manifest._open():
        os.utime(manifest.path, ns=(1, 1))


def test_a_log_that_goes_while_it_is_looked_at_is_none(tmp_path):
    for name, content in (("empty", b""), ("log", b"x")):
        (tmp_path / name).write_bytes(content)
    found = {name: _holds_something(tmp_path / name) for name in ("empty", "log", "none", ".")}
    assert found == {"empty": False, "log": True, "none": False, ".": False}
