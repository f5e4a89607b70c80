"""Names on the command line, and which partitions need work."""

from __future__ import annotations

from pathlib import Path

import pytest

from xlwh.cli import selection as selection_module
from xlwh.cli.selection import SelectionError, select, sort, tables_of, view_names
from xlwh.steps.base import Key, StepResult, not_applicable
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.store import Warehouse
from xlwh.study import Study

VIEWS = ("task_scores", "ccta")


@pytest.fixture
def study():
    return Study.model_validate(
        {
            "name": "s",
            "languages": ["en", "de"],
            "datasets": {"d1": {"reader": "xnli", "path": "x"}, "d2": {"reader": "xnli", "path": "x"}},
            "models": {"a": {"path": "a", "datasets": ["d1"]}, "b": {"path": "b", "datasets": ["d2"]}},
            "folder": Path("/nowhere"),
        }
    )


def _names(selection):
    return [step.name for step in selection.steps]


def test_no_names_mean_everything(study):
    selection = select(study, VIEWS)
    assert _names(selection) == list(STEPS)
    assert selection.views == VIEWS
    assert len(selection.steps[STEPS["tokens"]]) == 4


def test_tables_steps_and_views_are_names(study):
    selection = select(study, VIEWS, ["rejected_rows", "attributions", "token_attributions", "ccta"])
    assert _names(selection) == ["examples", "attributions"]
    assert selection.views == ("ccta",)


def test_a_plus_adds_what_it_is_made_from(study):
    assert _names(select(study, VIEWS, ["+predictions"])) == [
        "examples",
        "models",
        "predictions",
    ]


def test_a_plus_before_a_view_adds_what_the_view_reads_and_nothing_else(study):
    read = {"task_scores": {"predictions", "examples"}, "ccta": {"ccta_pairs"}}
    chosen = select(study, VIEWS, ["+task_scores"], tables_of=read.__getitem__)
    assert _names(chosen) == ["examples", "models", "predictions"]
    assert chosen.views == ("task_scores",)
    # Without what is only looked at where it is there.
    ccta = _names(select(study, VIEWS, ["+ccta"], tables_of=read.__getitem__))
    assert "ccta_pairs" in ccta
    assert not {"heads", "perturbations", "activations"} & set(ccta)
    assert _names(select(study, VIEWS, ["ccta"], tables_of=read.__getitem__)) == []


def test_the_tables_of_a_view_come_from_its_sql(study):
    found = set(tables_of(study, "task_scores"))
    assert "predictions" in found
    assert "head_samples" not in found
    assert {"calign", "ccta", "task_scores"} <= set(view_names(study))


def test_an_unknown_name_offers_three(study):
    with pytest.raises(SelectionError) as caught:
        select(study, VIEWS, ["predictionz"])
    assert str(caught.value).count("`") == 8
    assert "`predictions`" in str(caught.value)


def test_models_languages_and_datasets_narrow_where_they_apply(study):
    selection = select(study, VIEWS, [], ["b"], ["de"], ["d2"])
    assert selection.steps[STEPS["examples"]] == [Key(dataset="d2", language="de")]
    assert selection.steps[STEPS["models"]] == [Key("b")]
    assert selection.steps[STEPS["tokens"]] == [Key("b", language="de")]
    assert selection.steps[STEPS["published_results"]] == [Key()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["token"],), "no asset `token`. Did you mean `tokens`, "),
        ((["Tokens"],), "Did you mean `tokens`, "),
        (([], ["c"]), "no model `c`. There are: a, b."),
        (([], [], ["fr"]), "no language `fr`. There are: en, de."),
        (([], [], [], ["d"]), "no dataset `d`"),
    ],
)
def test_unknown_names(study, arguments, message):
    with pytest.raises(SelectionError) as caught:
        select(study, VIEWS, *arguments)
    assert message in str(caught.value)


def test_what_reads_something_stale_is_not_even_asked(study, tmp_path, monkeypatch):
    asked = []

    def fresh(step, context, key):
        asked.append((step.name, str(key)))
        stale = (step.name, key) == ("predictions", Key("a", language="de"))
        return None if stale else StepResult("fresh")

    monkeypatch.setattr(selection_module.runner, "fresh", fresh)
    context = Context(study, Warehouse(tmp_path, create=True), zoo=None)
    found = sort(context, select(study, VIEWS))
    # Predictions of one language are read by the attributions, and so the pairs, of all.
    assert {step.name: keys for step, keys in found.todo.items()} == {
        "predictions": {Key("a", language="de")},
        "translation_statistics": {Key("a", language="de")},
        "perturbations": {Key("a", language="en"), Key("a", language="de")},
        "attribution_probes": {Key("a", language="en"), Key("a", language="de")},
        "attributions": {Key("a", language="en"), Key("a", language="de")},
        "ccta_pairs": {Key("a", language="en"), Key("a", language="de")},
    }
    assert ("ccta_pairs", "a × en") not in asked
    assert ("ccta_pairs", "b × en") in asked
    assert len(found.settled) == sum(map(len, select(study, VIEWS).steps.values())) - 10


def test_force_asks_nobody(study, tmp_path, monkeypatch):
    monkeypatch.setattr(selection_module.runner, "fresh", lambda *_: pytest.fail("was asked"))
    context = Context(study, Warehouse(tmp_path, create=True), zoo=None, force=True)
    selection = select(study, VIEWS, ["tokens"], ["a"])
    assert sort(context, selection).todo == {STEPS["tokens"]: set(selection.steps[STEPS["tokens"]])}


def test_the_first_time_partitions_that_do_not_apply_are_recorded_too(study, tmp_path, monkeypatch):
    fresh_ones = set()

    def fresh(step, context, key):
        if key.language == "de":
            return not_applicable("no German")
        return StepResult("fresh") if key in fresh_ones else None

    monkeypatch.setattr(selection_module.runner, "fresh", fresh)
    context = Context(study, Warehouse(tmp_path, create=True), zoo=None)
    selection = select(study, VIEWS, ["tokens"])
    assert sort(context, selection).todo == {STEPS["tokens"]: set(selection.steps[STEPS["tokens"]])}
    fresh_ones.add(Key("a", language="en"))
    found = sort(context, selection)
    assert found.todo == {STEPS["tokens"]: {Key("b", language="en")}}
    assert len(found.settled) == 3
