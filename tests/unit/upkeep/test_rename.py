"""A model or a dataset under another key: rows and freshness are kept, whatever happens on the way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from two_models import CONVERTED, Bench

from xlwh.digests import sha256
from xlwh.errors import HeldError, StoreError
from xlwh.steps.base import no_progress
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, partitions
from xlwh.steps.runner import fresh
from xlwh.store import Slot, empty, gc
from xlwh.store.claims import RENAME
from xlwh.store.manifest import ConflictError, NewFile
from xlwh.store.rewrite import Pending
from xlwh.upkeep import rename, scope
from xlwh.upkeep.names import renamed_study
from xlwh.upkeep.rename import Renamer


@pytest.fixture
def bench(tmp_path: Path, checkpoint: Callable[..., Path]) -> Bench:
    return Bench(tmp_path, checkpoint("roberta"))


def under(context: Context, what: str, old: str, new: str) -> Context:
    """The same warehouse with the study that says the new key."""
    study = renamed_study(context.study, what, old, new)
    zoo = type(context.zoo)(study, context.warehouse, device="cpu")
    return Context(study, context.warehouse, zoo)


def stale(context: Context) -> list[str]:
    context.planner.refresh()
    return [
        f"{name} {key}"
        for name in CONVERTED
        for key in partitions(context.study, STEPS[name])
        if fresh(STEPS[name], context, key) is None
    ]


def contents(context: Context) -> dict[str, pl.DataFrame]:
    root = context.warehouse.root
    return {str(e.slot): pl.read_parquet(root / e.file) for e in context.warehouse.entries()}


@pytest.mark.parametrize(("what", "old"), [("model", "a"), ("dataset", "nli")])
def test_all_is_fresh_under_the_new_key_and_rows_are_the_same(bench, what, old):
    made = bench.make(bench.context())
    before, head = contents(made), made.warehouse.manifest.head()
    after = under(made, what, old, "new.key")
    assert stale(after)
    entries = Renamer(after.study, made.warehouse, what, old, "new.key").run(no_progress)
    assert made.warehouse.manifest.head() == head + 1
    assert {entry.commit for entry in entries} == {head + 1}
    assert stale(after) == []
    now = contents(after)
    assert len(now) == len(before)
    for name, frame in now.items():
        former = name.replace("new.key", old)
        assert frame.height == before[former].height
        renamed = pl.col(what).replace("new.key", old) if what in frame.columns else pl.lit(0).alias("x")
        assert frame.with_columns(renamed).select(frame.columns).equals(before[former])
    assert not any(old in frame[what].unique() for frame in now.values() if what in frame.columns)
    assert made.warehouse.check()[0].kind == "stale_catalogue"
    made.warehouse.build_catalogue()
    # What is superseded is no fault.
    assert made.warehouse.check(deep=True) == []


def test_gc_takes_nothing_of_a_renaming_however_long_it_takes(bench, monkeypatch):
    made = bench.make(bench.context())
    after, genuine = under(made, "model", "a", "new"), Pending.publish

    def publish(pending):
        for path in made.warehouse.root.rglob("*"):
            os.utime(path, (time.time() - 1e6,) * 2)
        made.warehouse.gc(timedelta(0))
        return genuine(pending)

    monkeypatch.setattr(Pending, "publish", publish)
    monkeypatch.setattr(gc, "_beginning", lambda *_: datetime.min.replace(tzinfo=UTC))
    Renamer(after.study, made.warehouse, "model", "a", "new").run(no_progress)
    assert [each.kind for each in made.warehouse.check(deep=True)] == ["stale_catalogue"]
    with made.warehouse.claims.hold(RENAME), pytest.raises(HeldError, match="rename"):
        Renamer(made.study, made.warehouse, "model", "new", "a").run(no_progress)


def test_back_again_gives_the_same_fingerprints(bench):
    made = bench.make(bench.context())
    before = {str(entry.slot): entry.fingerprint for entry in made.warehouse.entries()}
    after = under(made, "dataset", "nli", "new")
    Renamer(after.study, made.warehouse, "dataset", "nli", "new").run(no_progress)
    Renamer(made.study, made.warehouse, "dataset", "new", "nli").run(no_progress)
    assert {str(entry.slot): entry.fingerprint for entry in made.warehouse.entries()} == before


def test_what_was_stale_stays_stale_and_what_reads_it_too(bench):
    made = bench.make(bench.context())
    path = bench.folder / "nli" / "dev-en.tsv"
    path.write_text(path.read_text() + "more\ttext\tneutral\n")
    again = bench.context()
    left = {name.replace("nli", "new") for name in stale(again)}
    assert left
    after = under(again, "dataset", "nli", "new")
    Renamer(after.study, made.warehouse, "dataset", "nli", "new").run(no_progress)
    assert set(stale(under(again, "dataset", "nli", "new"))) == left


def test_what_the_study_does_not_name_is_renamed_too(bench):
    made = bench.make(bench.context())
    made.warehouse.write({Slot("head_importance", ("a", "fr"), "nli"): empty("head_importance")}, "read")
    after = under(made, "model", "a", "new")
    Renamer(after.study, made.warehouse, "model", "a", "new").run(no_progress)
    entry = made.warehouse.current(Slot("head_importance", ("new", "fr"), "nli"))
    assert entry.fingerprint == "read"
    assert made.warehouse.current(Slot("head_importance", ("a", "fr"), "nli")) is None


def test_moves_are_listed_and_nothing_is_written(bench):
    made = bench.make(bench.context())
    before, head = contents(made), made.warehouse.manifest.head()
    after = under(made, "model", "a", "new")
    moves = Renamer(after.study, made.warehouse, "model", "a", "new").moves()
    assert {str(move.entry.slot) for move in moves} == {name for name in before if "model=a" in name}
    assert all(move.up_to_date for move in moves)
    assert made.warehouse.manifest.head() == head


@pytest.mark.parametrize("at", [1, 5])
def test_a_run_that_dies_has_changed_nothing(bench, monkeypatch, at):
    made = bench.make(bench.context())
    before = {str(entry.slot): entry.file for entry in made.warehouse.entries()}
    after = under(made, "model", "a", "new")
    genuine, calls = rename.rewrite, []

    def dying(*args):
        calls.append(args)
        if len(calls) == at:
            raise KeyboardInterrupt
        return genuine(*args)

    monkeypatch.setattr(rename, "rewrite", dying)
    with pytest.raises(KeyboardInterrupt):
        Renamer(after.study, made.warehouse, "model", "a", "new").run(no_progress)
    assert {str(entry.slot): entry.file for entry in made.warehouse.entries()} == before
    monkeypatch.undo()
    Renamer(after.study, made.warehouse, "model", "a", "new").run(no_progress)
    assert not any("model=a" in str(entry.slot) for entry in made.warehouse.entries())


def test_what_another_process_changed_meanwhile_is_not_lost(bench, monkeypatch):
    made = bench.make(bench.context())
    after = under(made, "model", "a", "new")
    slot = Slot("tokens", ("a", "en"), "nli")
    genuine = Pending.publish

    def late(self):
        made.warehouse.write({slot: empty("tokens")}, "other")
        return genuine(self)

    monkeypatch.setattr(Pending, "publish", late)
    files = set(made.warehouse.root.rglob("*.parquet"))
    with pytest.raises(ConflictError):
        Renamer(after.study, made.warehouse, "model", "a", "new").run(no_progress)
    assert made.warehouse.current(slot).fingerprint == "other"
    assert set(made.warehouse.root.rglob("*.parquet")) - files == {
        made.warehouse.root / made.warehouse.current(slot).file
    }


def test_nothing_is_removed_of_a_commit_that_was_made_when_something_failed(bench, monkeypatch):
    made = bench.make(bench.context())
    genuine = Pending.publish

    def lost(self):
        genuine(self)
        raise StoreError("The commit is made, but its record is not.")

    monkeypatch.setattr(Pending, "publish", lost)
    with pytest.raises(StoreError, match="The commit is made"):
        Renamer(under(made, "model", "a", "new").study, made.warehouse, "model", "a", "new").run(no_progress)
    assert any("model=new" in str(entry.slot) for entry in made.warehouse.entries())
    assert {finding.kind for finding in made.warehouse.check(deep=True)} <= {"stale_catalogue", "orphan_file"}


def test_refusals(bench):
    made = bench.make(bench.context(), "examples")
    with pytest.raises(StoreError, match="still says `a`"):
        Renamer(made.study, made.warehouse, "model", "a", "new")
    with pytest.raises(StoreError, match="no model `new`"):
        Renamer(made.study, made.warehouse, "model", "gone", "new")
    after = under(made, "dataset", "nli", "new")
    renamer = Renamer(after.study, made.warehouse, "dataset", "nli", "new")
    held = made.warehouse.staging([Slot("examples", ("nli", "en"), "dev")], "f")
    with held, pytest.raises(StoreError, match="is being worked on by process"):
        renamer.run(no_progress)
    with pytest.raises(StoreError, match="Nothing is stored of model `a`"):
        Renamer(under(made, "model", "a", "new").study, made.warehouse, "model", "a", "new").run(no_progress)
    with pytest.raises(StoreError, match="4 files of dataset `second` already"):
        Renamer(made.study, made.warehouse, "dataset", "third", "second")


def test_what_was_renamed_already_is_done(bench):
    """As after a run that was killed when it had committed."""
    made = bench.make(bench.context(), "examples")
    after = under(made, "dataset", "nli", "new")
    assert not Renamer(after.study, made.warehouse, "dataset", "nli", "new").is_done
    Renamer(after.study, made.warehouse, "dataset", "nli", "new").run(no_progress)
    assert Renamer(after.study, made.warehouse, "dataset", "nli", "new").is_done


def test_hidden_files_are_shown_where_the_study_names_the_new_key(bench):
    made = bench.make(bench.context())
    after = under(made, "model", "a", "new")
    scope.renew(after.planner)
    assert made.warehouse.hidden()
    Renamer(after.study, made.warehouse, "model", "a", "new").run(no_progress)
    scope.renew(after.planner)
    assert made.warehouse.hidden() == []


def test_a_checkpoint_that_was_made_here_moves_with_its_row(bench):
    """As long as the step of models has no plan, its rows keep their fingerprint."""
    made = bench.make(bench.context(), "examples")
    types = empty("models").schema
    mark = "0123456789abcdef0123456789abcdef"
    folder = made.warehouse.root / "models" / "a" / mark[:16]
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("weights")
    row = dict.fromkeys(types) | {
        "model": "a", "kind": "finetuned", "source": "b", "recipe": '{"base": "b", "dataset": "nli"}',
        "weight_hash": sha256([folder / "model.safetensors"]),
    }  # fmt: skip
    (made.warehouse.root / "tables/models/model=a").mkdir(parents=True)
    file = "tables/models/model=a/all-x.parquet"
    pl.DataFrame([row], schema=types).write_parquet(made.warehouse.root / file)
    path = made.warehouse.root / file
    stored = NewFile(Slot("models", ("a",)), file, mark, 1, path.stat().st_size, 4, sha256([path]))
    made.warehouse.manifest.commit([stored])
    after = under(made, "model", "a", "new")
    # No digests: its row says which weights it has.
    before = made.warehouse.manifest.head()
    (folder / "model.safetensors").write_text("veights")
    with pytest.raises(StoreError, match=r"model\.safetensors of model `a` is damaged: .* Run: xlwh repair"):
        Renamer(after.study, made.warehouse, "model", "a", "new").run(no_progress)
    assert made.warehouse.manifest.head() == before
    assert not (made.warehouse.root / "models" / "new").exists()
    (folder / "model.safetensors").write_text("weights")
    entries = Renamer(after.study, made.warehouse, "model", "a", "new").run(no_progress)
    entry = next(entry for entry in entries if entry.slot.table == "models")
    moved = made.warehouse.root / "models" / "new" / entry.fingerprint[:16]
    assert (moved / "model.safetensors").read_text() == "weights"
    again = under(after, "model", "b", "base")
    Renamer(again.study, made.warehouse, "model", "b", "base").run(no_progress)
    found = made.warehouse.scan("models").collect().row(0, named=True)
    assert (found["model"], found["source"]) == ("new", "base")
    assert found["recipe"] == '{"base": "base", "dataset": "nli"}'
