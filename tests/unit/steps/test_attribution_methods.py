"""The attributions step with several methods: shared passes, a method of the user's own, what is stale when."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from xlwh.attribution import saliency
from xlwh.errors import StudyError
from xlwh.steps.attribution.explained import num_explained_own
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.planning import definition_of
from xlwh.steps.runner import run
from xlwh.steps.work import Work
from xlwh.store import Staging

KEY = Key("a", language="en")
OWN = '''
"""Attributions of a user's own."""

import numpy as np

from xlwh.attribution.base import Attribution


def position(loaded, encoded, items, parameters, batch_tokens):
    """Later tokens matter more."""
    for index, item in enumerate(items):
        values = np.arange(encoded.lengths[item.example]) * parameters.slope
        yield index, Attribution(values, details={"note": "made up"})
'''
SHARED: dict[str, Any] = {"input_x_gradient": {}, "attention": {}, "scaled_attention": {}}


def context(world: Any, methods: dict[str, Any], **sections: Any) -> Context:
    """A study with these methods, its predictions made."""
    chosen = {"lig": None, "random": None, **methods}
    made = world.context(attribution={"methods": chosen}, consistency=None, **sections)
    for language in made.study.languages:
        run(STEPS["predictions"], made, Key("a", language=language))
    return made


def rows(made: Context, table: str = "token_attributions") -> pl.DataFrame:
    return made.warehouse.scan(table, model="a", language="en").collect()


def test_methods_of_a_shared_pass_run_the_model_once(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    genuine = saliency.saliency

    def counted(loaded: Any, encoded: Any, items: Any, parameters: Any, batch_tokens: int) -> Any:
        asked.append(tuple(parameters))
        return genuine(loaded, encoded, items, parameters, batch_tokens)

    monkeypatch.setattr(saliency, "saliency", counted)
    made = context(world, SHARED)
    assert run(STEPS["attributions"], made, KEY).status == "written"
    assert asked == [("input_x_gradient", "attention", "scaled_attention")]
    assert set(rows(made)["method"]) == set(SHARED)
    counts = rows(made, "attribution_runs").group_by("method").len()
    assert counts["len"].to_list() == [5, 5, 5]

    changed = context(world, {**SHARED, "input_x_gradient": {"reduction": "l2"}})
    assert run(STEPS["attributions"], changed, KEY).status == "written"
    assert asked[1:] == [("input_x_gradient",)]
    assert run(STEPS["attributions"], changed, KEY).status == "fresh"


def test_a_kill_between_two_methods_costs_nothing_twice(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = context(world, SHARED)
    monkeypatch.setattr(type(definition_of(STEPS["attributions"])), "checkpoint", 2)
    append = Staging.append
    calls: list[Any] = []

    def dying(staging: Any, frames: Any) -> None:
        calls.append(frames)
        if len(calls) == 5:
            raise KeyboardInterrupt
        append(staging, frames)

    monkeypatch.setattr(Staging, "append", dying)
    with pytest.raises(KeyboardInterrupt):
        run(STEPS["attributions"], made, KEY)
    monkeypatch.setattr(Staging, "append", append)
    assert run(STEPS["attributions"], made, KEY).status == "written"
    again = rows(made)
    made.force = True
    run(STEPS["attributions"], made, KEY)
    assert again.drop("attribution").equals(rows(made).drop("attribution"))


def test_a_method_of_ones_own_lands_in_the_same_tables(world: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    own = {"later": {"function": "mine:position", "slope": 0.5}}
    made = context(world, own)
    assert run(STEPS["attributions"], made, KEY).status == "written"
    found = rows(made)
    assert set(found["method"]) == {"later"}
    assert found["attribution"].to_list() == pytest.approx((found["position"] * 0.5).to_list())
    stored = json.loads(rows(made, "attribution_runs")["parameters"][0])
    assert stored == {"function": "mine:position", "slope": 0.5, "note": "made up"}
    assert run(STEPS["attributions"], made, KEY).status == "fresh"

    assert (
        run(STEPS["attributions"], context(world, {"later": {**own["later"], "slope": 2}}), KEY).status
        == "written"
    )
    (tmp_path / "mine.py").write_text(OWN.replace("arange", "ones"))
    assert run(STEPS["attributions"], context(world, own), KEY).status == "written"
    assert set(rows(made)["attribution"]) == {0.5}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nowhere:position", r"no module `nowhere` on Python's path, and no nowhere\.py in"),
        ("mine:absent", r"The method `mine:absent` cannot be loaded: .*absent"),
    ],
)
def test_a_function_that_is_not_there_is_named(
    world: Any, tmp_path: Path, function: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    with pytest.raises(StudyError, match=message):
        run(STEPS["attributions"], context(world, {"later": {"function": function}}), KEY)


def test_a_misspelt_method_is_no_method_of_ones_own(world: Any) -> None:
    with pytest.raises(ValueError, match=r"attribution.methods.atention.function\n  Field required"):
        world.context(attribution={"methods": {"atention": {}}})


def test_faithfulness_has_every_languages_own_prediction_explained(world: Any) -> None:
    plain = context(world, SHARED)
    key = Key("a", language="de")
    run(STEPS["attributions"], plain, key)
    asked = context(world, SHARED, faithfulness={})
    assert run(STEPS["attributions"], asked, key).status == "written"
    own = asked.warehouse.scan("predictions", model="a", language="de").collect()
    runs = asked.warehouse.scan("attribution_runs", model="a", language="de").collect()
    explained = set(zip(runs["example_id"], runs["target"], strict=True))
    assert set(zip(own["example_id"], own["predicted"], strict=True)) <= explained


def test_asking_whether_it_is_fresh_imports_no_torch() -> None:
    code = "import sys, xlwh.steps.attribution.attributions; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many targets are attributed at a time."""
    asked: list[int] = []
    step = type(definition_of(STEPS["attributions"]))
    make = step.make

    def counting(self: Any, work: Work, jobs: Any, pieces: pl.DataFrame) -> Any:
        asked.append(pieces.height)
        yield from make(self, work, jobs, pieces)

    monkeypatch.setattr(step, "make", counting)
    return asked


def test_asking_for_more_examples_computes_only_those(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def study(limit: int, steps: int = 2) -> Context:
        methods = {"lig": {"quadrature": "fixed", "steps": steps}}
        made = world.context(
            attribution={"methods": {"random": None, **methods}, "max_examples": limit}, consistency=None
        )
        run(STEPS["predictions"], made, KEY)
        return made

    asked = counted(monkeypatch)
    assert run(STEPS["attributions"], study(3), KEY).status == "written"
    few = rows(study(3))
    assert run(STEPS["attributions"], study(5), KEY).status == "written"
    assert run(STEPS["attributions"], study(5), KEY).status == "fresh"
    assert asked == [3, 2]
    many = rows(study(5))
    assert few.join(many, on=few.columns, how="anti", nulls_equal=True).is_empty()
    assert run(STEPS["attributions"], study(2), KEY).status == "written"
    assert asked == [3, 2], "fewer are asked for, and all of them are there"
    assert rows(study(2))["example_id"].n_unique() == 2
    assert run(STEPS["attributions"], study(5, steps=3), KEY).status == "written"
    assert asked == [3, 2, 5], "other parameters, other rows"
    forced = study(5, steps=3)
    forced.force = True
    assert run(STEPS["attributions"], forced, KEY).status == "written"
    assert asked == [3, 2, 5, 5]


def lig(world: Any, **parameters: Any) -> Context:
    """A study with integrated gradients of three examples."""
    made = world.context(
        attribution={"methods": {"lig": parameters, "random": None}, "max_examples": 3}, consistency=None
    )
    run(STEPS["predictions"], made, KEY)
    return made


@pytest.mark.parametrize("quadrature", ["fixed", "adaptive"])
def test_a_tolerance_is_a_flag_unless_it_decides_the_steps(
    world: Any, monkeypatch: pytest.MonkeyPatch, quadrature: str
) -> None:
    asked = counted(monkeypatch)
    options = {"quadrature": quadrature, "steps": 2, "max_rows": 32}
    strict = lig(world, **options, tolerance=1e-9)
    assert run(STEPS["attributions"], strict, KEY).status == "written"
    before = rows(strict, "attribution_runs")
    assert not before["converged"].any()
    lax = lig(world, **options, tolerance=100.0)
    assert run(STEPS["attributions"], lax, KEY).status == "written"
    after = rows(lax, "attribution_runs")
    assert after["converged"].all()
    assert {json.loads(text)["tolerance"] for text in after["parameters"]} == {100.0}
    assert asked == ([3] if quadrature == "fixed" else [3, 3])
    if quadrature == "fixed":
        assert after.drop("converged", "parameters").equals(before.drop("converged", "parameters"))
    assert run(STEPS["attributions"], lig(world, **options, tolerance=100.0), KEY).status == "fresh"


def test_another_policy_computes_only_the_classes_that_it_adds(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, asked = Key("a", language="de"), counted(monkeypatch)

    def study(target: str, **sections: Any) -> Context:
        attribution = {"methods": {"lig": None, "random": None, "input_x_gradient": {}}, "target": target}
        made: Context = world.context(attribution=attribution, consistency=None, **sections)
        for language in made.study.languages:
            run(STEPS["predictions"], made, Key("a", language=language))
        assert run(STEPS["attributions"], made, key).status == "written"
        return made

    def explained(made: Context) -> set[tuple[str, str]]:
        runs = made.warehouse.scan("attribution_runs", language="de").collect()
        return set(runs.select("example_id", "target").rows())

    own = explained(study("own_prediction"))
    gold = explained(study("gold"))
    assert asked == [5, *([len(gold - own)] if gold - own else [])]
    del asked[:]
    source = explained(study("source_prediction"))
    assert sum(asked) == len(source - gold) < len(source)


def test_faithfulness_adds_only_the_classes_that_it_needs(world: Any) -> None:
    """A language's own prediction, beside the source's, for the examples that are perturbed."""
    made = context(world, {"input_x_gradient": {}})
    perturbing = context(world, {"input_x_gradient": {}}, faithfulness={"max_examples": 2})

    def found(asked: Context) -> pl.DataFrame:
        step = STEPS["attributions"]
        (planned,) = asked.planner.jobs(step, Key("a", language="de"))
        return definition_of(step).pieces(Work(asked), [planned.job])

    before, after = found(made), found(perturbing)
    assert before.join(after, on=["example_id", "target"], how="anti").is_empty()
    assert num_explained_own(perturbing.study) == 2
    own = perturbing.warehouse.scan("predictions", model="a", language="de").collect()
    added = after.join(before, on=["example_id", "target"], how="anti")
    assert added.height <= 2
    assert added.join(
        own, left_on=["example_id", "target"], right_on=["example_id", "predicted"], how="anti"
    ).is_empty()
