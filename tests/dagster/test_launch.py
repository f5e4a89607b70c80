"""Materialising in one process: order, few runs, failures, what Dagster remembers, and what a kill leaves."""

from __future__ import annotations

import subprocess
import sys
import uuid

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from pretend_gpu import visible_gpus

from dagster_project import definitions, launch, resources, turns
from dagster_project.definitions import build
from dagster_project.instance import OWNER_TAG, close_runs_of_the_dead, instance_of, prepare_home
from dagster_project.launch import Launcher, blocks
from dagster_project.resources import RANGE_END, RANGE_START, WORKERS_TAG, Staff
from xlwh.errors import HeldError, XlwhError
from xlwh.models import devices
from xlwh.steps.base import Key, StepResult, not_applicable
from xlwh.steps.crew import alone
from xlwh.steps.plan import STEPS, Outcome, partitions, step_of
from xlwh.steps.workers import Workers
from xlwh.store import Slot
from xlwh.store.locks import this_process
from xlwh.tables import TABLES


class Watch:
    """A display that remembers."""

    def __init__(self):
        self.ended, self.views, self.reports, self.notes = [], [], [], []

    def begin(self, step, keys):
        return None

    def progress(self, step, key):
        return lambda what, done, total: self.reports.append((what, done, total))

    def note(self, text):
        self.notes.append(text)

    def end(self, outcome):
        self.ended.append(outcome)

    def keeping(self, name, done, total):
        return None

    def view(self, name, rows, duration_s):
        self.views.append((name, rows))


def _everything(study, *names):
    return {STEPS[name]: set(partitions(study, STEPS[name])) for name in names or STEPS}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], []),
        (["base en"], [("base en", "base en")]),
        (["base en", "base de", "tuned en", "tuned de"], [("base en", "tuned de")]),
        (["base en", "base sw"], [("base en", "base en"), ("base sw", "base sw")]),
        (["base en", "other en"], [("base en", "base en"), ("other en", "other en")]),
        (["base en", "base de", "tuned en"], [("base en", "base de"), ("tuned en", "tuned en")]),
    ],
)
def test_blocks_cover_just_the_partitions(study, keys, expected):
    def key(text):
        model, language = text.split()
        return Key(model, language=language)

    found = blocks(study, STEPS["tokens"], {key(text) for text in keys})
    assert sorted(found, key=str) == sorted(((key(a), key(b)) for a, b in expected), key=str)


def test_blocks_in_one_dimension_and_in_none(study):
    assert blocks(study, STEPS["models"], {Key("base"), Key("other")}) == [
        (Key("base"), Key("base")),
        (Key("other"), Key("other")),
    ]
    assert blocks(study, STEPS["models"], {Key("base"), Key("tuned")}) == [(Key("base"), Key("tuned"))]
    assert blocks(study, STEPS["published_results"], {Key()}) == [(Key(), Key())]


def test_everything_in_one_run_per_kind_of_partition(study, root, fake):
    watch = Watch()
    launcher = Launcher(study, root, watch)
    launcher.launch(_everything(study), ["task_scores", "ccta"])
    assert launcher.problems == launcher.warnings == []
    assert all(outcome.error is None for outcome in launcher.outcomes)
    assert {(o.step.name, o.key) for o in launcher.outcomes} == {
        (step.name, key) for step, keys in _everything(study).items() for key in keys
    }
    assert sorted(name for name, _ in watch.views) == ["ccta", "task_scores"]
    assert ("working", 1, 2) in watch.reports
    assert fake.keys("models") == [Key("base"), Key("tuned"), Key("other")]
    order = [name for name, *_ in fake.ran]
    assert order.index("predictions") < order.index("attributions") < order.index("ccta_pairs")

    with instance_of(root) as (instance, _):
        runs = instance.get_runs()
        assert len(runs) == 8
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        wanted = dg.AssetRecordsFilter(dg.AssetKey("tokens"), asset_partitions=["sw|tuned", "en|tuned"])
        found = instance.fetch_materializations(wanted, limit=2)
        told = {r.asset_materialization.partition: r.asset_materialization.metadata for r in found.records}
        assert set(told) == {"en|tuned"}
        [empty] = instance.fetch_observations(wanted, limit=2).records
        said = empty.asset_observation
        assert (said.partition, said.metadata["status"].value) == ("sw|tuned", "not applicable")
        assert said.metadata["reason"].value == "no such data"
        assert said.description == "not applicable: no such data"
        assert told["en|tuned"]["status"].value == "written"
        assert told["en|tuned"]["examples per second"].value == 4
        assert told["en|tuned"]["worker"].value == this_process()
        assert told["en|tuned"]["shares"].value == {"a": 0.5}


def test_a_green_cell_means_that_something_is_stored(study, root, fake):
    Launcher(study, root, Watch()).launch(_everything(study), ["task_scores", "published_vs_measured"])
    cells = {f"{lang}|{m}" for m in ("base", "tuned", "other") for lang in ("en", "de")}
    with instance_of(root) as (instance, _):

        def green(asset):
            return instance.get_materialized_partitions(dg.AssetKey(asset))

        for name in ("tokens", "predictions", "token_attributions", "ccta_pairs", "head_samples"):
            assert green(name) == cells, name
        # Written by the same step as `predictions`, for tasks that this study does not have.
        assert green("answer_spans") == green("translations") == set()
        assert green("models") == {"base", "tuned", "other"}
        # A view without rows is no result either.
        assert instance.get_latest_materialization_event(dg.AssetKey("task_scores")) is None
        for name in TABLES:
            assert (
                bool(green(name)) == (name not in ("answer_spans", "translations"))
                or not STEPS[step_of(name).name].dimensions
            )


def test_what_needs_no_run_says_why_once(study, root, fake):
    """A step none of whose partitions applies is in no run; nor is a partition that is new beside fresh ones.

    There are many of the former in a study: of them the table as a whole says it.
    """
    tokens, models = STEPS["tokens"], STEPS["models"]
    absent = [Outcome(tokens, Key(m, language="sw"), not_applicable(f"no {m}")) for m in ("base", "tuned")]
    absent.append(Outcome(models, Key("other"), not_applicable("nothing to train")))
    probes = partitions(study, STEPS["attribution_probes"])
    absent += [
        Outcome(STEPS["attribution_probes"], key, not_applicable("no such data" if n else "no labels"))
        for n, key in enumerate(probes)
    ]
    fresh = Outcome(tokens, Key("base", language="en"), StepResult("fresh", 10))
    todo = {STEPS["published_results"]: {Key()}}

    def told(asset):
        with instance_of(root) as (instance, _):
            records = instance.fetch_observations(dg.AssetKey(asset), limit=50).records
            return sorted((r.asset_observation.partition, r.asset_observation.description) for r in records)

    first = [("sw|base", "not applicable: no base"), ("sw|tuned", "not applicable: no tuned")]
    for _ in range(2):
        Launcher(study, root, Watch()).launch(todo, [], [*absent, fresh])
        assert told("tokens") == first
        assert told("models") == [("other", "not applicable: nothing to train")]
        reasons = f"not applicable: no such data ({len(probes) - 1}); no labels (1)"
        assert told("attribution_probes") == [(None, reasons)]
    # What was made meanwhile, and does not apply any more, says so again.
    back = Key("base", language="en")
    gone = Outcome(tokens, back, not_applicable("gone"))
    for _ in range(2):
        Launcher(study, root, Watch()).launch({tokens: {back}}, [])
        Launcher(study, root, Watch()).launch(todo, [], [*absent, gone])
        Launcher(study, root, Watch()).launch(todo, [], [*absent, gone])
    assert told("tokens") == [("en|base", "not applicable: gone")] * 2 + first


def test_runs_of_the_interface_have_the_same_cells(study, root, fake):
    """Started without this project's launcher, as the web interface does it."""
    job = build(study, root).resolve_implicit_global_asset_job_def()
    with dg.instance_for_test() as instance:
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(name) for name in ("tokens", "predictions", "answer_spans")]
            + [dg.AssetKey("translations")],
            tags={RANGE_START: "en|base", RANGE_END: "sw|other"},
        )
        assert result.success
        # What does not apply keeps nobody from what does: the step after it ran.
        assert len(fake.keys("predictions")) == 9
        for name in ("tokens", "predictions"):
            green = instance.get_materialized_partitions(dg.AssetKey(name))
            assert green == {f"{lang}|{m}" for m in ("base", "tuned", "other") for lang in ("en", "de")}
        assert instance.get_materialized_partitions(dg.AssetKey("translations")) == set()


def test_the_log_of_a_run_says_what_became_of_each_partition(study, root, fake):
    results = {
        "en": StepResult("fresh", 4000),
        "de": StepResult("written", 2500, duration_s=1.5),
        "sw": not_applicable("no such data"),
    }
    fake.results = {Key("base", language=language): result for language, result in results.items()}
    job = build(study, root).resolve_implicit_global_asset_job_def()
    with dg.instance_for_test() as instance:
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("tokens")],
            tags={RANGE_START: "en|base", RANGE_END: "sw|base"},
        )
        told = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert [line for line in told if line.startswith("tokens base")] == [
        "tokens base × en: fresh, 4,000 rows kept",
        f"tokens base × de: written, 2,500 rows, 1.5 s, {this_process()}",
        "tokens base × sw: not applicable (no such data)",
    ]


def test_one_partition_that_fails(study, root, fake):
    broken = Key("tuned", language="de")
    fake.failing["predictions", broken] = XlwhError("no room")
    watch = Watch()
    launcher = Launcher(study, root, watch)
    todo = _everything(study, "tokens", "predictions", "attributions", "ccta_pairs")
    launcher.launch(todo, [])
    failed = {(o.step.name, o.key): o for o in launcher.outcomes if o.error is not None}
    assert set(failed) == {("predictions", broken), ("attributions", broken), ("ccta_pairs", broken)}
    assert str(failed["predictions", broken].error) == "no room"
    assert [failed[name, broken].blocked for name in ("predictions", "attributions", "ccta_pairs")] == [
        False,
        True,
        True,
    ]
    assert "waits for predictions tuned × de" in str(failed["attributions", broken].error)
    assert broken not in fake.keys("attributions")
    assert len(fake.keys("attributions")) == 8
    assert launcher.problems == []
    with instance_of(root) as (instance, _):
        for asset, missing in (
            ("tokens", set()),
            ("predictions", {"de|tuned"}),
            ("ccta_pairs", {"de|tuned"}),
        ):
            made = instance.get_materialized_partitions(dg.AssetKey(asset))
            cells = {f"{lang}|{m}" for m in ("base", "tuned", "other") for lang in ("en", "de")}
            assert cells - made == missing
        status = {run.status for run in instance.get_runs()}
        assert dg.DagsterRunStatus.FAILURE in status


def test_a_bug_in_a_step_is_reported_and_leaves_the_others(study, root, fake):
    fake.failing["models", Key("base")] = ZeroDivisionError("oops")
    launcher = Launcher(study, root, Watch())
    launcher.launch(_everything(study, "models"), [])
    errors = {str(o.key): o.error for o in launcher.outcomes}
    assert isinstance(errors["base"].__cause__, ZeroDivisionError)
    assert "ZeroDivisionError: oops" in str(errors["base"])
    assert errors["tuned"] is None
    assert errors["other"] is None


def test_what_fails_outside_the_steps_is_a_problem(study, root, fake, monkeypatch):
    def broken(self):
        raise XlwhError("view x does not parse")

    monkeypatch.setattr("xlwh.store.Warehouse.build_catalogue", broken)
    launcher = Launcher(study, root, Watch())
    launcher.launch(_everything(study, "published_results"), [])
    assert len(launcher.problems) == 1
    assert "view x does not parse" in launcher.problems[0]


def test_dagsters_lost_connection_says_what_to_do(study, root, fake, monkeypatch):
    def broken(self):
        raise type("OperationalError", (Exception,), {"__module__": "psycopg2"})(
            "server closed\n\tthe connection"
        )

    monkeypatch.setattr("xlwh.store.Warehouse.build_catalogue", broken)
    launcher = Launcher(study, root, Watch())
    launcher.launch(_everything(study, "published_results"), [])
    [told] = launcher.problems
    assert "was lost (psycopg2.OperationalError: server closed the connection). What was made" in told
    assert told.endswith("the same command goes on.")


def test_the_pool_has_room_for_runs_that_name_other_gpus(root, monkeypatch):
    def limit_after(asked):
        monkeypatch.setenv(devices.VARIABLE, asked)
        tags = turns.make_room(instance)
        info = instance.event_log_storage.get_concurrency_info("gpu")
        return info.limit, tags.get(turns.NAMED_TAG)

    with instance_of(root) as (instance, _), visible_gpus(4):
        assert limit_after("auto") == (1, None)
        assert limit_after("cuda:2") == (4, "cuda:2")
        assert limit_after("cuda:2,cuda:3") == (2, "cuda:2,cuda:3")
        assert limit_after("auto") == (1, None)
        # Beside a run that takes all of them there is no room.
        other = str(uuid.uuid4())
        create_run_for_test(instance, run_id=other)
        assert instance.event_log_storage.claim_concurrency_slot("gpu", other, "predictions").is_claimed
        assert limit_after("cuda:2") == (1, "cuda:2")


def test_who_waits_for_the_accelerator_says_so(study, root, fake, monkeypatch):
    for module in (definitions, launch):
        monkeypatch.setattr(module, "take_turns", lambda workers: True)
    other = str(uuid.uuid4())

    class Freeing(Watch):
        """Gives the accelerator back once somebody says that they wait for it."""

        def note(self, text):
            super().note(text)
            with instance_of(root) as (instance, _):
                instance.event_log_storage.free_concurrency_slots_for_run(other)

    with instance_of(root) as (instance, _):
        create_run_for_test(instance, run_id=other, tags={turns.BY_TAG: "process 1 on host x"})
        instance.event_log_storage.initialize_concurrency_limit_to_default("gpu")
        assert instance.event_log_storage.claim_concurrency_slot("gpu", other, "predictions").is_claimed
        watch = Freeing()
        key = Key("base", language="en")
        launcher = Launcher(study, root, watch)
        launcher.launch({STEPS["tokens"]: {key}, STEPS["predictions"]: {key}}, [])
        assert [outcome.error for outcome in launcher.outcomes] == [None, None]
        [note] = watch.notes
        assert note.startswith(f"Waits for run {other[:8]} of process 1 on host x: it has the accelerator")
        assert {run.tags.get(turns.BY_TAG) for run in instance.get_runs()} == {
            "process 1 on host x",
            this_process(),
        }


def test_what_others_make_is_left_out_with_what_needs_it_where_it_is_not_waited_for(study, root, fake):
    held, other = Key("base", language="en"), Key("other", language="en")
    slot = Slot("tokens", ("base", "en"), "d1")
    fake.failing["predictions", held] = HeldError("held", "process 1 on host x", slot)
    launcher = Launcher(study, root, Watch(), waits=False)
    todo = {STEPS[name]: {held, other} for name in ("tokens", "predictions", "attributions")}
    launcher.launch(todo, [])
    told = {(o.step.name, o.key): o.result for o in launcher.outcomes}
    reasons = {name: result.reason for name, result in told.items() if result.status == "held"}
    assert reasons == {
        ("predictions", held): "process 1 on host x is making it",
        ("attributions", held): "waits for predictions base × en; process 1 on host x is making it",
    }
    assert launcher.problems == []
    assert held not in fake.keys("attributions")
    with instance_of(root) as (instance, _):
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}
        assert instance.get_materialized_partitions(dg.AssetKey("predictions")) == {"en|other"}


def test_runs_of_the_interface_follow_the_setting_and_their_own_tag(study, root, fake, monkeypatch):
    hired, ended = [], []

    class Crew:
        make = staticmethod(alone)

        def __init__(self, workers):
            self.workers = workers

        def close(self):
            ended.append(self.workers)

    class Choice:
        number = 1

        def __init__(self, workers, zoo, models, side_by_side):
            self.workers, self.side_by_side = workers, side_by_side

        def hire(self, study, root):
            hired.append((self.workers, self.side_by_side))
            return Crew(self.workers)

    monkeypatch.setattr(resources, "choose", Choice)
    job = build(study, root, staff=Staff(Workers(3))).resolve_implicit_global_asset_job_def()

    def run(last, **tags):
        with dg.instance_for_test() as instance:
            result = job.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey("tokens")],
                tags={RANGE_START: "en|base", RANGE_END: last, **tags},
            )
            assert result.success

    run("en|base")
    assert hired == []  # one partition: this process
    run("de|base")
    run("sw|base")
    assert hired == [(Workers(3), 2)]  # kept from run to run
    # A cluster makes single partitions too: this machine may have no room for the model.
    run("en|base", **{WORKERS_TAG: "ray:head:6379"})
    assert hired[1:] == [(Workers(None, "head:6379"), 1)]
    assert ended == [Workers(3)]


def test_force_reaches_the_steps(study, root, fake):
    todo = {STEPS["tokens"]: {Key("base", language="en")}}
    Launcher(study, root, Watch(), force=True).launch(todo, [])
    assert fake.ran == [("tokens", Key("base", language="en"), True)]


def test_the_home_is_made_once_and_left_alone(root, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME")
    home = prepare_home(root)
    assert "enabled: false" in (home / "dagster.yaml").read_text()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n# mine\n")
    prepare_home(root)
    assert "# mine" in (home / "dagster.yaml").read_text()
    with instance_of(root) as (instance, _):
        assert not instance.telemetry_enabled
    assert list((home / "locks").iterdir()) == []


_CHILD = """
import os, sys
from pathlib import Path
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from pretend_gpu import visible_gpus

from dagster_project import definitions, launch, resources, turns
from dagster_project.definitions import build
from dagster_project.instance import instance_of
with instance_of(Path(sys.argv[1])) as (instance, tags):
    instance.create_run_for_job
    from dagster._core.test_utils import create_run_for_test
    run = create_run_for_test(instance, status=DagsterRunStatus.STARTED, tags=tags)
    os._exit(9)
"""


def test_runs_of_a_killed_process_are_closed(root):
    killed = subprocess.run([sys.executable, "-c", _CHILD, str(root)], check=False, cwd=sys.path[0] or None)
    assert killed.returncode == 9
    with instance_of(root) as (instance, tags):
        [run] = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.FAILURE
        assert run.tags[OWNER_TAG] != tags[OWNER_TAG]
        assert len(list((root / "dagster" / "locks").iterdir())) == 1
        # Ours is alive, for whoever looks from another process.
        from dagster._core.test_utils import create_run_for_test

        mine = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=tags)
        with instance_of(root):
            assert instance.get_run_by_id(mine.run_id).status is dg.DagsterRunStatus.STARTED


def test_a_run_that_has_ended_since_it_was_listed_is_left_as_it_is(root, monkeypatch):
    from dagster._core.test_utils import create_run_for_test

    with instance_of(root) as (instance, tags):
        run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=tags)
        listed = instance.get_runs()
        instance.delete_run(run.run_id)
        ended = create_run_for_test(
            instance, run_id=run.run_id, status=dg.DagsterRunStatus.SUCCESS, tags={OWNER_TAG: "gone"}
        )
        monkeypatch.setattr(
            instance,
            "get_runs",
            lambda filters: [each.with_tags({**each.tags, OWNER_TAG: "gone"}) for each in listed],
        )
        close_runs_of_the_dead(instance, root / "dagster" / "locks", None)
        assert instance.get_run_by_id(ended.run_id).status is dg.DagsterRunStatus.SUCCESS
