"""The manifest: commits, compare-and-swap, history."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from xlwh.errors import StoreError
from xlwh.store import Slot
from xlwh.store.manifest import ConflictError, NewFile, Scope, SqliteManifest
from xlwh.store.rewrite import Pending

ONE, TWO = Slot("tokens", ("m", "en"), "a"), Slot("tokens", ("m", "de"), "a")


def new(slot: Slot, file: str, rows: int = 1) -> NewFile:
    return NewFile(slot, file, "mark", rows, 10, 1, f"digest of {file}")


@pytest.fixture
def manifest(tmp_path):
    return SqliteManifest(tmp_path / "manifest.sqlite")


def test_empty(manifest):
    assert manifest.head() == 0
    assert manifest.current(ONE) is None
    assert manifest.snapshot().entries == ()
    assert manifest.snapshot().created_at is None


def test_a_commit_is_numbered_and_dated(manifest):
    before = datetime.now(UTC)
    [entry] = manifest.commit(put=[new(ONE, "f1", rows=7)])
    assert (entry.slot, entry.file, entry.rows, entry.commit, entry.version) == (ONE, "f1", 7, 1, 1)
    assert before <= entry.created_at <= datetime.now(UTC)
    assert manifest.current(ONE) == entry
    assert manifest.snapshot().entries == (entry,)


def test_several_slots_are_one_commit(manifest):
    entries = manifest.commit(put=[new(ONE, "f1"), new(TWO, "f2")])
    assert {entry.commit for entry in entries} == {1}
    assert manifest.head() == 1


def test_history_by_number_and_time(manifest):
    [first] = manifest.commit(put=[new(ONE, "f1")])
    [second] = manifest.commit(put=[new(ONE, "f2")])
    manifest.commit(drop=[ONE])
    assert manifest.snapshot(0).entries == ()
    assert manifest.snapshot(1).entries == (first,)
    assert manifest.snapshot(2).entries == (second,)
    assert manifest.snapshot(3).entries == ()
    assert manifest.snapshot(second.created_at).entries == (second,)
    assert manifest.snapshot(first.created_at - timedelta(days=1)).commit == 0
    local = second.created_at.astimezone().replace(tzinfo=None)
    assert manifest.snapshot(local).commit == 2


@pytest.mark.parametrize("number", [-1, 2])
def test_a_commit_that_is_not_there(manifest, number):
    manifest.commit(put=[new(ONE, "f1")])
    with pytest.raises(StoreError, match=f"no commit {number} .*last one is 1"):
        manifest.snapshot(number)


def test_compare_and_swap_changes_all_or_nothing(manifest):
    manifest.commit(put=[new(ONE, "f1")])
    with pytest.raises(ConflictError, match="tokens/model=m/language=en/a was changed by another process"):
        manifest.commit(put=[new(TWO, "f2"), new(ONE, "f3")], expected={TWO: None, ONE: "f0"})
    with pytest.raises(ConflictError):
        manifest.commit(put=[new(ONE, "f4")], expected={ONE: None})
    assert manifest.head() == 1
    assert manifest.current(TWO) is None
    manifest.commit(put=[new(ONE, "f5")], expected={ONE: "f1"})
    assert manifest.current(ONE).file == "f5"


def test_a_file_name_is_used_once(manifest):
    manifest.commit(put=[new(ONE, "f1")])
    with pytest.raises(StoreError, match="UNIQUE"):
        manifest.commit(put=[new(TWO, "f1")])
    assert manifest.head() == 1


def test_what_became_of_files(manifest):
    manifest.commit(put=[new(ONE, "f1"), new(TWO, "f2")])
    manifest.commit(put=[new(ONE, "f3")])
    manifest.forget(["f1", "f2"])
    files = manifest.files()
    assert {file: (state.current, state.removed) for file, state in files.items()} == {
        "f1": (False, True),
        "f2": (True, False),  # a current file is never forgotten
        "f3": (True, False),
    }
    assert files["f1"].superseded_at == manifest.snapshot(2).created_at


def test_many_writers_lose_nothing(manifest, write_at_once):
    write_at_once(manifest.path)
    assert manifest.head() == 40
    assert {entry.file for entry in manifest.snapshot().entries} == {f"{worker}-9" for worker in range(4)}


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


def _scope(head: int = 0) -> Scope:
    return Scope("study", "digest", head)


def test_hidden_slots_have_a_history(manifest):
    (one,) = manifest.commit([new(ONE, "f1")])
    (two,) = manifest.commit([new(TWO, "f2")])
    assert manifest.scope() is None
    assert manifest.set_scope([two], _scope(2))
    assert manifest.head() == 3
    assert manifest.scope() == _scope(3)
    assert manifest.snapshot().shown == (one,)
    assert set(manifest.snapshot().entries) == {one, two}
    assert manifest.snapshot(2).hidden == frozenset()
    assert manifest.set_scope([], among=[TWO])
    assert manifest.snapshot(3).hidden == {TWO}
    assert manifest.snapshot().hidden == frozenset()


def test_a_scope_that_is_so_already_is_no_commit(manifest):
    (one,) = manifest.commit([new(ONE, "f1")])
    manifest.set_scope([one], _scope(1))
    assert not manifest.set_scope([one], Scope("other", "another", 2))
    assert manifest.head() == 2
    assert manifest.scope() == Scope("other", "another", 2)
    assert not manifest.set_scope([one])
    assert not manifest.set_scope([], among=[TWO])


def test_what_is_put_is_shown_and_what_is_dropped_leaves_no_mark(manifest):
    (one,) = manifest.commit([new(ONE, "f1")])
    manifest.set_scope([one])
    (again,) = manifest.commit([new(ONE, "f2")])
    assert manifest.snapshot().shown == (again,)
    manifest.set_scope([again])
    manifest.commit(drop=[ONE])
    manifest.commit([new(ONE, "f3")])
    assert manifest.snapshot().hidden == frozenset()


def test_a_file_that_was_replaced_meanwhile_is_not_hidden(manifest):
    (one,) = manifest.commit([new(ONE, "f1")])
    manifest.commit([new(ONE, "f2")])
    assert not manifest.set_scope([one])
    assert manifest.snapshot().hidden == frozenset()


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


def test_changes_are_the_difference_of_two_snapshots(manifest):
    random.seed(3)
    slots = [Slot("tokens", ("m", language), part) for language in ("de", "en") for part in "abc"]
    for number in range(25):
        put = [new(slot, f"f{number}{index}") for index, slot in enumerate(random.sample(slots, 2))]
        gone = [slot for slot in random.sample(slots, 2) if slot not in {file.slot for file in put}]
        manifest.commit(put=put, drop=gone)
        if number % 4 == 0:
            manifest.set_scope(random.sample(manifest.snapshot().entries, 1))
    now = manifest.snapshot()
    for since in range(now.commit + 1):
        then, changes = manifest.snapshot(since), manifest.changes(since)
        assert changes.commit == now.commit
        assert set(changes.put) == set(now.entries) - set(then.entries)
        before, after = ({entry.slot for entry in each.entries} for each in (then, now))
        assert before - after <= changes.gone
        assert changes.gone.isdisjoint(after)
        assert {slot for slot in then.hidden ^ now.hidden if slot in after} <= changes.rescoped
        assert changes.tables <= {"tokens"}
    assert manifest.changes(now.commit).tables == set()
    with pytest.raises(StoreError, match=f"no commit {now.commit + 1}"):
        manifest.changes(now.commit + 1)


def test_what_was_hidden_or_shown_is_a_change(manifest):
    [entry] = manifest.commit(put=[new(ONE, "f1")])
    manifest.set_scope([entry])
    assert manifest.changes(1).rescoped == {ONE}
    manifest.set_scope([])
    assert manifest.changes(2).rescoped == {ONE}
    assert manifest.changes(3).rescoped == set()


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
    assert len(seen) == 4
    assert scanned == []


def test_pending_commits_tell_their_changes(manifest):
    manifest.commit(put=[new(ONE, "f1")])
    pending = Pending(manifest)
    pending.commit(put=[new(TWO, "f2")])
    pending.commit(put=[new(TWO, "f3")], drop=[ONE])
    assert [entry.file for entry in pending.changes(1).put] == ["f3"]
    assert pending.changes(1).gone == pending.changes(2).gone == {ONE}
    assert pending.changes(3).put == ()
    with pytest.raises(StoreError, match="no history"):
        pending.changes(0)


def _read_only(monkeypatch):
    """As on a file system that may only be read; permissions alone do not bind root."""
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)


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
