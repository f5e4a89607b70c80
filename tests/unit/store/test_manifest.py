"""The manifest: commits, compare-and-swap, history."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from xlwh.errors import StoreError
from xlwh.store import Slot
from xlwh.store.manifest import ConflictError, NewFile, Scope
from xlwh.store.rewrite import Pending

ONE, TWO = Slot("tokens", ("m", "en"), "a"), Slot("tokens", ("m", "de"), "a")


def new(slot: Slot, file: str, rows: int = 1) -> NewFile:
    return NewFile(slot, file, "mark", rows, 10, 1, f"digest of {file}")


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
    with pytest.raises(StoreError, match=r"(?i)unique"):
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


def test_many_writers_lose_nothing(manifest, open_again, write_at_once):
    write_at_once(open_again)
    assert manifest.head() == 40
    assert {entry.file for entry in manifest.snapshot().entries} == {f"{worker}-9" for worker in range(4)}


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
