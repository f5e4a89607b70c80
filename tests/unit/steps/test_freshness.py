"""Asking steps whether they are fresh, without letting them work."""

from __future__ import annotations

import pytest

from xlwh.errors import MissingDataError
from xlwh.steps.base import Context, Key, StepResult, not_applicable
from xlwh.steps.freshness import fresh, probe
from xlwh.steps.plan import STEPS, Step
from xlwh.store import Slot, Warehouse, empty

SLOT = Slot("published_results")
STEP = STEPS["published_results"]


@pytest.fixture
def context(tmp_path):
    return Context(study=None, warehouse=Warehouse(tmp_path, create=True), zoo=None, force=True)


@pytest.fixture
def behave(monkeypatch):
    """Makes every step do this."""

    def install(run):
        monkeypatch.setattr(Step, "run", lambda self, context, key: run(context))

    return install


def _step(context):
    if not context.force and context.warehouse.is_fresh(SLOT, "f1"):
        return StepResult("fresh")
    context.warehouse.write({SLOT: empty("published_results")}, "f1")
    return StepResult("written")


def test_stale_until_written_then_fresh(context, behave):
    behave(_step)
    assert fresh(probe(context), STEP, Key()) is None
    assert context.warehouse.current(SLOT) is None
    assert STEP.run(context, Key()).status == "written"
    assert fresh(probe(context), STEP, Key()) == StepResult("fresh")


@pytest.mark.parametrize(
    "work",
    [
        lambda warehouse: warehouse.write({SLOT: empty("published_results")}, "f2"),
        lambda warehouse: warehouse.staging([SLOT], "f2"),
        lambda warehouse: warehouse.drop([SLOT]),
    ],
)
def test_nothing_is_written_whatever_the_step_tries(context, behave, work):
    behave(_step)
    STEP.run(context, Key())
    before = context.warehouse.entries()

    def careless(context):
        work(context.warehouse)
        return StepResult("written")

    behave(careless)
    assert fresh(probe(context), STEP, Key()) is None
    assert context.warehouse.entries() == before
    assert not (context.warehouse.root / "staging").exists() or not any(
        (context.warehouse.root / "staging").iterdir()
    )


def test_what_cannot_be_told_has_to_be_made(context, behave):
    def missing(context):
        raise MissingDataError("no examples")

    behave(missing)
    assert fresh(probe(context), STEP, Key()) is None


def test_a_partition_that_does_not_apply_needs_nothing(context, behave):
    behave(lambda context: not_applicable("no such language"))
    assert fresh(probe(context), STEP, Key()) == not_applicable("no such language")


def test_a_bug_is_not_hidden(context, behave):
    def broken(context):
        raise TypeError("bug")

    behave(broken)
    with pytest.raises(TypeError):
        fresh(probe(context), STEP, Key())
