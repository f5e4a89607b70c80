"""The self-test in the steps: run once, stored, and asked before a model is used for something."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import xlwh.selftest.checks as checks
import xlwh.selftest.stored as results
import xlwh.steps as steps
from xlwh.errors import ModelError
from xlwh.selftest import CAPABILITIES, ITEMS, Result
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.models import models
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
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
    result = run(STEPS["models"], context, Key("a"))
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
    run(STEPS["models"], context, Key("b"))
    assert run(STEPS["models"], context, Key("a")).status == "fresh"
    again = world.context()
    run(STEPS["tokens"], again, KEY)
    run(STEPS["predictions"], again, KEY)
    assert len(counted.seen) == 1
    assert stored(context, "b") == rows
    # Unless told to, or other versions compute.
    run(STEPS["models"], replace(context, force=True), Key("a"))
    assert len(counted.seen) == 2


def test_who_of_two_with_the_same_files_comes_first_does_not_matter(world: Any) -> None:
    """Those that would be tried on other texts are tried themselves: else rows would depend on the order of work."""
    context = world.context()
    study, tests = context.study, context.self_tests
    pin = context.zoo.pin("a")
    for name, change in {"twin": {}, "other": {"datasets": ()}, "short": {"max_length": 9}}.items():
        study.models[name] = study.models["a"].model_copy(update=change)
    files = {name: tests._file(replace(pin, key=name)) for name in ("a", "twin", "other", "short")}
    assert files["a"] == files["twin"]
    assert len(set(files.values())) == 3


def test_other_versions_are_tested_again(
    world: Any, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = world.context()
    run(STEPS["models"], context, Key("a"))
    monkeypatch.setattr(models, "tested_with", lambda: "another version")
    monkeypatch.setattr(results, "tested_with", lambda: "another version")
    assert run(STEPS["models"], context, Key("a")).status == "written"
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
    run(STEPS["models"], context, Key("a"))
    row = next(row for row in stored(context) if row["item"] == "own_forward")
    assert (row["status"], row["deviation"]) == ("failed", None)
    with pytest.raises(ModelError, match="`own_forward` failed: Numbers that are not finite"):
        results.require("a", context.self_tests.of(context.zoo.load("a")), "predictions")


def test_without_examples_it_runs_on_its_own_texts(world: Any, counted: Counted) -> None:
    context = world.context()
    context.warehouse.drop([Slot("examples", ("nli", language), "dev") for language in ("en", "de", "es")])
    run(STEPS["models"], context, Key("a"))
    assert set(counted.seen[0]["dataset"]) == {"self_test"}
    assert {row["status"] for row in stored(context)} == {"passed", "not_applicable"}


def test_a_file_that_does_not_hold_every_item_is_made_again(world: Any, counted: Counted) -> None:
    """What is left out of it would count as passed."""
    context = world.context()
    run(STEPS["models"], context, Key("a"))
    (file,) = (Path(context.warehouse.root) / "cache" / "self-tests").iterdir()
    whole = file.read_text()
    rows = json.loads(whole)
    other = [{**row, "status": "faiked"} if row["item"] == "batched" else row for row in rows]
    pin = context.zoo.pin("a")
    assert context.self_tests.known(pin) is not None
    for changed in ([], {}, rows[1:], rows[:-1], [*rows, rows[0]], other, [row["item"] for row in rows]):
        file.write_text(json.dumps(changed))
        assert context.self_tests.known(pin) is None, changed
    file.write_text(whole[:-20])
    run(STEPS["predictions"], context, KEY)
    assert len(counted.seen) == 2
    assert json.loads(file.read_text()) == rows


GATED = (
    "tokens",
    "predictions",
    "attributions",
    "perturbations",
    "attribution_probes",
    "head_importance",
    "attention_maps",
    "word_vectors",
)


def upstream(context: Context) -> None:
    for language in ("en", "de", "es"):
        run(STEPS["tokens"], context, Key("a", language=language))
        run(STEPS["predictions"], context, Key("a", language=language))


REFUSED = [
    ("token_ids", set(GATED)),
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
    run(STEPS["attributions"], context, KEY)
    counted.failing = {item}
    run(STEPS["models"], replace(context, force=True), Key("a"))
    assert {row["item"] for row in stored(context) if row["status"] == "failed"} == {item}
    told: dict[str, str] = {}
    for name in GATED:
        if item == "word_vectors" and name in ("perturbations", "attribution_probes"):
            continue  # they are left without methods
        try:
            run(STEPS[name], replace(context, force=True), KEY)
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
    run(STEPS["word_vectors"], context, KEY)
    for language in ("en", "de", "es"):
        result = run(STEPS["attributions"], context, Key("a", language=language))
        assert result.status == "written"
        assert "without lig, attention" in result.reason
    made = context.warehouse.scan("token_attributions", model="a").collect()
    assert set(made["method"]) == {"occlusion"}
    again = run(STEPS["attributions"], context, KEY)
    assert (again.status, "without lig, attention" in again.reason) == ("fresh", True)
    result = run(STEPS["perturbations"], context, KEY)
    assert "without lig, attention" in result.reason
    assert set(context.warehouse.scan("perturbations", model="a").collect()["method"]) == {
        "occlusion",
        "random",
    }
    assert "without lig, attention" in run(STEPS["attribution_probes"], context, KEY).reason
    for language in ("de", "es"):
        run(STEPS["word_vectors"], context, Key("a", language=language))
    pairs = run(STEPS["ccta_pairs"], context, KEY)
    assert "without lig" in pairs.reason
    assert set(context.warehouse.scan("ccta_pairs", model="a").collect()["method"]) == {"occlusion"}


def test_what_was_stored_of_a_method_that_is_refused_by_now_stays_as_it_was(
    world: Any, counted: Counted
) -> None:
    context = world.context(**SECTIONS)
    upstream(context)
    run(STEPS["attributions"], context, KEY)
    run(STEPS["perturbations"], context, KEY)

    def entries(table: str) -> dict[Slot, str]:
        return {entry.slot: entry.fingerprint for entry in context.warehouse.entries(table)}

    tables = ("token_attributions", "attribution_runs", "perturbations")
    before = {table: entries(table) for table in tables}
    counted.failing = {"completeness"}
    run(STEPS["models"], replace(context, force=True), Key("a"))
    for step in ("attributions", "perturbations"):
        assert "without lig" in run(STEPS[step], replace(context, force=True), KEY).reason
    assert {table: entries(table) for table in tables} == before


def test_a_model_that_is_refused_all_methods_is_refused(world: Any, counted: Counted) -> None:
    context = world.context(
        attribution={"methods": {"lig": {}, "random": None}},
        consistency={"space": "space", "methods": ["lig"], "draws": 2},
    )
    upstream(context)
    counted.failing = {"completeness"}
    run(STEPS["models"], replace(context, force=True), Key("a"))
    with pytest.raises(
        ModelError, match=r"Model `a`: attributions by lig are refused: .*`completeness` failed"
    ):
        run(STEPS["attributions"], context, KEY)


def test_every_step_that_loads_a_model_names_what_for() -> None:
    """Steps load models through `Work`: for something, to be trained, or to be tried out."""
    folder = Path(steps.__file__).parent
    for file in folder.glob("*/*.py"):
        text = file.read_text()
        assert "zoo.load" not in text, file
        named = re.findall(r'work\.load\([^,]+, (?:"(\w+)"|capability_of\()', text)
        assert len(named) == text.count("work.load("), file
        assert set(named) <= {*CAPABILITIES, ""}, file
