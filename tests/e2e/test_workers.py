"""Worker processes: the same bytes from any number of them, and what happens when one, or the command, is killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from processes import alive, children
from stored_tables import assert_same, contents

from xlwh.cli.app import STOPPED
from xlwh.errors import MissingDataError, XlwhError
from xlwh.models import Zoo
from xlwh.steps import runner
from xlwh.steps.base import Key, StepResult
from xlwh.steps.bench import can_be_sent
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, partitions
from xlwh.steps.workers import Choice
from xlwh.store import Slot, Warehouse
from xlwh.study import load

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def opened(study_file, root):
    study, warehouse = load(study_file), Warehouse(root, create=True)
    return Context(study, warehouse, Zoo(study, warehouse))


def within(seconds, condition):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def silent(key):
    return lambda what, done, total: None


@pytest.fixture(scope="module", params=["processes", pytest.param("ray", marks=pytest.mark.slow)])
def kind(request):
    """What the workers are."""
    return request.param


@pytest.fixture(scope="module")
def place(kind, tmp_path_factory, make_study):
    """A study, and the folder of a warehouse."""
    folder = tmp_path_factory.mktemp("place")
    return make_study(folder / "tiny"), folder / "warehouse"


@pytest.fixture(scope="module")
def crew(kind, place):
    context = opened(*place)
    choice = Choice(2, "as asked for", ray="" if kind == "ray" else None)
    with closing(choice.hire(context.study, context.warehouse.root)) as crew:
        yield crew


def make(crew, context, step, keys=None, begun=silent):
    keys = partitions(context.study, STEPS[step]) if keys is None else keys
    return dict(crew.make(STEPS[step], context, keys, begun))


@pytest.fixture(scope="module", autouse=True)
def results(place, crew):
    """Everything made by two workers: (step, key) -> what became of it."""
    context = opened(*place)
    crew.plan({step: partitions(context.study, step) for step in STEPS.values()})
    early = set[str]()
    begin, crew._ahead.begin = crew._ahead.begin, None

    def noted(current, rank):
        if (begun := begin(current, rank)) is not None:
            early.add(begun[0].name)
        return begun

    crew._ahead.begin = noted
    found = {(step, key): result for step in STEPS for key, result in make(crew, context, step).items()}
    # While one worker trained a model, the other had begun what reads those that were there.
    assert "tokens" in early
    crew.plan({})
    return found


def test_the_same_bytes_from_workers_and_without(place, results, tmp_path):
    other = opened(place[0], tmp_path / "alone")
    for step in STEPS.values():
        for key in partitions(other.study, step):
            result = results.pop((step.name, key))
            assert isinstance(result, StepResult), (step.name, key, result)
            assert result.status == runner.run(step, other, key).status
    assert not results
    assert_same(contents(place[1]), contents(tmp_path / "alone"))
    assert "torch.optim" in sys.modules  # the run without workers computed here


def test_errors_come_back_as_what_they_are_and_leave_the_others(crew, place, tmp_path):
    context = opened(*place)
    context.warehouse.drop([Slot("tokens", ("plain", "de"), "nli")])
    keys = [Key("plain", language=language) for language in ("en", "de", "es")]
    context.force = True
    try:
        made = make(crew, context, "ccta_pairs", keys)
    finally:
        context.force = False
    failed, others = made.pop(keys[1]), list(made.values())
    assert isinstance(failed, MissingDataError)
    assert "xlwh materialize tokens --model plain --language de" in str(failed)
    # With the worker's own stack behind it, for the log.
    assert "planning.py" in str(failed.__cause__)
    assert [made.status for made in others] == ["written", "written"]
    assert all(result.status == "written" for result in make(crew, context, "tokens", [keys[1]]).values())


class OfTwoError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def test_an_error_that_cannot_be_sent_is_seen_as_such():
    assert can_be_sent(XlwhError("text"))
    assert not can_be_sent(OfTwoError(1, 2))
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(OfTwoError(1, 2)))


def killing(crew, key, times):
    """To be told what begins: kills the worker that is given `key`, as often as said, before it can finish."""
    left = [times]

    def begun(begins):
        if begins == key and left[0]:
            left[0] -= 1
            idle = {worker: worker._start.result() for worker in crew._workers if worker.is_idle}
            for pid in idle.values():
                os.kill(pid, signal.SIGSTOP)

            def strike():
                for worker, pid in idle.items():
                    os.kill(pid, signal.SIGKILL if worker._key == key else signal.SIGCONT)

            threading.Timer(0.3, strike).start()
        return silent(begins)

    return begun


def test_the_partition_of_a_worker_that_is_killed_is_made_elsewhere(crew, place):
    context, keys = opened(*place), [Key("tuned"), Key("plain")]
    context.force = True
    before = contents(place[1])
    pids = {worker._start.result() for worker in crew._workers}
    made = make(crew, context, "models", keys, killing(crew, keys[0], 1))
    assert {key: result.status for key, result in made.items()} == dict.fromkeys(keys, "written")
    assert len(pids & {worker._start.result() for worker in crew._workers}) == 1
    assert_same(before, contents(place[1]))


def test_a_partition_that_kills_its_workers_fails_and_the_others_go_on(kind, crew, place):
    context, keys = opened(*place), [Key("tuned"), Key("plain"), Key("base")]
    context.force = True
    made = make(crew, context, "models", keys, killing(crew, keys[0], 2))
    failed = made.pop(keys[0])
    assert isinstance(failed, XlwhError)
    why = {
        "processes": "killed from outside, as the system does where memory is short",
        "ray": "The actor is dead because its worker process has died",
    }
    assert f"ended, 2 times ({why[kind]}" in str(failed)
    assert "xlwh materialize models --model tuned --workers in_process" in str(failed)
    assert {key: result.status for key, result in made.items()} == dict.fromkeys(keys[1:], "written")


def test_whoever_is_interrupted_ends_the_workers(crew, place):
    context, tuned = opened(*place), Key("tuned")
    context.force = True
    pids = [worker._start.result() for worker in crew._workers]

    def begun(key):
        if key == tuned:
            raise KeyboardInterrupt
        return silent(key)

    with pytest.raises(KeyboardInterrupt):
        make(crew, context, "models", [Key("base"), tuned], begun)
    within(60, lambda: not any(map(alive, pids)))


@pytest.mark.slow
def test_the_same_bytes_from_the_command(kind, place, tmp_path):
    asked = {"processes": "processes:4", "ray": "ray"}[kind]
    process, _ = start(place[0], tmp_path / "warehouse", "tokens: ", asked)
    _, said = process.communicate()
    assert process.returncode == 0, said
    found, whole = contents(tmp_path / "warehouse"), contents(place[1])
    assert_same({slot: whole[slot] for slot in found}, found)


ASKED = "examples parallelism models tokens predictions attributions"


def start(study, root, seen, workers="processes:2"):
    """A command with workers, in the middle: what it says has `seen` in it by now."""
    program = "import sys; from xlwh.cli import main; sys.exit(main())"
    arguments = f"materialize {ASKED} --workers {workers} --study {study} --warehouse {root}".split()
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    assert process.stderr is not None
    said = ""
    while seen not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return process, said


def unfinished(whole, root):
    """While this lasts, no command ends that makes what `whole` has: one partition is claimed by this process."""
    held = next(
        entry.slot for entry in Warehouse(whole).entries() if entry.slot.table == "token_attributions"
    )
    return Warehouse(root).claims.claim([held])


@pytest.fixture(scope="module")
def stopped(kind, tmp_path_factory):
    """A warehouse for the commands that are stopped, of each kind of workers one."""
    return tmp_path_factory.mktemp("stopped") / "warehouse"


def test_the_command_is_killed_and_stopped(kind, place, stopped):
    # Two agents of Ray look only now and then whether their cluster is there.
    setting, told, gone_s = {
        "processes": ("processes:2", "2 processes (as asked for)", 60),
        "ray": ("ray", "on a Ray cluster of this machine (as asked for)", 90),
    }[kind]
    # kill -9 of the command alone: its workers notice.
    process, _ = start(place[0], stopped, "models: 3 written", setting)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.communicate()
    within(gone_s, lambda: not any(map(alive, workers)))
    # Ctrl-C reaches the command and its workers at once.
    with unfinished(place[1], stopped):
        process, said = start(place[0], stopped, "tokens: ", setting)
        assert f"Workers: {told}" in said
        assert "models: " not in said  # what the first one made is kept
        workers = children(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert STOPPED in rest
    assert "Traceback" not in said + rest
    within(gone_s, lambda: not any(map(alive, workers)))


@pytest.mark.slow
def test_the_command_goes_on_after_it_was_terminated(place, stopped):
    with unfinished(place[1], stopped):
        process, _ = start(place[0], stopped, "tokens: ")
        workers = children(process.pid)
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode != 0
    within(60, lambda: not any(map(alive, workers)))
    process, _ = start(place[0], stopped, "tokens: ")
    process.communicate()
    assert process.returncode == 0
    found, whole = contents(stopped), contents(place[1])
    assert {STEPS[name].tables[0] for name in ASKED.split()} <= {slot.partition("/")[0] for slot in found}
    assert_same({slot: whole[slot] for slot in found}, found)
