"""Packing: nothing changes but where rows lie, whatever is done to a warehouse before and after."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from xlwh.errors import HeldError, StoreError
from xlwh.store import Slot, Warehouse, fingerprint
from xlwh.store.claims import COMPACT
from xlwh.store.compaction import FEWEST, compact, renew
from xlwh.store.files import MANIFEST
from xlwh.store.integrity import require_undamaged
from xlwh.store.journal import NAME
from xlwh.store.move import to_postgres, to_sqlite
from xlwh.store.reading import is_stored
from xlwh.store.recover import recover
from xlwh.store.segments import count_in, is_segment, read_index
from xlwh.store.take import take

NOW = timedelta(0)
LANGUAGES = tuple("abcdefghij")
VIEWS = ("files.predictions", "stored.predictions", "files.token_attributions", "predictions")


def slot(language: str) -> Slot:
    return Slot("predictions", ("m", language), "xnli")


def mark(language: str, examples: int) -> str:
    return fingerprint("predictions", "1", {"language": language, "n": examples}, [])


def write(warehouse: Warehouse, frames, language: str, examples: int) -> None:
    frame = frames.predictions(examples=examples, language=language)
    warehouse.write({slot(language): frame}, mark(language, examples))


def everything(warehouse: Warehouse, as_of: int | None = None) -> dict[str, object]:
    """All rows, by SQL and by Polars, and what the manifest says of them."""
    found: dict[str, object] = {}
    warehouse.build_catalogue()
    with warehouse.connect(as_of=as_of) as database:
        for view in VIEWS:
            found[view] = sorted(map(repr, database.execute(f"from {view}").fetchall()))
    if as_of is None:
        found["scan"] = warehouse.scan("predictions").collect().rows()
        found["all"] = warehouse.scan("predictions", everything=True).collect().rows()
        found["one"] = warehouse.scan("predictions", language="c").collect().rows()
    snapshot = warehouse.manifest.snapshot(as_of)
    found["entries"] = [(str(e.slot), e.file, e.fingerprint, e.digest, e.rows) for e in snapshot.entries]
    found["hidden"] = sorted(map(str, snapshot.hidden))
    return found


def small_files(root: Path) -> list[Path]:
    return [path for path in (root / "tables").rglob("*.parquet") if path.parent.name != "segments"]


def segments(root: Path) -> list[str]:
    return sorted(f"{path.relative_to(root)}" for path in (root / "tables").rglob("segments/*.parquet"))


def pack(warehouse: Warehouse, **how: object):
    """Pack, and take the small files away that the segments have."""
    done = compact(warehouse, **how)
    for entry in warehouse.entries():
        if entry.segment is not None:
            (warehouse.root / entry.file).unlink(missing_ok=True)
    return done


@pytest.fixture
def filled(warehouse, frames, made_long_ago):
    """Ten partitions of predictions, one superseded twice, one out of scope, and attributions."""
    made_long_ago(warehouse)
    for language in LANGUAGES:
        write(warehouse, frames, language, 2)
    for examples in (3, 4):
        write(warehouse, frames, "c", examples)
    warehouse.write({frames.ATTRIBUTIONS: frames.attributions()}, "f" * 32)
    warehouse.manifest.set_scope([warehouse.current(slot("j"))])
    return warehouse


def test_nothing_changes_but_where_rows_lie(filled):
    before, commits = everything(filled), range(1, filled.manifest.head() + 1)
    history = [everything(filled, commit) for commit in commits]
    done = pack(filled)
    assert (done.files, len(done.segments), done.left) == (10, 1, {})
    assert count_in(done.segments[0].file) == 10
    assert everything(filled) == before
    assert [everything(filled, commit) for commit in commits] == history
    assert filled.check(deep=True) == []
    assert all(is_stored(filled.root, entry) for entry in filled.entries())
    assert filled.is_fresh(slot("a"), mark("a", 2))
    assert compact(filled).segments == [], "what is packed stays"


def test_a_table_of_few_files_is_not_packed(warehouse, frames):
    for language in LANGUAGES[: FEWEST - 1]:
        write(warehouse, frames, language, 1)
    assert compact(warehouse).segments == []
    write(warehouse, frames, LANGUAGES[-1], 1)
    assert len(compact(warehouse, tables=["tokens"]).segments) == 0
    assert len(compact(warehouse, tables=["predictions"]).segments) == 1
    with pytest.raises(StoreError, match="no table `predicted`"):
        compact(warehouse, tables=["predicted"])


def test_what_comes_after_stands_beside_and_in_front_of_it(filled, frames):
    pack(filled)
    write(filled, frames, "b", 5)
    write(filled, frames, "k", 1)
    filled.drop([slot("d")])
    found = everything(filled)
    rows = filled.scan("predictions", everything=True).collect()
    counts = dict(rows.group_by("language").len().iter_rows())
    assert counts == {"a": 2, "b": 5, "c": 4, "e": 2, "f": 2, "g": 2, "h": 2, "i": 2, "j": 2, "k": 1}
    assert len(found["stored.predictions"]) == sum(counts.values())
    assert len(found["files.predictions"]) == sum(counts.values()) - 2, "j is out of scope"
    assert rows["language"].to_list() == sorted(rows["language"]), "in the order of the slots"


def test_what_was_superseded_is_packed_out_in_the_end(filled, frames):
    pack(filled)
    [first] = segments(filled.root)
    write(filled, frames, "a", 3)
    assert compact(filled).segments == []
    done = compact(filled, whole=True)
    assert [count_in(each.file) for each in done.segments] == [10]
    for language in "bcde":
        write(filled, frames, language, 6)
    before = everything(filled)
    done = pack(filled)
    assert sum(count_in(each.file) for each in done.segments) == 10
    assert everything(filled) == before
    assert first in segments(filled.root), "until gc removes it"


def test_gc_removes_what_was_packed_and_segments_that_were_replaced(filled, frames):
    before = everything(filled)
    compact(filled)
    assert len(small_files(filled.root)) == 13
    assert filled.gc(timedelta(hours=1)).removed == ()
    report = filled.gc(NOW)
    # Ten that were packed, and two that were superseded before.
    assert len(report.removed) == 12
    assert not any(map(is_segment, report.removed))
    assert everything(filled) == before
    assert filled.check(deep=True) == []
    [first] = segments(filled.root)
    packed_at = filled.manifest.head()
    for language in LANGUAGES:
        write(filled, frames, language, 7)
    filled.build_catalogue()
    assert everything(filled, packed_at)["files.predictions"] == before["files.predictions"]
    assert filled.gc(timedelta(hours=1)).removed == ()
    report = filled.gc(NOW)
    assert report.removed == (first,)
    with pytest.raises(StoreError, match=r"cannot be shown: 10 of its files were removed by `xlwh gc`"):
        filled.connect(as_of=packed_at)
    assert filled.check(deep=True) == []


def test_a_segment_that_no_commit_names_goes(filled, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(filled.manifest), "pack", stop)
        with pytest.raises(KeyboardInterrupt):
            compact(filled)
    [left] = segments(filled.root)
    before = everything(filled)
    assert [finding.file for finding in filled.check()] == [left]
    assert left not in filled.gc(NOW).removed, "it may be about to be committed"
    then = (filled.root / left).stat().st_mtime - 7200
    os.utime(filled.root / left, (then, then))
    assert left in filled.gc(NOW).removed
    assert everything(filled) == before


def test_damage_is_found_and_what_is_sound_is_packed_again(filled):
    before = everything(filled)
    pack(filled)
    [name] = segments(filled.root)
    path = filled.root / name
    whole = path.read_bytes()
    path.chmod(0o644)
    victim = filled.current(slot("e"))
    index = {each.file: each for each in read_index(path)}
    at = index[victim.file].start + 5
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 8]) + whole[at + 1 :])
    # The file that has it, and the segment that is read as one.
    found = filled.check(deep=True)
    assert {(finding.kind, finding.file) for finding in found} == {
        ("wrong_digest", victim.file),
        ("wrong_digest", name),
    }
    assert [finding.slot for finding in found if finding.slot is not None] == [slot("e")]
    # Whoever makes something of any of its rows reads them by the footer that all have in common.
    with pytest.raises(
        StoreError, match=r"segments/.* is damaged: its bytes are not those that were written"
    ):
        require_undamaged(filled.root, filled.current(slot("a")))
    done = renew(filled, [name])
    assert done.files == 9
    assert list(done.left) == [victim.file]
    assert [finding.file for finding in filled.check(deep=True) if finding.slot] == [victim.file]
    filled.drop([slot("e")])
    assert [f for f in filled.check(deep=True) if f.kind != "stale_catalogue"] == []
    rows = filled.scan("predictions", everything=True).collect().rows()
    assert rows == [row for row in before["all"] if row[3] != "e"]


@pytest.mark.parametrize("how", ["cut", "gone", "footer", "folder"])
def test_a_segment_that_is_not_there_as_it_was_is_told_of_every_file(filled, how):
    pack(filled)
    [name] = segments(filled.root)
    path = filled.root / name
    whole = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "footer":
        path.write_bytes(whole[:-20] + bytes(20))
    elif how == "folder":
        path.mkdir()
    for deep in (False, True):
        told = {finding.slot for finding in filled.check(deep=deep) if finding.slot is not None}
        assert told == {slot(language) for language in LANGUAGES}
    with pytest.raises(StoreError, match=r"damaged|gone|cannot be read"):
        list(filled.verifying().scan("predictions").collect().rows())


@pytest.mark.parametrize("lost", ["manifest", "journal too", "journal is cut"])
def test_recover_finds_what_was_packed(filled, lost):
    before = everything(filled)
    history = everything(filled, 10)
    pack(filled)
    for suffix in ("", "-wal", "-shm"):
        (filled.root / f"{MANIFEST}{suffix}").unlink(missing_ok=True)
    journal = filled.root / NAME
    if lost == "journal too":
        journal.unlink()
    elif lost == "journal is cut":
        journal.write_bytes(journal.read_bytes()[:1500])
    found = recover(filled.root)
    # A journal that ends early says otherwise of what came later.
    assert lost == "journal is cut" or not found.ended
    again = Warehouse(filled.root, sql_dirs=filled._sql_dirs)
    if lost == "manifest":
        assert everything(again) == before
        assert everything(again, 10) == history
    else:
        assert again.scan("predictions", everything=True).collect().rows() == before["all"]
    # Without history nobody knows what the superseded files were.
    assert {finding.kind for finding in again.check(deep=True)} <= {"orphan_file", "stale_catalogue"}
    assert compact(again).segments == []


def test_take_brings_what_was_packed(filled, tmp_path):
    before = everything(filled)
    pack(filled)
    here = Warehouse(tmp_path / "here", create=True)
    taken = take(here, filled.root)
    assert not taken.refused
    assert len(taken.entries) == 10
    assert here.scan("predictions").collect().rows() == before["scan"]
    here.build_catalogue()
    assert here.check(deep=True) == []
    # What is hidden there is not taken, whatever segment it is in.
    assert here.current(slot("j")) is None


def test_take_refuses_what_a_hostile_segment_says(filled, tmp_path):
    pack(filled)
    [name] = segments(filled.root)
    path = filled.root / name
    path.chmod(0o644)
    whole = bytearray(path.read_bytes())
    for each in read_index(path)[::2]:
        whole[each.start + 3] ^= 1
    path.write_bytes(whole)
    here = Warehouse(tmp_path / "here", create=True)
    taken = take(here, filled.root)
    assert len(taken.refused) == 5
    assert {each.reason for each in taken.refused} == {"its file has other bytes than were committed there"}
    path.unlink()
    os.symlink("/etc/passwd", path)
    other = Warehouse(tmp_path / "other", create=True)
    taken = take(other, filled.root)
    assert {each.reason for each in taken.refused} == {"its file is gone"}


def test_it_moves_with_its_manifest(filled, address):
    before = everything(filled)
    pack(filled)
    to_postgres(filled.root, address)
    moved = Warehouse(filled.root, sql_dirs=filled._sql_dirs)
    assert everything(moved) == before
    assert compact(moved).segments == []
    to_sqlite(filled.root)
    back = Warehouse(filled.root, sql_dirs=filled._sql_dirs)
    assert everything(back) == before
    assert [entry.segment for entry in back.entries("predictions")] == segments(back.root) * 10


def test_two_do_not_pack_at_once(filled):
    with filled.claims.hold(COMPACT), pytest.raises(HeldError, match="`xlwh compact` is being worked on"):
        compact(Warehouse(filled.root))


def test_a_manifest_from_before_can_be_packed(filled, as_before):
    before = everything(filled)["scan"]
    as_before(filled.root / MANIFEST)
    old = Warehouse(filled.root)
    assert [entry.segment for entry in old.entries()] == [None] * 11
    assert compact(old).segments == [], "of files without digests it is not known whether they are whole"
    assert sorted(old.scan("predictions", everything=True).collect().rows()) >= sorted(before)


_KILLED = """
import os, signal, sys
from pathlib import Path
from xlwh.store import Warehouse, files
from xlwh.store.compaction import compact
warehouse, left = Warehouse(Path(sys.argv[1])), int(sys.argv[2])

def counted(work):
    def call(*given, **named):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*given, **named)
    return call

files.sync = counted(files.sync)
manifest = type(warehouse.manifest)
manifest.pack, manifest._have_stored = counted(manifest.pack), counted(manifest._have_stored)
warehouse.build_catalogue = counted(warehouse.build_catalogue)
compact(warehouse)
"""


@pytest.mark.parametrize("at", range(1, 9))
def test_killed_at_any_moment_it_goes_on(filled, at):
    """Before each of the calls by which files get names and the commit is made, and before the catalogue is."""
    before = everything(filled)
    process = subprocess.run(
        [sys.executable, "-c", _KILLED, str(filled.root), str(at)], check=False, capture_output=True
    )
    assert process.returncode == -9, process.stderr.decode()
    assert everything(filled) == before
    pack(filled)
    assert everything(filled) == before
    assert [f.kind for f in filled.check(deep=True) if f.kind not in ("orphan_file", "stale_catalogue")] == []
