"""What a planner takes in of a changing warehouse, and what it keeps."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import large_study
import pytest

from xlwh.errors import CorpusError, XlwhError
from xlwh.steps import plans
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, partitions
from xlwh.steps.planning import NotApplicable, Planner
from xlwh.store import Entry, Slot
from xlwh.store.manifest import NewFile

EXAMPLES = Key(dataset="d0", language="aa")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    large_study.fill(large_study.context(large_study.write(folder, 2, 2, 2), folder / "warehouse"))
    return folder


@pytest.fixture
def context(filled: Path, tmp_path: Path) -> Context:
    """The study over a copy of its warehouse."""
    shutil.copytree(filled, tmp_path / "large", copy_function=os.link)
    # What is written to is to be a copy.
    for name in ("manifest.sqlite", "manifest.journal"):
        (tmp_path / "large" / "warehouse" / name).unlink()
        shutil.copy(filled / "warehouse" / name, tmp_path / "large" / "warehouse" / name)
    return large_study.context(tmp_path / "large" / "study.toml", tmp_path / "large" / "warehouse")


def _told(planner: Planner) -> dict[tuple[str, Key], object]:
    """What a planner says of every partition."""
    found: dict[tuple[str, Key], object] = {}
    for step in STEPS.values():
        for key in partitions(planner.study, step):
            try:
                jobs, written = planner.jobs(step, key), planner.written(step, key)
                assert all(written.values()) == all(map(planner.is_fresh, jobs))
                made = {slot: each.fingerprint for each in jobs for slot in each.job.slots.values()}
                assert made.keys() == written.keys()
                says: object = made, written
            except (NotApplicable, XlwhError) as error:
                says = type(error), str(error)
            found[step.name, key] = says, planner.names(step, key), planner.lacks_inputs(step, key)
    return found


def _anew(context: Context) -> Planner:
    planner = Planner(context.study, context.warehouse, context.zoo)
    planner.refresh()
    return planner


def _again(context: Context, entry: Entry, fingerprint: str | None = None) -> NewFile:
    """Another file of a slot with the same rows."""
    file = entry.file.replace(".parquet", f"{random.randrange(10**9)}.parquet")
    os.link(context.warehouse.root / entry.file, context.warehouse.root / file)
    mark = fingerprint or entry.fingerprint
    return large_study.linked(entry, file, mark)


def test_after_any_commits_a_planner_says_what_a_new_one_says(context: Context) -> None:
    planner, manifest = context.planner, context.warehouse.manifest
    assert _told(planner) == _told(_anew(context))
    random.seed(5)
    for _ in range(12):
        entries = manifest.snapshot().entries
        chosen = random.sample(entries, 4)
        put = [_again(context, chosen[0]), _again(context, chosen[1], "0" * 32)]
        manifest.commit(put=put, drop=[chosen[2].slot])
        manifest.set_scope([chosen[3]])
        if random.random() < 0.5:
            continue  # several commits are taken in at once
        planner.refresh()
        assert planner.head == manifest.head()
        assert _told(planner) == _told(_anew(context))
        assert {t: sorted(planner.entries(t), key=lambda e: e.slot) for t in ("tokens", "perturbations")} == {
            t: context.warehouse.entries(t) for t in ("tokens", "perturbations")
        }


def test_a_commit_forgets_what_rests_on_it_and_nothing_else(context: Context) -> None:
    planner, manifest = context.planner, context.warehouse.manifest
    _told(planner)
    before = planner.plans.known()
    entry = context.warehouse.current(Slot("tokens", ("m000", "aa"), "d0"))
    assert entry is not None
    manifest.commit(put=[_again(context, entry)])
    planner.refresh()
    # Nothing is made from tokens here.
    assert before == planner.plans.known()
    entry = context.warehouse.current(Slot("predictions", ("m000", "ab"), "d1"))
    assert entry is not None
    manifest.commit(put=[_again(context, entry)])
    planner.refresh()
    gone = {(name, str(key)) for name, key in before.keys() - planner.plans.known().keys()}
    assert gone == {("attributions", "m000 × ab"), ("perturbations", "m000 × ab")}


def test_the_manifest_of_an_earlier_time_is_taken_in_whole(context: Context, tmp_path: Path) -> None:
    manifest = context.warehouse.root / "manifest.sqlite"
    shutil.copy(manifest, tmp_path / "earlier")
    context.warehouse.drop([Slot("tokens", ("m000", "aa"), "d0"), Slot("models", ("m001",))])
    _told(context.planner)
    for file in context.warehouse.root.glob("manifest.sqlite*"):
        file.unlink()
    shutil.copy(tmp_path / "earlier", manifest)
    context.planner.refresh()
    assert _told(context.planner) == _told(_anew(context))


def test_a_file_of_the_users_that_appears_reaches_what_rests_on_it(context: Context) -> None:
    planner, step = context.planner, STEPS["examples"]
    file = context.study.folder / "data" / "d0" / "dev-aa.tsv"
    away = file.rename(file.with_suffix(".away"))
    with pytest.raises(CorpusError):
        planner.jobs(step, EXAMPLES)
    with pytest.raises(CorpusError):
        planner.jobs(STEPS["attributions"], Key("m000", language="aa"))
    away.rename(file)
    context.warehouse.drop([Slot("tokens", ("m000", "aa"), "d0")])
    planner.refresh()
    with pytest.raises(CorpusError):
        planner.jobs(STEPS["attributions"], Key("m000", language="aa"))
    assert planner.jobs(step, EXAMPLES, again=True)
    assert _told(planner) == _told(_anew(context))


def test_a_partition_that_comes_out_otherwise_reaches_what_rests_on_it(context: Context) -> None:
    planner, step = context.planner, STEPS["examples"]
    _told(planner)
    before = planner.plans.known()
    planner.jobs(step, EXAMPLES, again=True)
    assert planner.plans.known().keys() == before.keys()
    assert all(
        planner.plans.known()[name] is plan for name, plan in before.items() if name != ("examples", EXAMPLES)
    )
    (context.study.folder / "data" / "d0" / "dev-aa.tsv").unlink()
    (context.study.folder / "data" / "d0" / "dev-aa.tsv").write_text("other one\tother two\tneutral\n")
    planner.jobs(step, EXAMPLES, again=True)
    assert _told(planner) == _told(_anew(context)) != {}
    assert not all(planner.written(step, EXAMPLES).values())


def test_jobs_that_were_let_go_are_found_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = _told(context.planner)
    monkeypatch.setattr(plans, "_KEPT", 3)
    planner = _anew(context)
    assert _told(planner) == kept == _told(planner)
    complete = [plan for plan in planner.plans.known().values() if plan.jobs]
    assert 0 < len(complete) <= 3


def test_one_error_can_be_raised_any_number_of_times(context: Context) -> None:
    lengths = set()
    for _ in range(5):
        with pytest.raises(NotApplicable) as caught:
            context.planner.jobs(STEPS["lexicon"], Key(language="aa"))
        lengths.add(len(caught.traceback))
    assert len(lengths) == 1


def test_planning_opens_the_manifest_a_few_times_for_all_partitions(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, genuine = [], sqlite3.connect

    def connect(path: Path, *arguments: object, **options: object) -> sqlite3.Connection:
        opened.append(Path(path).name.partition("?")[0])
        return genuine(path, *arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)
    _told(context.planner)
    assert opened.count("manifest.sqlite") == 3


def test_a_planner_that_was_told_nothing_looks_first(context: Context) -> None:
    planned = context.planner.jobs(STEPS["tokens"], Key("m000", language="aa"))
    assert all(map(context.planner.is_fresh, planned))
    assert replace(planned[0].job, name="other").slots == planned[0].job.slots
