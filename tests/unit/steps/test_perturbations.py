"""The perturbations step: what it stores, what makes it stale, that a kill costs little."""

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
SECTION: dict[str, Any] = {"ratios": [0.1, 0.5, 1.0], "random_draws": 2, "soft_draws": 1}


def context(world: Any, **section: Any) -> Context:
    """A study with faithfulness, and all that it needs in English."""
    made = world.context(consistency=None, faithfulness={**SECTION, **section})
    run(STEPS["tokens"], made, KEY)
    run(STEPS["predictions"], made, KEY)
    if not made.warehouse.entries("token_attributions"):
        world.attribute(made, KEY, "lig")
    return made


def rows(made: Context) -> pl.DataFrame:
    return made.warehouse.scan("perturbations").collect()


def test_every_method_side_ratio_and_repeat_has_its_row(world: Any) -> None:
    made = context(world)
    result = run(STEPS["perturbations"], made, KEY)
    assert (result.status, result.examples) == ("written", 5)
    found = rows(made)
    hard = found.filter(pl.col("mode") == "hard")
    counts = hard.group_by("method").len().sort("method")
    assert counts.rows() == [("lig", 5 * 2 * 3), ("random", 2 * 5 * 2 * 3)]
    assert found.filter(pl.col("mode") == "soft").height == 5 * 2 * 2
    assert found["query"].unique().to_list() == ["kept"]
    assert set(found["target"]) <= set(world.labels)
    predicted = made.warehouse.scan("predictions", model="a", language="en").collect()
    joined = found.join(predicted, on="example_id")
    assert (joined["target"] == joined["predicted"]).all()
    full = joined.select(pl.col("probabilities").list.max())["probabilities"]
    np.testing.assert_allclose(found["p_full"], full, atol=1e-4)
    assert run(STEPS["perturbations"], made, KEY).status == "fresh"


def test_changed_attributions_leave_the_other_methods_alone(world: Any) -> None:
    made = context(world)
    run(STEPS["perturbations"], made, KEY)
    before = {str(entry.slot): entry.created_at for entry in made.warehouse.entries("perturbations")}
    world.attribute(made, KEY, "lig", version="2")
    assert run(STEPS["perturbations"], made, KEY).status == "written"
    after = {str(entry.slot): entry.created_at for entry in made.warehouse.entries("perturbations")}
    changed = {slot for slot in after if after[slot] != before[slot]}
    assert changed == {"perturbations/model=a/language=en/nli.lig"}
    wider = context(world, ratios=[0.2, 1.0])
    assert run(STEPS["perturbations"], wider, KEY).status == "written"
    assert set(rows(wider)["ratio"].drop_nulls()) == {0.2, 1.0}


def test_a_killed_run_goes_on_where_it_stopped(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = context(world)
    run(STEPS["perturbations"], made, KEY)
    whole = rows(made)
    made.force = True
    monkeypatch.setattr(type(definition_of(STEPS["perturbations"])), "at_once", 2)
    append, calls = Staging.append, list[Any]()

    def dying(staging: Staging, frames: Any) -> None:
        calls.append(frames)
        if len(calls) == 4:
            raise KeyboardInterrupt
        append(staging, frames)

    monkeypatch.setattr(Staging, "append", dying)
    with pytest.raises(KeyboardInterrupt):
        run(STEPS["perturbations"], made, KEY)
    monkeypatch.setattr(Staging, "append", append)
    reports: list[tuple[str, int, int]] = []
    made.progress = lambda *report: reports.append(report)
    assert run(STEPS["perturbations"], made, KEY).status == "written"
    assert reports[0] == ("nli: perturbations (lig, random)", 2, 5)
    again = rows(made)
    assert again.drop("p_full", "p_perturbed", "p_empty").equals(
        whole.drop("p_full", "p_perturbed", "p_empty")
    )
    np.testing.assert_allclose(again["p_perturbed"], whole["p_perturbed"], atol=1e-5)


def test_only_the_chosen_examples_and_methods_are_perturbed(world: Any) -> None:
    made = context(world, max_examples=2, methods=[])
    assert run(STEPS["perturbations"], made, KEY).examples == 2
    assert set(rows(made)["method"]) == {"random"}


@pytest.mark.parametrize(
    ("keep_query", "query"), [(["nli"], "kept"), ([], "perturbed"), (True, "kept"), (False, "perturbed")]
)
def test_the_query_is_kept_of_the_datasets_that_are_named(world: Any, keep_query: Any, query: str) -> None:
    made = context(world, keep_query=keep_query, methods=[])
    run(STEPS["perturbations"], made, KEY)
    assert rows(made)["query"].unique().to_list() == [query]


def test_saying_it_of_each_dataset_makes_nothing_anew(world: Any) -> None:
    run(STEPS["perturbations"], context(world, methods=[]), KEY)
    listed = context(world, methods=[], keep_query=["nli"])
    assert run(STEPS["perturbations"], listed, KEY).status == "fresh"


def test_missing_attributions_name_the_command(world: Any) -> None:
    made = world.context(consistency=None, faithfulness=SECTION)
    run(STEPS["predictions"], made, KEY)
    with pytest.raises(MissingDataError, match="xlwh materialize attributions --model a --language en"):
        run(STEPS["perturbations"], made, KEY)
    world_without_class = context(world)
    labels = world_without_class.warehouse.scan("predictions").collect()["predicted"].unique().to_list()
    others = tuple(label for label in world.labels if label not in labels) or world.labels[:1]
    world.attribute(world_without_class, KEY, "lig", targets=others)
    with pytest.raises(MissingDataError, match=r"nli.lig: example `\d` has no attribution of"):
        run(STEPS["perturbations"], world_without_class, KEY)


def test_a_study_without_the_section_has_none(world: Any) -> None:
    result = run(STEPS["perturbations"], world.context(consistency=None), KEY)
    assert (result.status, result.reason) == ("not_applicable", "The study has no [faithfulness] section.")
