"""The step activations: what is stored, freshness per layer, resuming, and both sides of translations."""

from __future__ import annotations

import polars as pl
import pytest

from xlwh.concepts import extraction
from xlwh.errors import MissingDataError
from xlwh.models.tokenize import encode
from xlwh.steps.base import Key
from xlwh.steps.concepts import activations
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.planning import definition_of
from xlwh.steps.runner import run
from xlwh.store import Slot, Staging, schema

EN, DE = Key("a", language="en"), Key("a", language="de")
CONCEPTS = {"datasets": ["nli"], "min_count": 2, "clusters": 3, "mixed": [["en", "de"]]}


def stored(context: Context, **filters: str) -> pl.DataFrame:
    return context.warehouse.scan("activations", **filters).collect()


def parts(context: Context) -> set[str]:
    first, second = (
        {entry.slot.part for entry in context.warehouse.entries(table)} for table in activations.TABLES
    )
    assert first == second
    return first


def test_every_frequent_word_has_a_vector_at_every_layer(world):
    context = world.context(concepts=CONCEPTS)
    result = run(STEPS["activations"], context, EN)
    assert result.status == "written"
    assert parts(context) == {"nli.encoder.0", "nli.encoder.1", "nli.encoder.2"}
    frame = stored(context, language="en")
    assert result.rows == frame.height
    examples = context.warehouse.scan("examples", language="en").collect()
    words = [word for row in encode(context.zoo.load("a"), examples).words for word in row]
    frequent = [word for word in words if words.count(word) >= 2]
    for layer in range(3):
        rows = frame.filter(pl.col("layer") == layer)
        assert sorted(rows["word"]) == sorted(frequent)
        assert rows["vector"].list.len().to_list() == [24] * rows.height
        assert rows["reason"].null_count() == rows.height
    norms = frame["vector"].cast(pl.List(pl.Float64)).list.eval(pl.element() ** 2).list.sum().sqrt()
    assert ((norms - frame["norm"]).abs() < 0.01 * frame["norm"]).all()
    for layer in range(3):
        words = frame.filter(pl.col("layer") == layer).height
        assert result.metadata[f"nli, encoder.{layer}"] == {"words": words, "vectors": words}
    assert run(STEPS["activations"], context, EN).status == "fresh"


def test_a_layer_more_computes_just_that_one_and_a_layer_less_stays(world):
    context = world.context(concepts={**CONCEPTS, "layers": [0, 1]})
    run(STEPS["activations"], context, EN)
    before = {e.slot.part: e.commit for e in context.warehouse.entries("activations")}
    context = world.context(concepts={**CONCEPTS, "layers": [1, -1]})
    result = run(STEPS["activations"], context, EN)
    after = {e.slot.part: e.commit for e in context.warehouse.entries("activations")}
    assert set(after) == {"nli.encoder.0", "nli.encoder.1", "nli.encoder.2"}
    assert {part: after[part] for part in before} == before
    assert result.status == "written"
    context = world.context(concepts={**CONCEPTS, "layers": [1, 2], "min_count": 3})
    assert run(STEPS["activations"], context, EN).status == "written"


def test_a_killed_run_goes_on_and_ends_the_same(world, monkeypatch):
    monkeypatch.setattr(extraction, "WINDOW_EXAMPLES", 2)
    whole = world.context(concepts=CONCEPTS)
    run(STEPS["activations"], whole, EN)
    expected = stored(whole)
    whole.warehouse.drop([entry.slot for entry in whole.warehouse.entries("activations")])

    class Killed(Exception):  # noqa: N818
        pass

    def kill(what: str, done: int, total: int) -> None:
        if "activations" in what and done >= 3:
            raise Killed

    context = world.context(concepts=CONCEPTS)
    context.progress = kill
    with pytest.raises(Killed):
        run(STEPS["activations"], context, EN)
    assert stored(context).height == 0
    passed: list[int] = []
    real = extraction.rows

    def counted(loaded, examples, window, *others):
        passed.append(window["example"].n_unique())
        return real(loaded, examples, window, *others)

    monkeypatch.setattr(extraction, "rows", counted)
    run(STEPS["activations"], world.context(concepts=CONCEPTS), EN)
    assert sum(passed) < 5
    assert stored(context).equals(expected)


def test_a_run_that_is_killed_between_the_layers_of_a_window_ends_the_same(world, monkeypatch):
    monkeypatch.setattr(extraction, "WINDOW_EXAMPLES", 2)
    run(STEPS["activations"], world.context(concepts=CONCEPTS), EN)
    tables = {table: world.context().warehouse.scan(table).collect() for table in activations.TABLES}
    context = world.context(concepts=CONCEPTS)
    context.warehouse.drop([e.slot for table in tables for e in context.warehouse.entries(table)])
    appended, append = [], Staging.append

    def killed(staging, frames):
        if len(appended) == 4:
            raise KeyboardInterrupt
        appended.append(append(staging, frames))

    # Of the second window only the first of three layers is there.
    monkeypatch.setattr(Staging, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        run(STEPS["activations"], context, EN)
    monkeypatch.setattr(Staging, "append", append)
    run(STEPS["activations"], context, EN)
    for table, expected in tables.items():
        assert context.warehouse.scan(table).collect().equals(expected)


def test_the_seed_and_how_batches_are_cut_matter_only_where_they_reach_the_rows(world):
    run(STEPS["activations"], world.context(concepts=CONCEPTS), EN)
    other = {**CONCEPTS, "batch_tokens": 64}
    assert run(STEPS["activations"], world.context(concepts=other, seed=7), EN).status == "fresh"
    drawn = {**other, "max_occurrences": 2}
    assert run(STEPS["activations"], world.context(concepts=drawn), EN).status == "written"
    assert run(STEPS["activations"], world.context(concepts=drawn, seed=7), EN).status == "written"


def test_at_most_so_many_occurrences_of_a_type(world):
    context = world.context(concepts={**CONCEPTS, "max_occurrences": 2})
    run(STEPS["activations"], context, EN)
    counts = stored(context).filter(pl.col("layer") == 0)["word"].value_counts()
    assert counts["count"].to_list() == [2] * counts.height
    assert counts.height > 5


def test_datasets_are_counted_apart_or_together(world):
    datasets = {key: {"reader": "xnli", "path": "nli"} for key in ("nli", "more")}
    sections = {"datasets": datasets, "concepts": {**CONCEPTS, "datasets": ["nli", "more"], "layers": [0]}}
    context = world.context(**sections)
    context.warehouse.write({Slot("examples", ("more", "en"), "dev"): world_examples(context)}, "read")
    run(STEPS["activations"], context, EN)
    rare = stored(context).filter(pl.col("word") == "sofa")
    assert rare.height == 0
    sections["concepts"]["pool"] = True
    context = world.context(**sections)
    run(STEPS["activations"], context, EN)
    assert sorted(stored(context).filter(pl.col("word") == "sofa")["dataset"]) == ["more", "nli"]


def world_examples(context: Context) -> pl.DataFrame:
    """The English examples again, as another dataset; in both one word is rare."""
    frame = context.warehouse.scan("examples", language="en").collect()
    frame = frame.with_columns(
        text=pl.when(pl.col("example_id") == frame["example_id"][0])
        .then(pl.lit("A sofa is on the mat."))
        .otherwise("text")
    )
    context.warehouse.write({Slot("examples", ("nli", "en"), "dev"): frame}, "read again")
    return frame.with_columns(dataset=pl.lit("more"))


@pytest.mark.parametrize("at_once", [1, 2_000])
def test_translations_have_two_sides(world, monkeypatch, at_once):
    monkeypatch.setattr(type(definition_of(STEPS["activations"])), "at_once", at_once)
    datasets = {"mt": {"reader": "parallel", "path": "mt", "languages": ["en", "de", "es"]}}
    models = {"a": {"path": str(world.checkpoint)}}
    context = world.context(
        datasets=datasets,
        models=models,
        consistency=None,
        concepts={**CONCEPTS, "datasets": ["mt"], "layers": [0]},
    )
    pairs = [
        ("the cat the", {"de": "die Katze die", "es": "el gato el"}),
        ("a dog a", {"de": "ein Hund ein", "es": "un"}),
    ]
    for language in ("de", "es"):
        frame = pl.DataFrame(
            [
                {
                    "dataset": "mt",
                    "split": "dev",
                    "language": language,
                    "example_id": str(number),
                    "task": "translation",
                    "text": source,
                    "text_pair": targets[language],
                    "source_file": "f",
                    "row_number": number,
                }
                for number, (source, targets) in enumerate(pairs)
            ]
        )
        typed = pl.concat([pl.DataFrame(schema=schema("examples")), frame], how="diagonal_relaxed")
        context.warehouse.write({Slot("examples", ("mt", language), "dev"): typed}, "read")
    run(STEPS["activations"], context, EN)
    run(STEPS["activations"], context, DE)
    # Each source sentence once, although it was translated twice.
    english = stored(context, language="en")
    assert english["word"].to_list() == ["the", "the", "a", "a"]
    assert english["word_index"].to_list() == [0, 2, 0, 2]
    assert stored(context, language="de")["word"].to_list() == ["die", "die", "ein", "ein"]


def test_what_does_not_apply(world):
    assert "no concepts of `a`" in run(STEPS["activations"], world.context(), EN).reason
    context = world.context(concepts={**CONCEPTS, "models": ["b"]})
    assert run(STEPS["activations"], context, EN).status == "not_applicable"
    context = world.context(concepts=CONCEPTS)
    assert "no words of `es`" in run(STEPS["activations"], context, Key("a", language="es")).reason
    context = world.context(concepts={**CONCEPTS, "stacks": ["decoder"]})
    assert "none of the stacks decoder" in run(STEPS["activations"], context, EN).reason


def test_examples_must_have_been_read(world):
    context = world.context(concepts=CONCEPTS)
    context.warehouse.drop([Slot("examples", ("nli", "en"), "dev")])
    with pytest.raises(MissingDataError, match="xlwh materialize examples --dataset nli --language en"):
        run(STEPS["activations"], context, EN)
