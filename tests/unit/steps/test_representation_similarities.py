"""The step representation_similarities over a small parallel corpus."""

from __future__ import annotations

import polars as pl
import pytest

from xlwh.errors import MissingDataError
from xlwh.steps.base import Key
from xlwh.steps.concepts import representation_similarities
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
from xlwh.store import Slot

KEY = Key("a")
CONCEPTS = {"datasets": ["nli"], "min_count": 1, "clusters": 4, "layers": [0, 2], "mixed": [["en", "de"]]}


@pytest.fixture
def context(world):
    made = world.context(concepts=CONCEPTS)
    for language in ("en", "de"):
        # More sentences than the world has: the same ones again, under other ids.
        slot = Slot("examples", ("nli", language), "dev")
        frame = made.warehouse.scan("examples", language=language).collect()
        again = frame.with_columns(pl.col("example_id") + "b", text=pl.col("text") + " !")
        third = frame.with_columns(pl.col("example_id") + "c", text_pair=pl.col("text"))
        made.warehouse.write({slot: pl.concat([frame, again, third])}, "more")
        run(STEPS["activations"], made, Key("a", language=language))
    return made


def test_every_measure_of_every_layer(context):
    result = run(STEPS["representation_similarities"], context, KEY)
    found = context.warehouse.scan("representation_similarities").collect()
    assert result.rows == found.height
    per_layer = [
        ("anisotropy", "de", "de"),
        ("anisotropy", "en", "en"),
        ("cka", "de", "en"),
        ("language_probe", "all", "all"),
        ("mutual_retrieval", "de", "en"),
        ("retrieval", "de", "en"),
        ("retrieval", "en", "de"),
    ]
    for layer in (0, 2):
        rows = found.filter(pl.col("layer") == layer)
        names = rows.select("measure", "source_language", "target_language").rows()
        assert (
            sorted(
                (m, *sorted(pair)) if m in ("cka", "mutual_retrieval") else (m, *pair) for m, *pair in names
            )
            == per_layer
        )
    assert set(found.filter(pl.col("measure") == "cka")["num_units"]) == {15}
    assert found.filter(pl.col("measure") == "anisotropy")["null_value"].null_count() == 4
    assert run(STEPS["representation_similarities"], context, KEY).status == "fresh"


def test_sentence_vectors_must_be_there(context):
    context.warehouse.drop([Slot("sentence_vectors", ("a", "de"), "nli.encoder.2")])
    with pytest.raises(MissingDataError, match="xlwh materialize activations --model a --language de"):
        run(STEPS["representation_similarities"], context, KEY)


def test_what_does_not_apply(world):
    assert run(STEPS["representation_similarities"], world.context(), KEY).status == "not_applicable"


def test_whether_languages_may_be_paired_is_part_of_what_is_stored(context, monkeypatch):
    """Also where everything else is the same: a verdict, or `aligned`, that has changed."""
    paired = ["cka", "mutual_retrieval", "retrieval"]
    for unlike, measures in (([], paired), ([{"target_language": "de", "verdict": "unrelated"}], [])):
        monkeypatch.setattr(representation_similarities, "not_parallel", lambda *_, rows=unlike: rows)
        assert run(STEPS["representation_similarities"], context, KEY).status == "written"
        assert run(STEPS["representation_similarities"], context, KEY).status == "fresh"
        stored = context.warehouse.scan("representation_similarities").collect()["measure"]
        assert sorted(set(stored) & set(paired)) == measures
