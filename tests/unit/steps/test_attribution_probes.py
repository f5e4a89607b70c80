"""The attribution_probes step: what it stores, what makes it stale, that a kill costs little."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from xlwh.errors import MissingDataError
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.planning import definition_of
from xlwh.steps.runner import run
from xlwh.store import Staging

KEY = Key("a", language="en")
METHODS: dict[str, Any] = {"lig": None, "random": {}, "input_x_gradient": {}, "attention": {}}


def context(world: Any, attribute: bool = True, **probes: Any) -> Context:
    """A study with probes, and all that they need in English."""
    chosen = {"max_examples": 3, "draws": 2, **probes}
    made: Context = world.context(attribution={"methods": METHODS, "probes": chosen}, consistency=None)
    run(STEPS["predictions"], made, KEY)
    if attribute:
        run(STEPS["attributions"], made, KEY)
    return made


def rows(made: Context) -> pl.DataFrame:
    return made.warehouse.scan("attribution_probes").sort("method", "example_id", "draw").collect()


def test_every_method_and_draw_has_its_row(world: Any) -> None:
    made = context(world)
    result = run(STEPS["attribution_probes"], made, KEY)
    assert result.status == "written"
    found = rows(made)
    assert found.group_by("method").len().sort("method").rows() == [
        ("attention", 6),
        ("input_x_gradient", 6),
        ("random", 6),
    ]
    # What is removed, and what that costs, is the same for every method.
    shared = found.group_by("example_id", "draw").agg(pl.col("num_removed", "lost", "noise").n_unique())
    assert shared.select(pl.col("num_removed", "lost", "noise").max()).row(0) == (1, 1, 1)
    stored = made.warehouse.scan("token_attributions", model="a").collect()
    norms = stored.group_by("method", "example_id").agg(norm=(pl.col("attribution") ** 2).sum().sqrt())
    joined = found.join(norms, on=["method", "example_id"])
    np.testing.assert_allclose(joined["norm"], joined["norm_right"], rtol=1e-5)
    moved = dict(found.group_by("method").agg(pl.col("change").max()).iter_rows())
    assert moved["random"] == pytest.approx(0, abs=1e-6)
    assert moved["input_x_gradient"] > 1e-6
    assert run(STEPS["attribution_probes"], made, KEY).status == "fresh"


def test_without_a_radius_nothing_is_attributed_anew(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = context(world, radius=0, methods=["input_x_gradient"])
    monkeypatch.setattr("xlwh.attribution.saliency._forward", None)
    assert run(STEPS["attribution_probes"], made, KEY).status == "written"
    assert rows(made).select(pl.col("noise", "change").null_count()).row(0) == (6, 6)
    other = context(world, radius=0, methods=["random"])
    assert run(STEPS["attribution_probes"], other, KEY).status == "written"
    assert set(rows(other)["method"]) == {"input_x_gradient", "random"}


def test_more_examples_leave_those_that_are_checked(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(STEPS["attribution_probes"], context(world, radius=0), KEY).status == "written"
    before, asked = rows(context(world)), list[int]()
    step = type(definition_of(STEPS["attribution_probes"]))
    make = step.make

    def counting(self: Any, work: Any, jobs: Any, pieces: pl.DataFrame) -> Any:
        asked.append(pieces.height)
        return make(self, work, jobs, pieces)

    monkeypatch.setattr(step, "make", counting)
    more = context(world, radius=0, max_examples=5)
    assert run(STEPS["attribution_probes"], more, KEY).status == "written"
    assert set(asked) == {2}
    assert before.join(rows(more), on=before.columns, how="anti", nulls_equal=True).is_empty()
    assert rows(more)["example_id"].n_unique() == 5


def test_a_killed_run_goes_on_where_it_stopped(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = context(world)
    expected = run(STEPS["attribution_probes"], made, KEY) and rows(made)
    monkeypatch.setattr(type(definition_of(STEPS["attribution_probes"])), "at_once", 1)
    append, calls = Staging.append, []

    def dying(staging: Any, frames: Any) -> None:
        calls.append(frames)
        if len(calls) == 4:
            raise KeyboardInterrupt
        append(staging, frames)

    made.force = True
    monkeypatch.setattr(Staging, "append", dying)
    with pytest.raises(KeyboardInterrupt):
        run(STEPS["attribution_probes"], made, KEY)
    monkeypatch.setattr(Staging, "append", append)
    assert run(STEPS["attribution_probes"], made, KEY).status == "written"
    found = rows(made)
    assert found.drop("lost", "change").equals(expected.drop("lost", "change"))
    np.testing.assert_allclose(found["lost"], expected["lost"], atol=1e-5)


def test_where_there_is_nothing_to_check(world: Any) -> None:
    made = world.context(consistency=None)
    assert run(STEPS["attribution_probes"], made, KEY).status == "not_applicable"
    waiting = context(world, attribute=False)
    with pytest.raises(MissingDataError, match="xlwh materialize attributions --model a --language en"):
        run(STEPS["attribution_probes"], waiting, KEY)


def test_models_and_datasets_that_the_study_leaves_out(world: Any) -> None:
    for left_out in ({"models": ["b"]}, {"datasets": []}):
        made = world.context(attribution={"probes": left_out}, consistency=None)
        assert run(STEPS["attribution_probes"], made, KEY).status == "not_applicable"
