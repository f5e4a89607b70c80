"""Keys of models and datasets in addresses, columns and studies."""

from __future__ import annotations

import json
import typing
from pathlib import Path

import pytest
from pydantic import BaseModel

from xlwh.store import Slot
from xlwh.study import Key, Study
from xlwh.tables import TABLES
from xlwh.upkeep.names import PLACES, Known, Renaming, languages_of, model_of, renamed_study

KNOWN = Known(
    frozenset({"nli", "nli.v2", "de", "a+b", "ted"}), frozenset({"words", "nli"}), frozenset({"vec"})
)

NOT_KEYS = {
    *(
        "split",
        "example_id",
        "cluster",
        "stopped",
        "task",
        "text",
        "text_pair",
        "label",
        "words",
        "word_labels",
        "answers",
        "source_file",
    ),
    *(
        "reason",
        "raw",
        "joined_by",
        "verdict",
        "aligned",
        "kind",
        "revision",
        "family",
        "labels",
        "weight_hash",
    ),
    *(
        "tokenizer_hash",
        "dtype",
        "published_as",
        "randomized",
        "finetuned_languages",
        "translated_from",
        "self_test",
        "self_tested_with",
    ),
    *(
        "word",
        "token",
        "segmenter",
        "predicted",
        "status",
        "metric",
        "signature",
        "method",
        "target",
        "parameters",
    ),
    *("matched", "alignment", "target_policy", "unit", "normalization", "stack", "convention", "aggregation"),
    *("measure", "scope", "languages", "algorithm", "affix", "affix_kind", "pos", "entity", "author", "note"),
    *("lexicon", "source_word", "target_word", "baseline", "importance", "mode", "masking", "masked_at"),
    *("empty_input", "mask_token", "query", "side", "kept_hash", "sampler", "estimator", "tokens", "ranking"),
    *("selection", "removed", "language", "source_language", "target_language", "mask_language"),
}
"""Columns of text that hold no key of a model or dataset. A new one has to be put here, or to say what it holds."""


@pytest.mark.parametrize("table", [name for name in TABLES if name != "published_results"])
def test_every_column_of_text_is_known_to_hold_a_key_or_not(table):
    contract = TABLES[table]
    texts = {name for name, column in contract.columns().items() if "String" in str(column.dtype)}
    assert texts <= NOT_KEYS | contract.names().keys()
    assert not NOT_KEYS & contract.names().keys()


def test_every_key_of_a_model_or_dataset_in_the_study_is_renamed():
    places = PLACES["model"] | PLACES["dataset"]
    others = {
        *(
            "name",
            "languages",
            "source_languages",
            "finetuned_languages",
            "dev_languages",
            "zero_shot_from",
            "attribution_methods",
            "spaces",
            "lexica",
            "samplers",
            "space",
            "pivot",
            "methods",
        ),
        *(
            "dictionaries",
            "reversed_dictionaries",
            "files",
            "monolingual",
            "mixed",
            "source",
            "target",
            "pairs",
        ),
    }
    found: set[str] = set()

    def look(part: type[BaseModel]) -> None:
        for name, field in part.model_fields.items():
            if Key in (field.annotation, *_within(field.annotation)) or _is_key(field.metadata):
                found.add(name)
            for inner in _parts(field.annotation):
                look(inner)

    look(Study)
    assert found - others == places


def _within(annotation: object) -> list[object]:
    inner = list(typing.get_args(annotation)) if typing.get_origin(annotation) is not typing.Annotated else []
    return [*inner, *(part for each in inner for part in _within(each))]


def _is_key(metadata: list[object]) -> bool:
    """Pydantic takes the marks of an annotated field off its type."""
    return any(mark in typing.get_args(Key) for mark in metadata)


def _parts(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [part for each in getattr(annotation, "__args__", ()) for part in _parts(each)]


@pytest.mark.parametrize(
    ("slot", "expected"),
    [
        (Slot("tokens", ("m", "en"), "nli"), Slot("tokens", ("m", "en"), "new")),
        (Slot("tokens", ("m", "en"), "nli.v2"), None),
        (
            Slot("token_attributions", ("nli", "en"), "nli.lig"),
            Slot("token_attributions", ("nli", "en"), "new.lig"),
        ),
        (Slot("token_attributions", ("m", "en"), "nli.v2.lig"), None),
        (Slot("examples", ("nli", "en"), "dev"), Slot("examples", ("new", "en"), "dev")),
        (Slot("examples", ("ted", "en"), "nli"), None),
        (
            Slot("concepts", ("m",), "ted+nli.encoder-5.mixed-en+nli"),
            Slot("concepts", ("m",), "ted+new.encoder-5.mixed-en+nli"),
        ),
        (Slot("concepts", ("m",), "a+b.encoder-5.monolingual-nli"), None),
        (
            Slot("concept_matches", ("m",), "nli.nli+ted.en-de"),
            Slot("concept_matches", ("m",), "nli.new+ted.en-de"),
        ),
        (
            Slot("head_samples", ("m", "en"), "nli.rows.000001"),
            Slot("head_samples", ("m", "en"), "new.rows.000001"),
        ),
        (Slot("lexicon", ("nli", "de"), "en"), None),
        (Slot("models", ("nli",)), None),
    ],
)
def test_addresses_under_the_new_key_of_a_dataset(slot, expected):
    assert Renaming("dataset", "nli", "new", KNOWN).slot(slot) == (expected or slot)


@pytest.mark.parametrize(
    ("slot", "expected"),
    [
        (Slot("tokens", ("nli", "en"), "nli"), Slot("tokens", ("new", "en"), "nli")),
        (Slot("word_vectors", ("nli.vec.tokens", "en")), Slot("word_vectors", ("new.vec.tokens", "en"))),
        (Slot("word_vectors", ("vec", "en")), None),
        (Slot("models", ("nli",)), Slot("models", ("new",))),
        (Slot("examples", ("nli", "en"), "dev"), None),
    ],
)
def test_addresses_under_the_new_key_of_a_model(slot, expected):
    assert Renaming("model", "nli", "new", KNOWN).slot(slot) == (expected or slot)


def test_values_of_columns():
    dataset, model = Renaming("dataset", "nli", "new", KNOWN), Renaming("model", "nli", "new", KNOWN)
    recipe = json.dumps({"base": "nli", "dataset": "nli", "seed": 1})
    assert json.loads(dataset.value("recipe", recipe)) == {"base": "nli", "dataset": "new", "seed": 1}
    assert json.loads(model.value("recipe", recipe)) == {"base": "new", "dataset": "nli", "seed": 1}
    assert dataset.value("corpus", "ted+nli") == "ted+new"
    assert (
        dataset.value("clustering", "nli.encoder-0.monolingual-de.k2.s0")
        == "new.encoder-0.monolingual-de.k2.s0"
    )
    assert dataset.value("alignment", "alignment of ted, nli") == "alignment of ted, new"
    assert dataset.value("alignment", "nli.txt") == "nli.txt"
    assert dataset.value("space", "nli.vec") == "nli.vec"
    assert model.value("space", "nli.vec") == "new.vec"
    assert model.value("dataset", "nli") == "nli"
    assert model.value("model", None) is None


def test_what_a_file_is_of():
    assert KNOWN.datasets_of(Slot("concepts", ("m",), "ted+nli.encoder-5.mixed-en+de")) == ["ted", "nli"]
    assert KNOWN.datasets_of(Slot("examples", ("ted", "en"), "dev")) == ["ted"]
    assert KNOWN.datasets_of(Slot("models", ("m",))) == []
    assert model_of(Slot("word_vectors", ("a.vec", "en")), ("a", "a.vec")) == "a"
    assert model_of(Slot("word_vectors", ("vec", "en")), ("a",)) is None
    assert model_of(Slot("tokens", ("gone", "en"), "nli"), ("a",)) == "gone"
    assert languages_of(Slot("ccta_pairs", ("m", "de"), "nli")) == ["de"]


def test_a_study_under_other_keys_and_back():
    data = {
        "name": "s",
        "languages": ["en", "nli"],
        "datasets": {
            "nli": {"reader": "xnli", "path": "nli", "options": {"dataset": "nli"}},
            "ted": {"reader": "xnli", "path": "x"},
        },
        "models": {
            "base": {"path": "base", "datasets": ["nli", "ted"]},
            "tuned": {
                "finetune": {"base": "base", "dataset": "nli", "languages": ["en"], "dev_dataset": "nli"}
            },
            "twin": {"weights_of": "base", "datasets": ["nli"], "counterpart_of": "base"},
        },
        "heads": {"datasets": {"ted": "nli", "nli": "ted"}, "models": ["base"]},
        "concepts": {"datasets": ["nli", "ted"]},
        "folder": Path("/nowhere"),
    }
    study = Study.model_validate(data)
    text = json.dumps({name: value for name, value in data.items() if name != "folder"})
    for what, old in (("dataset", "nli"), ("model", "base")):
        changed = renamed_study(study, what, old, "new")
        again = renamed_study(changed, what, "new", old)
        assert again == study
        assert changed != study
        assert old not in (changed.datasets if what == "dataset" else changed.models)
        Study.model_validate(changed.model_dump())
    assert '"new"' not in text
    nli = renamed_study(study, "dataset", "nli", "new")
    assert nli.datasets["new"].path == "nli"
    assert nli.datasets["new"].options == {"dataset": "nli"}
    assert nli.languages == ("en", "nli")
    assert nli.models["tuned"].finetune.dev_dataset == "new"
    assert dict(nli.heads.datasets) == {"ted": "new", "new": "ted"}
