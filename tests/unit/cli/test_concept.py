"""Looking at concepts from the command line, on a small warehouse made by hand."""

from __future__ import annotations

import csv

import numpy as np
import polars as pl
import pytest

from xlwh.corpora.spans import joined
from xlwh.store import Slot, Warehouse, schema

NAME = "pud.encoder.1.mixed-en+de.k2.s0"
WORDS = {
    "en": [("The", 0), ("cat", 1), ("sleeps", 1)],
    "de": [("Die", 0), ("Katze", 1), ("schläft", 1)],
}
VECTORS = {
    "The": [0.0, 1.0],
    "Die": [0.1, 1.0],
    "cat": [1.0, 0.0],
    "Katze": [1.0, 0.1],
    "sleeps": [1.0, -0.4],
    "schläft": [1.0, -0.5],
}


def frame(table, rows):
    types = schema(table)
    empty = dict.fromkeys(types)
    return pl.DataFrame([{**empty, **row} for row in rows], schema=types)


@pytest.fixture
def warehouse(tmp_path):
    made = Warehouse(tmp_path / "warehouse", create=True)
    place = {"stack": "encoder", "layer": 1}
    identity = {"model": "m", "clustering": NAME, "corpus": "pud", "scope": "mixed:en+de", **place}
    members = []
    for language, words in WORDS.items():
        key = {"dataset": "pud", "split": "test", "language": language, "example_id": "1"}
        surfaces = [word for word, _ in words]
        spans = [{"start": a, "end": b} for a, b in joined(surfaces)]
        example = {**key, "task": "token_classification", "text": " ".join(surfaces), "words": surfaces}
        example["word_spans"] = spans
        rows = [{**example, "source_file": "f", "row_number": 0}]
        made.write({Slot("examples", ("pud", language), "test"): frame("examples", rows)}, "f")
        occurrences = [
            {**key, "word_index": index, "word": word, "model": "m", "segment": 0}
            | {"char_start": spans[index]["start"], "char_end": spans[index]["end"]}
            for index, word in enumerate(surfaces)
        ]
        activations = [
            {
                **row,
                **place,
                "aggregation": "last",
                "num_tokens": 1,
                "norm": 1.0,
                "vector": VECTORS[row["word"]],
            }
            for row in occurrences
        ]
        slot = Slot("activations", ("m", language), "pud.encoder.1")
        made.write({slot: frame("activations", activations)}, "f")
        members += [
            {**row, **identity, "concept": concept, "distance": 0.1 * row["word_index"]}
            for row, (_, concept) in zip(occurrences, words, strict=True)
        ]
    clustering = {
        **identity,
        "languages": ["en", "de"],
        "aggregation": "last",
        "algorithm": "faiss",
        "num_clusters": 2,
        "seed": 0,
        "restarts": 1,
        "width": 2,
        "num_points": 6,
        "num_left_out": 0,
        "num_types": 6,
        "num_empty": 0,
        "inertia": 1.0,
        "total_inertia": 2.0,
        "iterations": 3,
        "converged": True,
        "duration_s": 0.1,
    }
    own = {"model": "m", "clustering": NAME}
    concepts = [
        {**own, "concept": k, "num_tokens": 2, "num_types": 2, "is_empty": False, "inertia": 0.5}
        | {"inertia_share": 0.5, "centroid": np.eye(2)[k].tolist()}
        for k in (0, 1)
    ]
    kinds = [
        {**own, "concept": 1, "num_tokens": 4, "num_types": 4, "num_pos_tagged": 4, "pos": "NOUN"}
        | {"pos_tokens": 2, "pos_base_rate": 0.25, "num_entity_tagged": 0, "num_languages": 2}
        | {"language": "en", "language_tokens": 2, "affix": "s", "affix_kind": "suffix", "affix_types": 3}
        | {"affix_base_rate": 0.5, "affix_p": 0.25}
    ]
    labels = [{**own, "concept": 1, "author": "me", "label": "animals"}]
    made.write(
        {
            Slot("clusterings", ("m",), "p"): frame("clusterings", [clustering]),
            Slot("concepts", ("m",), "p"): frame("concepts", concepts),
            Slot("concept_members", ("m",), "p"): frame("concept_members", members),
            Slot("concept_kinds", ("m",), "p"): frame("concept_kinds", kinds),
            Slot("concept_labels", ("m",)): frame("concept_labels", labels),
        },
        "f",
    )
    made.build_catalogue()
    return made


def test_a_concept_is_shown(xlwh, warehouse):
    code, out, _ = xlwh("concept", "show", "m", NAME, 1)
    assert code == 0
    assert 'Concept 1 of pud.encoder.1.mixed-en+de.k2.s0, "animals"' in out
    assert "4 of 6 words; mixed:en+de, encoder layer 1" in out
    assert "suffix 's': 3 of 4 types, p = 0.25" in out
    assert "NOUN: 50% of 4 tagged words (everywhere: 25%)" in out
    assert "The «cat» sleeps" in out
    assert "Die Katze «schläft»" in out
    assert "Nearest concepts" in out
    assert "-1.0000" in out
    assert "«" not in xlwh("concept", "show", "m", NAME, 1, "--sentences", 0)[1]


def test_what_is_not_there_is_told(xlwh, warehouse):
    code, _, error = xlwh("concept", "show", "x", NAME, 1)
    assert (code, "No concepts of `x`. Available: m. Run: xlwh materialize concepts --model x" in error) == (
        1,
        True,
    )
    assert f"such as: {NAME}" in xlwh("concept", "show", "m", "y", 1)[2]
    assert "concepts 0 to 1, not 2" in xlwh("concept", "show", "m", NAME, 2)[2]
    near = ["concept", "near", "m", "--language", "en", "--dataset", "pud"]
    assert "Available: pud.encoder.1" in xlwh(*near, "cat", "--layer", 4)[2]
    assert (
        "`catty` is no word of `en` there that is frequent enough. Similar: cat"
        in (xlwh(*near, "catty", "--layer", 1)[2])
    )


def test_neighbours_of_a_word(xlwh, warehouse):
    code, out, _ = xlwh(
        "concept", "near", "m", "cat", "--language", "en", "--dataset", "pud", "--layer", 1, "--limit", 1
    )
    assert code == 0
    rows = [line.split() for line in out.splitlines() if line.strip().startswith(("de", "en"))]
    assert [row[:2] for row in rows] == [["de", "Katze"], ["en", "sleeps"]]
    command = ["concept", "near", "m", "cat", "--language", "en", "--dataset", "pud", "--layer", 1]
    assert "sleeps" not in xlwh(*command, "--to", "de")[1]


def test_concepts_are_exported_for_naming(xlwh, warehouse, tmp_path):
    from xlwh.concepts.labels import read

    assert xlwh("concept", "export", "m", "out.csv")[0] == 0
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (first["label"], second["label"], second["author"]) == ("", "animals", "me")
    assert set(first["words"].split()) == {"en:The", "de:Die"}
    assert read(tmp_path / "out.csv").to_dicts() == [
        {"model": "m", "clustering": NAME, "concept": 1, "label": "animals", "author": "me", "note": None}
    ]


def test_a_cloud_is_drawn(xlwh, warehouse, tmp_path):
    assert xlwh("concept", "cloud", "m", NAME, 1, "cloud.png")[0] == 0
    from matplotlib.image import imread

    image = imread(tmp_path / "cloud.png")
    # Not blank: letters in the colours of two languages.
    assert len(np.unique((image[..., :3] * 255).round().reshape(-1, 3), axis=0)) > 20
