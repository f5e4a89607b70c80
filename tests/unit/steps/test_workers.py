"""Where partitions are made: the setting, what `auto` chooses, threads by model, and the order of a step's partitions."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from pretend_gpu import visible_gpus
from small_study import settings

from xlwh.demo import study_path
from xlwh.errors import HeldError, XlwhError
from xlwh.models import Zoo, devices, sizes, threads
from xlwh.models.sizes import Size
from xlwh.steps import ahead, bench, cluster, crew, deal, workers
from xlwh.steps.ahead import Ahead
from xlwh.steps.base import Key, StepResult
from xlwh.steps.deal import TRIES, Deal
from xlwh.steps.plan import STEPS, partitions
from xlwh.steps.processes import Processes
from xlwh.steps.workers import IN_PROCESS, Workers, choose
from xlwh.store import Slot, Warehouse
from xlwh.study import Study, load

DONE = StepResult("written")


@pytest.fixture
def study(tmp_path):
    return Study.model_validate(settings(tmp_path))


@pytest.fixture
def zoo(study, tmp_path):
    return Zoo(study, Warehouse(tmp_path / "warehouse", create=True), device="cpu")


@pytest.fixture
def machine(monkeypatch):
    """Set the cores, free memory and accelerator that are seen."""

    def is_(cores=4, free=64 * 10**9, accelerators=0):
        monkeypatch.setattr(threads, "cores", lambda: cores)
        monkeypatch.setattr(workers, "available", lambda: free)
        found = [str(number) for number in range(accelerators)]
        monkeypatch.setattr(workers, "accelerators", lambda zoo: found or None)
        monkeypatch.setenv(threads.VARIABLE, str(cores))

    is_()
    return is_


def test_the_setting_is_read_and_other_words_are_refused(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert Workers.parse("auto") == Workers(None)
    assert Workers.parse("in_process") == IN_PROCESS
    assert Workers.parse("processes:12") == Workers(12)
    assert Workers.parse("ray") == Workers(None, "")
    assert Workers.parse("ray:head:6379") == Workers(None, "head:6379")
    monkeypatch.setenv("RAY_ADDRESS", "there:1")
    assert Workers.parse("ray") == Workers(None, "there:1")
    for wrong in (
        "",
        "processes",
        "processes:0",
        "processes:-1",
        "processes:2.5",
        "processes:1000",
        "4",
        "ray:",
        "rays",
    ):
        with pytest.raises(
            XlwhError, match="in_process, processes:N, ray, ray:ADDRESS or auto, with N from 1 to 999"
        ):
            Workers.parse(wrong)


@pytest.mark.parametrize(
    ("seen", "side_by_side", "processes", "reason"),
    [
        ({}, 40, 4, "4 cores"),
        ({}, 3, 3, "4 cores"),
        ({}, 1, 0, "nothing to make side by side"),
        ({"cores": 1}, 40, 0, "one core"),
        ({"cores": 64}, 40, workers.MOST, "64 cores"),
        ({"free": 4 * 10**9}, 40, 2, "of 4.0 GB"),
        ({"free": 10**9}, 40, 0, "of 1.0 GB"),
        ({"free": None}, 40, 4, "4 cores"),
        ({"accelerators": 1}, 40, 0, "accelerator"),
        ({"accelerators": 4}, 40, 4, "4 processes, an accelerator each (4 accelerators)"),
    ],
)
def test_auto_takes_processes_where_they_help_and_fit(machine, zoo, seen, side_by_side, processes, reason):
    machine(**seen)
    choice = choose(Workers(None), zoo, ["base", "nli_en", "blank"], side_by_side)
    assert choice.number == processes
    assert reason in str(choice)


def test_auto_leaves_large_models_to_this_process(machine, zoo, monkeypatch):
    monkeypatch.setattr(zoo, "size", lambda model: Size(10**9, 10**9))
    assert choose(Workers(None), zoo, ["base"], 40).number == 0
    monkeypatch.setattr(
        zoo, "size", lambda model: Size(10**9, 10**9) if model == "base" else Size(10**6, 10**6)
    )
    assert choose(Workers(None), zoo, ["base", "pos"], 40).number == 4


def test_what_is_asked_for_is_done_but_not_on_an_accelerator(machine, zoo):
    assert str(choose(Workers(7), zoo, ["base"], 7)) == "Workers: 7 processes (as asked for)"
    assert choose(IN_PROCESS, zoo, ["base"], 40).number == 0
    machine(accelerators=1)
    assert choose(IN_PROCESS, zoo, ["base"], 40).number == 0
    with pytest.raises(XlwhError, match="of which there is 1 here"):
        choose(Workers(2), zoo, ["base"], 40)
    machine(accelerators=4)
    assert choose(Workers(2), zoo, ["base"], 40).devices == ("0", "1")
    with pytest.raises(XlwhError, match="Use processes:4"):
        choose(Workers(5), zoo, ["base"], 40)


def test_every_gpu_has_a_process_and_named_ones_are_those(study, tmp_path, monkeypatch):
    zoo = Zoo(study, Warehouse(tmp_path / "warehouse", create=True))
    monkeypatch.delenv(devices.VARIABLE, raising=False)
    with visible_gpus(4):
        choice = choose(Workers(None), zoo, ["base", "pos"], 40)
        assert (choice.number, choice.devices) == (4, ("0", "1", "2", "3"))
        assert workers.take_turns(Workers(None))
        monkeypatch.setenv(devices.VISIBLE, "4,5,6,GPU-7")
        monkeypatch.setenv(devices.VARIABLE, "cuda:1,cuda:3")
        assert choose(Workers(None), zoo, ["base"], 40).devices == ("5", "GPU-7")
        with pytest.raises(XlwhError, match="of which there are 2 here"):
            choose(Workers(3), zoo, ["base"], 40)
        monkeypatch.setenv(devices.VARIABLE, "cpu")
        assert choose(Workers(None), zoo, ["base"], 40).devices == ()
        assert not workers.take_turns(Workers(None))
    # Asked for in so many words, and not there.
    monkeypatch.setenv(devices.VARIABLE, "cuda")
    with visible_gpus(0), pytest.raises(XlwhError, match="finds no GPU"):
        choose(Workers(None), zoo, ["base"], 40)


def test_a_cluster_is_asked_for_as_many_workers_as_there_are_partitions(machine, zoo, monkeypatch):
    choice = choose(Workers.parse("ray:10.0.0.1:6379"), zoo, ["base"], 40)
    assert (choice.number, choice.cores, choice.ray) == (40, 1, "10.0.0.1:6379")
    assert str(choice) == "Workers: on the Ray cluster at 10.0.0.1:6379 (as asked for)"
    monkeypatch.setattr(zoo, "size", lambda model: Size(10**9, 10**9))
    assert choose(Workers.parse("ray"), zoo, ["base"], 1).cores == 4


def test_ray_deals_out_gpus_itself(study, tmp_path, monkeypatch):
    monkeypatch.setenv(devices.VARIABLE, "cuda:1")
    with pytest.raises(XlwhError, match="Ray deals out the GPUs"):
        cluster.Cluster(study, tmp_path, "", 1)


@pytest.mark.parametrize(("partitions", "processes"), [(1, "1 process"), (3, "3 processes")])
def test_no_more_processes_start_than_a_step_has_partitions(machine, zoo, partitions, processes):
    choice = choose(Workers(300), zoo, ["base"], partitions)
    assert str(choice).startswith(f"Workers: {processes} (300 are asked for, and no step has more")


def test_the_size_of_a_model_is_that_of_its_base_made_or_not(zoo, study):
    from xlwh.demo.grammar import DATA

    folder = DATA.parent / "model"
    found = sizes.of_folder(folder)
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(folder)
    embeddings = model.get_input_embeddings().weight.numel()
    # Some biases are not in the files.
    assert found.parameters == pytest.approx(model.num_parameters(), rel=0.02)
    assert found.layers == pytest.approx(model.num_parameters() - embeddings, rel=0.05)
    assert zoo.size("base") == zoo.size("nli_en") == zoo.size("pieces") == zoo.size("twin") == found
    assert zoo.size("blank") == zoo.size("mt") != found


def test_files_that_cannot_be_read_have_no_size(zoo, study, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    study.models["base"].__dict__["path"] = str(broken)
    assert zoo.size("base") is None
    (broken / "config.json").write_text("{}")
    (broken / "model.safetensors").write_bytes(b"\xff" * 20)
    assert zoo.size("nli_en") is None


@pytest.mark.slow
def test_the_size_of_a_model_from_scratch_is_nearly_that_of_what_is_made(tmp_path):
    from xlwh.models.scratch import create, unigram
    from xlwh.study import Scratch

    for config in ({}, {"d_model": 64, "num_layers": 2, "feed_forward_proj": "relu"}):
        scratch = Scratch(dataset="d", vocab_size=64, **({"config": config} if config else {}))
        folder = tmp_path / str(len(config))
        create(scratch, unigram(["a few words of text"], 64), folder)
        assert sizes.of_scratch(scratch).layers == pytest.approx(sizes.of_folder(folder).layers, rel=0.05)


def test_threads_follow_from_the_model_and_reach_every_library(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, "3")
    small, large = Size(10**9, threads.SMALL), Size(10**9, threads.SMALL + 1)
    assert [threads.threads_of(size) for size in (None, small, large)] == [1, 1, 3]
    script = """
import numpy
from threadpoolctl import threadpool_info
from xlwh.models import threads
for number in (2, 1, 2):
    threads.limit(number)
    import torch, faiss
    found = {pool["num_threads"] for pool in threadpool_info()} | {torch.get_num_threads()}
    assert found == {number}, (number, found)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_base_is_made_before_what_is_made_from_it():
    study = load(study_path())
    step = STEPS["models"]
    dealt = Deal(step, study, partitions(study, step))
    first = dealt.begin(dealt.models), dealt.begin(dealt.models)
    assert first == (Key("base"), Key("blank"))
    assert dealt.begin(dealt.models) is None
    dealt.end(Key("blank"), DONE)
    assert dealt.begin(dealt.models) == Key("demo-en-es")
    dealt.end(Key("base"), DONE)
    assert {dealt.begin(dealt.models) for _ in range(3)} == {Key("demo-en"), Key("demo-es"), Key("demo-pos")}
    assert dealt.begin(dealt.models) is None
    dealt.end(Key("demo-en"), DONE)
    assert {dealt.begin(dealt.models), dealt.begin(dealt.models)} == {
        Key("demo-en-cut"),
        Key("demo-en-shuffled"),
    }
    assert dealt.models == []


def test_partitions_that_may_write_the_same_file_wait_for_each_other(study):
    keys = [Key(model, language=language) for model in ("nli_en", "pos") for language in ("en", "de")]
    dealt = Deal(STEPS["word_vectors"], study, keys)
    assert [dealt.begin(dealt.models) for _ in range(3)] == [keys[0], keys[1], None]
    dealt.end(keys[0], DONE)
    assert [dealt.begin(dealt.models) for _ in range(2)] == [keys[2], None]
    # Every other step writes files of its own partition only.
    shared = [step.name for step in STEPS.values() if Deal(step, study, [])._place is not None]
    assert shared == ["word_vectors"]


def test_a_partition_whose_worker_dies_is_begun_a_stated_number_of_times(study):
    keys = [Key("nli_en", language="en"), Key("nli_en", language="de")]
    dealt = Deal(STEPS["tokens"], study, keys)
    for number in range(1, TRIES + 1):
        assert dealt.begin(dealt.models) == keys[0]
        assert dealt.again(keys[0]) == (number < TRIES)
    dealt.end(keys[0], DONE)
    assert dealt.begin(dealt.models) == keys[1]


@pytest.mark.parametrize("error", [SystemExit(3), pl.exceptions.PanicException("boom"), ValueError("bad")])
def test_whatever_code_does_concerns_one_partition(error, study, monkeypatch, tmp_path):
    def run(step, context, key):
        if key.language == "de":
            raise error
        return StepResult("written")

    monkeypatch.setattr(bench.runner, "run", run)
    monkeypatch.setenv("XLWH_TEMP", str(tmp_path))
    keys = [Key("nli_en", language=name) for name in ("en", "de", "es")]
    context = SimpleNamespace(warehouse=SimpleNamespace(root=tmp_path), study=study, waits=True)
    made = dict(crew.alone(STEPS["tokens"], context, keys, lambda key: None))
    failed = made.pop(keys[1])
    assert [result.status for result in made.values()] == ["written", "written"]
    assert isinstance(failed, XlwhError)
    assert str(failed).startswith(f"{type(error).__name__}: {error}. ")
    log = Path(re.search(r"The stack trace is in (\S+);", str(failed))[1])
    assert "in run" in log.read_text()
    # In a worker the same, as something that can be sent.
    worker = bench.Bench.__new__(bench.Bench)
    worker.context = context
    with pytest.raises(XlwhError, match=re.escape(str(failed))) as raised:
        worker.make("tokens", keys[1], False, lambda what, done, total: None)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(failed)


def test_an_interruption_is_no_failure(study, monkeypatch):
    def run(step, context, key):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.runner, "run", run)
    with pytest.raises(KeyboardInterrupt):
        list(crew.alone(STEPS["tokens"], SimpleNamespace(study=study), [Key("base")], lambda key: None))


class Asked:
    """A context whose claims are held by whom one says."""

    def __init__(self, monkeypatch):
        self.holders = {}
        self.warehouse = SimpleNamespace(claims=SimpleNamespace(holder=self.holders.get))
        monkeypatch.setattr(deal, "_ASKED_S", 0.0)


def held(key, holder):
    slot = Slot("tokens", (key.model, key.language), "nli")
    return HeldError(f"{slot} is being worked on by {holder}", f"{holder}, since noon", slot)


def test_what_others_make_comes_last_and_is_told_only_when_nothing_else_is_left(study, monkeypatch):
    keys, asked = [Key("nli_en", language=name) for name in ("en", "de", "es")], Asked(monkeypatch)
    dealt, error = Deal(STEPS["tokens"], study, keys), held(keys[0], "process 1 on host x")
    asked.holders[error.slot] = error.holder
    assert dealt.begin(dealt.models) == keys[0]
    assert dealt.end(keys[0], error) == []
    assert dealt.look(asked) == []
    for key in keys[1:]:
        assert dealt.begin(dealt.models) == key
        assert dealt.end(key, DONE) == [(key, DONE)]
    assert dealt.begin(dealt.models) is None
    assert dealt.is_open
    [(key, told)] = dealt.look(asked)
    assert (key, told.holder) == (keys[0], "process 1 on host x, since noon")
    assert dealt.look(asked) == []  # once
    # Its holder died, and another process was faster.
    asked.holders[error.slot] = "process 2 on host y, since one"
    [(_, told)] = dealt.look(asked)
    assert "process 2" in told.holder
    del asked.holders[error.slot]
    assert dealt.look(asked) == []
    assert dealt.begin(dealt.models) == keys[0]
    [(_, made)] = dealt.end(keys[0], StepResult("fresh", 7, reason="as it was"))
    assert (made.status, made.reason) == ("fresh", "made by process 2 on host y; as it was")
    assert not dealt.is_open


def test_what_is_not_waited_for_is_left_out_with_all_that_reads_it():
    study = load(study_path())
    step = STEPS["models"]
    dealt = Deal(step, study, partitions(study, step))
    base = dealt.begin(dealt.models)
    slot = Slot("models", ("base",))
    left = dealt.end(base, HeldError("held", "process 1 on host x", slot), waits=False)
    names = {"base", "demo-en", "demo-es", "demo-pos", "demo-en-cut", "demo-en-shuffled"}
    assert {key.model for key, _ in left} >= names
    assert {(made.status, made.reason) for _, made in left} == {("held", "process 1 on host x is making it")}
    assert dealt.begin(dealt.models) == Key("blank")


def test_later_steps_begin_where_all_that_they_read_is_there(study, monkeypatch):
    monkeypatch.setattr(ahead, "_LOOKED_S", 0.0)
    names = ("examples", "parallelism", "models", "tokens", "predictions", "attributions")
    todo = {STEPS[name]: partitions(study, STEPS[name]) for name in names}
    plan, models = Ahead(study, todo), STEPS["models"]

    def begun(rank=lambda model: 0):
        found = []
        while (begins := plan.begin(models, rank)) is not None:
            found.append(begins)
        return found

    assert begun() == []
    for name in names[:2]:
        for key in todo[STEPS[name]]:
            plan.end(STEPS[name], key, DONE)
    assert begun() == []
    plan.end(models, Key("base"), DONE)
    plan.end(models, Key("nli_en"), XlwhError("no room"))
    keys = [key for key in todo[STEPS["tokens"]] if key.model == "base"]
    assert begun(lambda model: None) == []
    tokens, predictions = ([(STEPS[name], key) for key in keys] for name in ("tokens", "predictions"))
    assert begun() == [*tokens, *predictions]
    # Attributions read predictions of all languages.
    for step, key in predictions[:-1]:
        plan.end(step, key, DONE, is_early=True)
    assert begun() == []
    plan.end(*predictions[-1], None, is_early=True)
    assert plan.take(STEPS["predictions"], keys) == {key: DONE for _, key in predictions[:-1]}
    assert plan.take(STEPS["predictions"], keys) == {}
    # It died once already.
    dealt = Deal(STEPS["predictions"], study, [keys[-1]], died=plan.died)
    assert dealt.begin(dealt.models) == keys[-1]
    assert not dealt.again(keys[-1])
    plan.end(*predictions[-1], DONE)
    assert begun() == [(STEPS["attributions"], key) for key in keys]


def test_a_lock_that_is_no_claim_is_an_error(study):
    dealt = Deal(STEPS["tokens"], study, [Key("pos", language="en")])
    key, error = dealt.begin(dealt.models), HeldError("The manifest is being worked on", "process 1")
    assert dealt.end(key, error) == [(key, error)]


def test_what_is_expected_to_take_longest_is_begun_first(study):
    keys = [Key(model, language=language) for model in ("nli_en", "pos", "qa") for language in ("en", "de")]
    step = STEPS["attributions"]
    known = Deal(step, study, keys, dict(zip(keys, (1.0, 2.0, 3.0, 9.0, 3.0, 3.0), strict=True)))
    assert known.models == ["pos", "qa", "nli_en"]
    begun = [known.begin(known.models) for _ in keys]
    assert begun == [keys[3], keys[2], keys[4], keys[5], keys[1], keys[0]]
    unknown = Deal(step, study, keys)
    assert [unknown.begin(unknown.models) for _ in keys] == keys


def test_memory_that_is_free_is_found():
    if Path("/proc/meminfo").exists():
        assert 10**7 < workers.available() < 10**14


def test_a_process_sees_the_accelerator_that_is_its_own(study, zoo, tmp_path):
    kind = Processes(study, tmp_path / "warehouse", ["3", "GPU-5"])
    worker = kind.start(1)
    try:
        # It may be set before torch looks for devices, and no later.
        seen = [
            worker._executor.submit(os.getenv, name).result() for name in (devices.VISIBLE, devices.VARIABLE)
        ]
        # Of the one that it sees, whatever the command was asked for.
        assert seen == ["GPU-5", "cuda"]
    finally:
        worker.kill()
    assert kind.makes_all
