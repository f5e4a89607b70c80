"""The self-test in the steps: run once, stored, and asked before a model is used for something."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import xlwh.selftest.checks as checks
import xlwh.steps.models.selftests as selftests
from xlwh.errors import ModelError
from xlwh.selftest import CAPABILITIES, ITEMS, Result
from xlwh.steps.attribution import attributions
from xlwh.steps.base import Context, Key
from xlwh.steps.faithfulness import perturbations
from xlwh.steps.models import models
from xlwh.steps.models.selftests import load
from xlwh.steps.plan import STEPS
from xlwh.store import Slot

KEY = Key("a", language="en")
SECTIONS: dict[str, Any] = {
    "attribution": {
        "max_examples": 2,
        "methods": {"lig": {"max_rows": 16}, "occlusion": {}, "attention": {}, "random": None},
        "probes": {"max_examples": 1, "draws": 1},
    },
    "faithfulness": {"soft_draws": 0, "random_draws": 1, "ratios": [0.5]},
    "consistency": {"space": "space", "methods": ["lig", "occlusion"], "draws": 2},
    "heads": {
        "datasets": {"nli": "nli"},
        "max_examples": 3,
        "attention_examples": 1,
        "importance": ["gradient", "attention_entropy"],
    },
}


class Counted:
    """Counts the self-tests that are run, and makes some items fail."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seen: list[pl.DataFrame] = []
        self.failing: set[str] = set()
        self._run = checks.self_test
        patch.setattr(checks, "self_test", self)

    def __call__(self, loaded: Any, examples: pl.DataFrame) -> tuple[Result, ...]:
        self.seen.append(examples)
        return tuple(
            replace(result, status="failed", deviation=0.5, tolerance=0.1, detail="planted.")
            if result.item in self.failing
            else result
            for result in self._run(loaded, examples)
        )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def stored(context: Context, model: str = "a") -> list[dict[str, Any]]:
    (row,) = context.warehouse.scan("models", model=model).collect()["self_test"].to_list()
    return list(row)


def test_it_is_stored_once_per_weights_with_examples_of_the_study(world: Any, counted: Counted) -> None:
    context = world.context()
    result = STEPS["models"].run(context, Key("a"))
    assert result.metadata["self-test"]["passed"] >= 12  # type: ignore[index]
    rows = stored(context)
    assert [row["item"] for row in rows] == [item.name for item in ITEMS]
    assert {row["status"] for row in rows} == {"passed", "not_applicable"}
    assert all((row["deviation"] is None) == (row["status"] == "not_applicable") for row in rows)
    # One of each language of the study, as the dataset has them, and some that are always there.
    (examples,) = counted.seen
    assert {"en", "de", "es"} <= set(examples.filter(pl.col("dataset") == "nli")["language"])
    assert examples.filter(pl.col("dataset") == "self_test").height == 2
    assert examples["text_pair"].null_count() == 0
    # `b` has the same weights; further runs, further steps and another process find what is there.
    STEPS["models"].run(context, Key("b"))
    assert STEPS["models"].run(context, Key("a")).status == "fresh"
    again = world.context()
    STEPS["tokens"].run(again, KEY)
    STEPS["predictions"].run(again, KEY)
    assert len(counted.seen) == 1
    assert stored(context, "b") == rows
    # Unless told to, or other versions compute.
    STEPS["models"].run(replace(context, force=True), Key("a"))
    assert len(counted.seen) == 2


def test_other_versions_are_tested_again(
    world: Any, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = world.context()
    STEPS["models"].run(context, Key("a"))
    monkeypatch.setattr(models, "tested_with", lambda: "another version")
    monkeypatch.setattr(selftests, "tested_with", lambda: "another version")
    assert STEPS["models"].run(context, Key("a")).status == "written"
    assert len(counted.seen) == 2
    assert (
        context.warehouse.scan("models", model="a").collect()["self_tested_with"].item() == "another version"
    )


@pytest.mark.parametrize("deviation", [float("inf"), float("nan")])
def test_an_item_without_a_finite_number_is_stored_and_refuses_by_name(
    world: Any, monkeypatch: pytest.MonkeyPatch, deviation: float
) -> None:
    measured = checks.Measured(deviation, 1e-4, "Largest deviation with each example.")
    monkeypatch.setitem(checks.CHECKS, "own_forward", lambda case: measured)
    context = world.context()
    STEPS["models"].run(context, Key("a"))
    row = next(row for row in stored(context) if row["item"] == "own_forward")
    assert (row["status"], row["deviation"]) == ("failed", None)
    with pytest.raises(ModelError, match="`own_forward` failed: Numbers that are not finite"):
        load(context, "a", "predictions")


def test_without_examples_it_runs_on_its_own_texts(world: Any, counted: Counted) -> None:
    context = world.context()
    context.warehouse.drop([Slot("examples", ("nli", language), "dev") for language in ("en", "de", "es")])
    STEPS["models"].run(context, Key("a"))
    assert set(counted.seen[0]["dataset"]) == {"self_test"}
    assert {row["status"] for row in stored(context)} == {"passed", "not_applicable"}


def test_a_file_that_was_cut_off_is_made_again(world: Any, counted: Counted) -> None:
    context = world.context()
    STEPS["models"].run(context, Key("a"))
    (file,) = (Path(context.warehouse.root) / "cache" / "self-tests").iterdir()
    file.write_text(file.read_text()[:-20])
    STEPS["predictions"].run(context, KEY)
    assert len(counted.seen) == 2
    assert len(json.loads(file.read_text())) == len(ITEMS)


GATED: list[tuple[str, Callable[[Context, Key], Any]]] = [
    ("tokens", STEPS["tokens"].run),
    ("predictions", STEPS["predictions"].run),
    ("attributions", STEPS["attributions"].run),
    ("perturbations", STEPS["perturbations"].run),
    ("attribution_probes", STEPS["attribution_probes"].run),
    ("head_importance", STEPS["head_importance"].run),
    ("attention_maps", STEPS["attention_maps"].run),
    ("word_vectors", STEPS["word_vectors"].run),
]


def upstream(context: Context) -> None:
    for language in ("en", "de", "es"):
        STEPS["tokens"].run(context, Key("a", language=language))
        STEPS["predictions"].run(context, Key("a", language=language))


REFUSED = [
    ("token_ids", {name for name, _ in GATED}),
    ("batched", {"predictions", "attributions", "perturbations", "attribution_probes", "head_importance"}),
    ("word_vectors", {"attributions"}),
    ("p_full", {"perturbations"}),
    ("attention_weights", {"attention_maps", "head_importance"}),
    ("gates", {"head_importance"}),
    ("hidden_states", set()),
]


@pytest.mark.parametrize(("item", "refused"), REFUSED)
def test_a_failed_item_refuses_the_steps_that_depend_on_it(
    item: str, refused: set[str], world: Any, counted: Counted
) -> None:
    """What is upstream of a step was made before the item failed, so that every step is tried."""
    context = world.context(**SECTIONS)
    upstream(context)
    STEPS["attributions"].run(context, KEY)
    counted.failing = {item}
    STEPS["models"].run(replace(context, force=True), Key("a"))
    assert {row["item"] for row in stored(context) if row["status"] == "failed"} == {item}
    told: dict[str, str] = {}
    for name, run in GATED:
        if item == "word_vectors" and name in ("perturbations", "attribution_probes"):
            continue  # they are left without methods
        try:
            run(replace(context, force=True), KEY)
        except ModelError as error:
            told[name] = str(error)
    assert set(told) == refused
    for message in told.values():
        assert f"self-test item `{item}` failed (deviation 0.5, tolerance 0.1): planted." in message
        assert message.startswith("Model `a`: ")


def test_refused_methods_are_left_out_and_the_others_made(world: Any, counted: Counted) -> None:
    counted.failing = {"completeness", "read_position"}
    context = world.context(**SECTIONS)
    upstream(context)
    STEPS["word_vectors"].run(context, KEY)
    for language in ("en", "de", "es"):
        result = STEPS["attributions"].run(context, Key("a", language=language))
        assert result.status == "written"
        assert "without lig, attention" in result.reason
    made = context.warehouse.scan("token_attributions", model="a").collect()
    assert set(made["method"]) == {"occlusion"}
    again = STEPS["attributions"].run(context, KEY)
    assert (again.status, "without lig, attention" in again.reason) == ("fresh", True)
    result = STEPS["perturbations"].run(context, KEY)
    assert "without lig, attention" in result.reason
    assert set(context.warehouse.scan("perturbations", model="a").collect()["method"]) == {
        "occlusion",
        "random",
    }
    assert "without lig, attention" in STEPS["attribution_probes"].run(context, KEY).reason
    for language in ("de", "es"):
        STEPS["word_vectors"].run(context, Key("a", language=language))
    pairs = STEPS["ccta_pairs"].run(context, KEY)
    assert "without lig" in pairs.reason
    assert set(context.warehouse.scan("ccta_pairs", model="a").collect()["method"]) == {"occlusion"}


def test_what_was_stored_of_a_method_that_is_refused_by_now_is_shown_no_more(
    world: Any, counted: Counted
) -> None:
    context = world.context(**SECTIONS)
    upstream(context)
    STEPS["attributions"].run(context, KEY)
    STEPS["perturbations"].run(context, KEY)
    steps = {
        "token_attributions": attributions,
        "attribution_runs": attributions,
        "perturbations": perturbations,
    }

    def methods(table: str) -> set[str]:
        rows = context.warehouse.scan(table, model="a", language=str(KEY.language)).collect()
        return set(rows["method"])

    assert all("lig" in methods(table) for table in steps)
    counted.failing = {"completeness"}
    STEPS["models"].run(replace(context, force=True), Key("a"))
    for table, step in steps.items():
        step.run(replace(context, force=True), KEY)
        assert methods(table)
        assert "lig" not in methods(table)


def test_a_model_that_is_refused_all_methods_is_refused(world: Any, counted: Counted) -> None:
    context = world.context(
        attribution={"methods": {"lig": {}, "random": None}},
        consistency={"space": "space", "methods": ["lig"], "draws": 2},
    )
    upstream(context)
    counted.failing = {"completeness"}
    STEPS["models"].run(replace(context, force=True), Key("a"))
    with pytest.raises(
        ModelError, match=r"Model `a`: attributions by lig are refused: .*`completeness` failed"
    ):
        STEPS["attributions"].run(context, KEY)


def test_every_step_that_loads_a_model_names_what_for() -> None:
    """Only the steps that make models load them unasked; attributions are asked for method by method."""
    folder = Path(models.__file__).parent
    free = {"base.py", "models.py", "finetuned.py", "attributions.py", "selftests.py"}
    loads = {file.name for file in folder.glob("*.py") if "zoo.load(" in file.read_text()}
    assert loads == free
    for file in folder.glob("*.py"):
        for part in file.read_text().split("load(context, ")[1:]:
            assert part.split('"')[1] in CAPABILITIES, file
