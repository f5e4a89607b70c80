"""The step ccta_pairs: which pairs, which class, what is missing, and going on after a kill."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from xlwh.errors import MissingDataError, StoreError
from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS
from xlwh.steps.planning import definition_of
from xlwh.steps.runner import run
from xlwh.store import Slot

EN, DE, ES = (Key("a", language=language) for language in ("en", "de", "es"))
SLOT = Slot("ccta_pairs", ("a", "de"), "nli")


@pytest.fixture
def ready(world):
    """A context with everything upstream of model `a`."""
    return world.upstream(world.context(), "a")


def _rows(context, language="de"):
    return context.warehouse.scan("ccta_pairs", model="a", target_language=language).collect()


def test_every_method_normalization_and_source_is_scored(world):
    models = {
        name: {"path": str(world.checkpoint), "datasets": ["nli"], "source_languages": ["en", "es"]}
        for name in "ab"
    }
    consistency = {
        "space": "space",
        "methods": ["lig", "random"],
        "draws": 3,
        "normalizations": ["abs", "relu"],
    }
    context = world.upstream(world.context(models=models, consistency=consistency), "a")
    result = run(STEPS["ccta_pairs"], context, DE)
    frame = _rows(context)
    assert (result.status, result.rows, result.examples) == ("written", 5 * 2 * 2 * 2, 10)
    counts = frame.group_by("source_language", "method", "normalization").len().sort(pl.all())
    assert counts["len"].to_list() == [5] * 8
    constants = frame.select(
        "model", "dataset", "split", "target_language", "target_policy", "space", "unit", "num_draws"
    )
    assert constants.unique().rows() == [("a", "nli", "dev", "de", "source_prediction", "space", "word", 3)]
    assert frame["score"].is_between(0, 1).all()
    alignments = frame.select("source_language", "alignment").unique().sort(pl.all()).rows()
    assert alignments == [("en", "rotated"), ("es", "none")], "Spanish has no dictionary"
    assert frame["null_uniform"].n_unique() == 10, "one per source language and example"
    assert (frame["source_coverage"] == 1).all(), "sub-tokens give every word a vector"
    assert [row["pairs"] for row in result.metadata["nli"]] == [5] * 8
    assert result.metadata["nli: without attributions"] == []


def test_the_class_is_the_one_predicted_on_the_source_side(ready):
    run(STEPS["ccta_pairs"], ready, DE)
    predicted = ready.warehouse.scan("predictions", model="a", language="en").collect()
    expected = dict(predicted.select("example_id", "predicted").rows())
    assert dict(_rows(ready).select("example_id", "target").rows()) == expected


def test_the_self_pair_scores_1_and_its_shuffled_null_does_not(ready):
    run(STEPS["ccta_pairs"], ready, EN)
    frame = _rows(ready, "en")
    assert (frame["score"] == 1).all()
    assert (frame["null_uniform"] == 1).all()
    assert (frame["null_shuffled"] < 1).all()


def test_words_counted_without_special_tokens(ready):
    run(STEPS["ccta_pairs"], ready, DE)
    row = _rows(ready).filter(example_id="1", method="lig").row(0, named=True)
    assert (row["source_units"], row["target_units"]) == (8, 8), (
        "four words in each sentence, full stops included"
    )


def test_gold_leaves_out_what_has_no_label(world):
    context = world.upstream(world.context(attribution={"target": "gold"}), "a")
    run(STEPS["ccta_pairs"], context, DE)
    frame = _rows(context)
    assert dict(frame.select("example_id", "target").rows()) == {
        str(i): world.labels[i % 3] for i in range(4)
    }
    assert frame["target_policy"].unique().to_list() == ["gold"]


def test_own_prediction_compares_each_sides_class(world):
    context = world.upstream(world.context(attribution={"target": "own_prediction"}), "a")
    others = _predict(context, "de", "neutral")
    run(STEPS["ccta_pairs"], context, DE)
    own = _rows(context)
    assert others
    assert set(own["target"]) == {others}, "the row bears the source side's class"
    context = world.context(attribution={"target": "source_prediction"})
    run(STEPS["ccta_pairs"], context, DE)
    assert not np.allclose(
        own.sort("example_id", "method")["score"], _rows(context).sort("example_id", "method")["score"]
    )


def _predict(context, language, label):
    """Make a language's predictions all `label`, and English ones all another class, which is returned."""
    other = "entailment" if label != "entailment" else "neutral"
    for side, name in ((language, label), ("en", other)):
        frame = context.warehouse.scan("predictions", model="a", language=side).collect()
        slot = Slot("predictions", ("a", side), "nli")
        context.warehouse.write({slot: frame.with_columns(predicted=pl.lit(name))}, f"all {name}")
    return other


def test_nulls_are_seeded_by_the_study_and_the_dataset(world, monkeypatch):
    from xlwh.steps.consistency import ccta_pairs as module

    seeds, scored = [], module.scored
    monkeypatch.setattr(module, "scored", lambda *given: seeds.append(given[-1]) or scored(*given))
    context = world.upstream(world.context(), "a")
    run(STEPS["ccta_pairs"], context, DE)
    assert seeds == [f"{context.study.seed}\x1fnli"]


def test_sub_tokens_as_units(world):
    context = world.upstream(world.context(consistency={"space": "space", "unit": "token", "draws": 2}), "a")
    run(STEPS["ccta_pairs"], context, DE)
    frame = _rows(context)
    assert frame["unit"].unique().to_list() == ["token"]
    tokens = context.warehouse.scan("tokens", model="a", language="de").filter(
        pl.col("word_index").is_not_null()
    )
    counted = dict(tokens.group_by("example_id").len().collect().rows())
    assert dict(frame.select("example_id", "target_units").rows()) == counted


def test_a_sample_counts_as_a_whole(world):
    context = world.upstream(world.context(attribution={"max_examples": 3}), "a")
    result = run(STEPS["ccta_pairs"], context, DE)
    assert _rows(context)["example_id"].n_unique() == 3
    assert result.metadata["nli: without attributions"] == []


def test_missing_attributions_are_counted(world, ready):
    slot = Slot("token_attributions", ("a", "de"), "nli.lig")
    frame = (
        ready.warehouse.scan("token_attributions", model="a", language="de").filter(method="lig").collect()
    )
    ready.warehouse.write({slot: frame.filter(~pl.col("example_id").is_in(["0", "3"]))}, "fewer")
    result = run(STEPS["ccta_pairs"], ready, DE)
    assert [(row["method"], row["pairs"]) for row in result.metadata["nli"]] == [("lig", 3), ("random", 5)]
    assert result.metadata["nli: without attributions"] == [
        {"source_language": "en", "method": "lig", "missing": 2}
    ]


def test_no_attributions_of_the_class_at_all_is_an_error(world, ready):
    everyone = _predict(ready, "de", "entailment")
    for method in ("lig", "random"):
        world.attribute(ready, DE, method, tuple(set(world.labels) - {everyone}), "2")
    with pytest.raises(MissingDataError, match="xlwh materialize attributions --model a --language de"):
        run(STEPS["ccta_pairs"], ready, DE)
    assert ready.warehouse.current(SLOT) is None


def test_fresh_until_an_input_changes(world, ready):
    assert run(STEPS["ccta_pairs"], ready, DE).status == "written"
    assert run(STEPS["ccta_pairs"], ready, DE).status == "fresh"
    world.attribute(ready, EN, "lig", version="2")
    assert run(STEPS["ccta_pairs"], ready, DE).status == "written"
    assert run(STEPS["ccta_pairs"], ready, DE).status == "fresh"
    context = world.context(consistency={"space": "space", "methods": ["lig", "random"], "draws": 4})
    assert run(STEPS["ccta_pairs"], context, DE).status == "written"


@pytest.mark.parametrize(
    ("slot", "command"),
    [
        (Slot("tokens", ("a", "de"), "nli"), "tokens --model a --language de"),
        (Slot("predictions", ("a", "en"), "nli"), "predictions --model a --language en"),
        (Slot("token_attributions", ("a", "de"), "nli.random"), "attributions --model a --language de"),
        (Slot("word_vectors", ("a.space", "en")), "word_vectors --model a --language en"),
    ],
)
def test_what_is_missing_is_named(ready, slot, command):
    ready.warehouse.drop([slot])
    with pytest.raises(MissingDataError, match=f"Run: xlwh materialize {command}$"):
        run(STEPS["ccta_pairs"], ready, DE)


def test_vectors_of_other_tokens_are_refused(world, ready):
    slot = Slot("word_vectors", ("a.space", "de"))
    frame = ready.warehouse.scan("word_vectors", space="a.space", language="de").collect()
    ready.warehouse.write({slot: frame}, "0" * 32)
    with pytest.raises(MissingDataError, match="Run: xlwh materialize word_vectors --model a --language de"):
        run(STEPS["ccta_pairs"], ready, DE)
    run(STEPS["word_vectors"], ready, DE)
    assert run(STEPS["ccta_pairs"], ready, DE).status == "written"


def test_goes_on_where_it_was_killed(world, ready, monkeypatch):
    run(STEPS["ccta_pairs"], ready, DE)
    undisturbed = _rows(ready)
    ready.warehouse.drop([SLOT])
    monkeypatch.setattr(type(definition_of(STEPS["ccta_pairs"])), "at_once", 2)

    def stop_after_two(what, count, total):
        if count == 4:
            raise KeyboardInterrupt

    ready.progress = stop_after_two
    with pytest.raises(KeyboardInterrupt):
        run(STEPS["ccta_pairs"], ready, DE)
    assert ready.warehouse.current(SLOT) is None
    done = []
    ready.progress = lambda what, count, total: done.append((what, count, total))
    assert run(STEPS["ccta_pairs"], ready, DE).status == "written"
    assert (done[0], done[-1]) == (("nli: pairs", 4, 5), ("nli: pairs", 5, 5))
    assert _rows(ready).equals(undisturbed)


def test_methods_that_are_not_computed_are_refused(world):
    with pytest.raises(ValueError, match="no attribution method `random` in this study; there are: lig"):
        world.context(attribution={"methods": {"random": None}})


def test_two_processes_do_not_score_the_same(ready):
    job_fingerprint = "held"
    with (
        ready.warehouse.staging([SLOT], job_fingerprint),
        pytest.raises(StoreError),
    ):
        run(STEPS["ccta_pairs"], ready, DE)


def test_what_does_not_apply_says_so(world, checkpoint):
    context = world.context(consistency=None)
    assert "no [consistency]" in run(STEPS["ccta_pairs"], context, DE).reason
    (world.folder / "en.vec").write_text("the 1 0\n")
    (world.folder / "de.vec").write_text("die 1 0\n")
    context = world.context({"kind": "vec", "files": {"de": "de.vec"}})
    assert "no vector file for `es`" in run(STEPS["ccta_pairs"], context, ES).reason
    assert "source language (en)" in run(STEPS["ccta_pairs"], context, DE).reason
    models = {"a": {"path": str(checkpoint("bert", "")), "datasets": ["nli"]}}
    assert (
        "no sequence classification head" in run(STEPS["ccta_pairs"], world.context(models=models), DE).reason
    )
    models = {"a": {"path": str(world.checkpoint), "datasets": []}}
    assert "no classes or questions" in run(STEPS["ccta_pairs"], world.context(models=models), DE).reason


def test_files_of_vectors(world):
    (world.folder / "en.vec").write_text("the 1 0\ncat 0 1\n")
    (world.folder / "de.vec").write_text("die 1 0\nkatze 0 1\n")
    context = world.context({"kind": "vec", "files": {"en": "en.vec", "de": "de.vec"}, "min_coverage": 0.05})
    world.upstream(context, "a")
    run(STEPS["ccta_pairs"], context, DE)
    frame = _rows(context).filter(method="lig").sort("example_id")
    assert frame["space"].unique().to_list() == ["space"]
    assert frame["alignment"].unique().to_list() == ["unchecked"], "the files share no words"
    assert (frame["source_coverage"] < 1).all()
    assert frame.filter(example_id="2")["score"].item() == 0, "none of its words has a vector"
    assert (
        frame["score"]
        <= frame.select(pl.min_horizontal("source_coverage", "target_coverage")).to_series() + 1e-9
    ).all()


def test_models_and_datasets_that_the_study_leaves_out(world):
    world.upstream(world.context(), "a")
    chosen = {"space": "space", "methods": ["lig", "random"], "draws": 3}
    for left_out in ({"models": ["b"]}, {"datasets": []}):
        context = world.context(consistency={**chosen, **left_out})
        assert run(STEPS["ccta_pairs"], context, DE).status == "not_applicable"
    expected = "not_applicable"
    assert (
        run(STEPS["word_vectors"], world.context(consistency={**chosen, "models": ["b"]}), DE).status
        == expected
    )
    assert (
        run(STEPS["ccta_pairs"], world.context(consistency={**chosen, "models": ["a"]}), DE).status
        == "written"
    )
    # What is left out says nothing about what is not.
    assert run(STEPS["ccta_pairs"], world.context(), DE).status == "fresh"
