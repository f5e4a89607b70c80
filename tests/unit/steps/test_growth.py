"""How the cost of looking at a study grows with it: in proportion, never faster.

Models and languages are doubled in turn. What is compared is processor time, the least of some repeats, after a first
round in which modules are loaded.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import large_study
import pytest

from xlwh.cli.selection import select, sort
from xlwh.steps.context import Context
from xlwh.store import Slot

SIZES = ((8, 4, 2), (16, 4, 2), (16, 8, 2))
"""Models, languages and datasets."""
LARGEST = 2.3
"""Times the processor time for twice the study."""
REPEATS = 3


@pytest.fixture(scope="module")
def spent(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[float]]:
    """What is done -> processor seconds per size."""
    folders = [tmp_path_factory.mktemp("large") for _ in SIZES]
    for folder, size in zip(folders, SIZES, strict=True):
        large_study.fill(large_study.context(large_study.write(folder, *size), folder / "warehouse"))
    found: dict[str, list[float]] = {}
    for folder in (folders[0], *folders):
        context = _opened(folder)
        measured = {
            "planning and freshness": _least(partial(_all_fresh, folder)),
            "refresh after one commit": _least(context.planner.refresh, partial(large_study.touch, context)),
            "catalogue": _least(context.warehouse.build_catalogue, partial(large_study.touch, context)),
            "gc": _least(partial(context.warehouse.gc, timedelta(days=7))),
        }
        for what, seconds in measured.items():
            found.setdefault(what, []).append(seconds)
    return {what: seconds[1:] for what, seconds in found.items()}


def _opened(folder: Path) -> Context:
    """A study that was planned once."""
    context = large_study.context(folder / "study.toml", folder / "warehouse")
    sort(context, select(context.study, []))
    context.warehouse.build_catalogue()
    return context


def _all_fresh(folder: Path) -> None:
    context = large_study.context(folder / "study.toml", folder / "warehouse")
    found = sort(context, select(context.study, []))
    assert not found.todo
    assert (
        sum(outcome.result is not None and outcome.result.status == "fresh" for outcome in found.settled) > 50
    )


def _least(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    seconds = []
    for _ in range(REPEATS):
        before()
        # A full collection visits all that tests before this one have left.
        gc.disable()
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
        gc.enable()
    return min(seconds)


@pytest.mark.parametrize("what", ["planning and freshness", "catalogue", "gc"])
def test_twice_the_study_costs_twice_the_time(spent: Mapping[str, list[float]], what: str) -> None:
    growth = [after / before for before, after in pairwise(spent[what])]
    assert max(growth) <= LARGEST, spent[what]


def test_to_take_in_a_commit_costs_the_same_in_any_study(spent: Mapping[str, list[float]]) -> None:
    """From four times the study at most twice: reading it anew would cost four times."""
    first, *_, last = spent["refresh after one commit"]
    assert last <= 2 * first, spent["refresh after one commit"]


def test_a_commit_forgets_as_much_in_any_study(tmp_path: Path) -> None:
    forgotten = set()
    for size in ((2, 2, 2), (4, 3, 2)):
        folder = tmp_path / str(size)
        large_study.fill(large_study.context(large_study.write(folder, *size), folder / "warehouse"))
        context = _opened(folder)
        before = set(context.planner.plans.known())
        large_study.touch(context, Slot("predictions", ("m001", "ab"), "d0"))
        context.planner.refresh()
        forgotten.add(frozenset(before - context.planner.plans.known().keys()))
        assert not sort(context, select(context.study, [])).todo
    assert len(forgotten) == 1
    assert {name for name, _ in next(iter(forgotten))} == {"attributions", "perturbations"}
