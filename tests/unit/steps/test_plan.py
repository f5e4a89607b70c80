"""The plan: order, partitions, and what reads what."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS, in_order, models_in_order, partitions, step_of, upstream, values
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
