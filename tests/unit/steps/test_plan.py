"""The plan: order, partitions, and what reads what."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import small_study

from xlwh.steps.base import Key
from xlwh.steps.plan import (
    STEPS,
    Marked,
    in_order,
    models_in_order,
    of_same_weights,
    partitions,
    step_of,
    upstream,
    values,
)
from xlwh.study import Study
from xlwh.tables import TABLES


@pytest.fixture
def study():
    return Study.model_validate(
        {
            "name": "s",
            "languages": ["en", "de"],
            "datasets": {
                "test": {"reader": "xnli", "path": "x"},
                "train": {"reader": "xnli", "path": "x", "languages": ["en"]},
                "other": {"reader": "xnli", "path": "x", "languages": ["fr"]},
            },
            "models": {
                "tuned": {
                    "datasets": ["test"],
                    "finetune": {"base": "base", "dataset": "train", "languages": ["en"]},
                },
                "base": {"path": "b"},
            },
            "folder": Path("/nowhere"),
        }
    )


def test_every_table_has_one_step_and_every_step_a_module():
    assert sorted(table for step in STEPS.values() for table in step.tables) == sorted(TABLES)
    for step in STEPS.values():
        assert importlib.util.find_spec(step.module) is not None
    assert step_of("rejected_rows") is STEPS["examples"]


def test_a_step_comes_after_those_that_it_reads():
    names = list(STEPS)
    for step in STEPS.values():
        for read in step.reads:
            assert names.index(read.step) <= names.index(step.name)


def test_bases_come_before_the_models_made_from_them(study):
    assert models_in_order(study) == ["base", "tuned"]
    assert values(study, "model") == ("base", "tuned")
    assert values(study, "language") == ("en", "de", "fr")


def test_partitions_go_model_by_model(study):
    assert partitions(study, STEPS["published_results"]) == [Key()]
    assert partitions(study, STEPS["models"]) == [Key("base"), Key("tuned")]
    found = partitions(study, STEPS["tokens"])
    assert [(key.model, key.language) for key in found[:4]] == [
        ("base", "en"),
        ("base", "de"),
        ("base", "fr"),
        ("tuned", "en"),
    ]
    assert in_order(study, STEPS["tokens"], {found[4], found[1]}) == [found[1], found[4]]


def _names(study, step, key):
    return {f"{source.name} {other}" for source, other in upstream(study, STEPS[step], key)}


def test_a_fine_tuned_model_reads_its_base_and_its_training_data(study):
    assert _names(study, "models", Key("base")) == set()
    assert _names(study, "models", Key("tuned")) == {
        "models base",
        "examples train × en",
        "examples train × de",
        "examples train × fr",
    }


def test_a_model_reads_the_datasets_that_it_is_evaluated_on(study):
    assert _names(study, "tokens", Key("tuned", language="de")) == {
        "examples test × de",
        "models tuned",
    }
    rest = study.datasets["test"].model_copy(update={"skip_examples": 10})
    changed = study.model_copy(update={"datasets": {**study.datasets, "test": rest}})
    assert "parallelism test" in _names(changed, "tokens", Key("tuned", language="de"))
    assert _names(study, "tokens", Key("base", language="de")) == {"models base"}


def test_attributions_and_pairs_read_all_languages_of_their_model(study):
    read = _names(study, "attributions", Key("tuned", language="de"))
    assert {"predictions tuned × en", "predictions tuned × de", "predictions tuned × fr"} <= read
    assert not any("base ×" in name for name in read)
    pairs = _names(study, "ccta_pairs", Key("tuned", language="de"))
    assert {"attributions tuned × en", "word_vectors tuned × en", "tokens tuned × de"} <= pairs


def test_vectors_read_the_words_of_every_model(study):
    read = _names(study, "word_vectors", Key("tuned", language="de"))
    assert {
        "examples test × de",
        "tokens base × de",
        "tokens tuned × de",
        "models tuned",
    } == read


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A study of every step, with models that are made from one another, and datasets of other languages."""
    settings = small_study.settings(tmp_path_factory.mktemp("study"))
    more = {"reader": "xnli", "path": "x", "languages": ["en", "fr"], "skip_examples": 4}
    settings["datasets"]["rest"] = more
    settings["models"]["nli_en"]["datasets"] = ["nli", "rest"]
    # A base may be named after what is made from it.
    settings["models"] = dict(reversed(settings["models"].items()))
    return Study.model_validate(settings)


def _scanned(study, step, key):
    """What a partition reads, found by asking every partition of every source."""
    for read in step.reads:
        source = STEPS[read.step]
        for other in partitions(study, source):
            if source is step:
                is_read = other.model == study.models[key.model].base
            elif source.name == "models":
                is_read = other.model in of_same_weights(study, key.model)
            else:
                is_read = all(
                    getattr(other, dimension) == getattr(key, dimension)
                    for dimension in source.dimensions
                    if dimension in step.dimensions and dimension not in read.across
                )
            if "dataset" in source.dimensions and (key.model is not None or step.name == "lexicon"):
                is_read = is_read and other.dataset in _datasets(study, step, key)
                if read.of_rest:
                    is_read = is_read and study.datasets[other.dataset].skip_examples is not None
            if is_read:
                yield read, source, other


def _datasets(study, step, key):
    if step.name == "lexicon":
        return {
            dataset
            for lexicon in study.lexica.values()
            for dataset in lexicon.datasets
            if any(target == key.language for _, target in lexicon.directions())
        }
    if step.group == "concepts":
        return set(study.concepts.datasets)
    model = study.models[key.model]
    return set(model.training_datasets if step.name == "models" else model.datasets)


def _same_cell(key, other):
    names = ("model", "dataset", "language")
    both = [(getattr(key, name), getattr(other, name)) for name in names]
    both = [(mine, theirs) for mine, theirs in both if mine is not None and theirs is not None]
    return bool(both) and all(mine == theirs for mine, theirs in both)


@pytest.mark.parametrize("step", STEPS.values(), ids=lambda step: step.name)
def test_what_a_partition_reads_is_what_a_search_finds_in_the_same_order(everything, step):
    for key in partitions(everything, step):
        read = list(_scanned(everything, step, key))
        assert list(upstream(everything, step, key)) == [(source, other) for _, source, other in read]
        needed = [(source, other) for read, source, other in read if not read.partly]
        assert list(upstream(everything, step, key, needed=True)) == needed
        near = [(source, other) for _, source, other in read if _same_cell(key, other)]
        assert list(upstream(everything, step, key, same_cell=True)) == near


def test_who_reads_a_marked_partition_is_who_has_it_upstream(everything):
    readers: dict = {}
    for step in STEPS.values():
        for key in partitions(everything, step):
            for source, other in upstream(everything, step, key):
                readers.setdefault((source.name, other), set()).add((step.name, key))
    every = [(step, key) for step in STEPS.values() for key in partitions(everything, step)]
    marked_all, read = Marked(everything), set()
    for step, key in every:
        marked = Marked(everything)
        marked.add(step, key)
        found = {(other.name, its) for other, its in every if marked.is_read_by(other, its)}
        assert found == readers.get((step.name, key), set()), (step.name, key)
        marked_all.add(step, key)
        read |= found
        assert {(other.name, its) for other, its in every if marked_all.is_read_by(other, its)} == read


def test_another_study_has_values_of_its_own(study):
    assert values(study, "language") == ("en", "de", "fr")
    fewer = study.model_copy(update={"languages": ("de",), "datasets": {}})
    assert values(fewer, "language") == ("de",)
    assert values(study, "language") == ("en", "de", "fr")


def test_what_is_no_partition_is_in_no_order(study):
    assert in_order(study, STEPS["tokens"], {Key("nobody", language="de"), Key("base", language="de")}) == [
        Key("base", language="de")
    ]
