"""The step concept_kinds: gold tags of the corpus, affixes, languages, and freshness."""

from __future__ import annotations

import polars as pl
import pytest

from xlwh.corpora import spans
from xlwh.errors import MissingDataError
from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
from xlwh.store import Slot

KEY = Key("a")
CONCEPTS = {"datasets": ["nli"], "min_count": 1, "clusters": 3, "layers": [0, 2], "mixed": [["en", "de"]]}


def test_kinds_of_every_concept(world):
    context = world.context(concepts=CONCEPTS)
    for language in ("en", "de"):
        slot = Slot("examples", ("nli", language), "dev")
        frame = context.warehouse.scan("examples", language=language).collect()
        split = pl.col("text").str.split(" ")
        tagged = frame.with_columns(
            words=split,
            word_spans=spans.column([spans.joined(text.split(" ")) for text in frame["text"]]),
            word_labels=split.list.eval(
                pl.when(pl.element().str.ends_with(".")).then(pl.lit("PUNCT")).otherwise(pl.lit("NOUN"))
            ),
            text_pair=pl.lit(None, pl.String),
        )
        context.warehouse.write({slot: tagged}, "tagged")
        run(STEPS["activations"], context, Key("a", language=language))
    with pytest.raises(MissingDataError, match="xlwh materialize concepts --model a"):
        run(STEPS["concept_kinds"], context, KEY)
    run(STEPS["concepts"], context, KEY)
    result = run(STEPS["concept_kinds"], context, KEY)
    kinds = context.warehouse.scan("concept_kinds").collect()
    filled = context.warehouse.scan("concepts").filter(~pl.col("is_empty")).collect()
    assert result.rows == kinds.height == filled.height
    joined = kinds.join(filled, on=["model", "clustering", "concept"])
    assert joined["num_tokens"].equals(joined["num_tokens_right"])
    assert kinds["num_pos_tagged"].equals(kinds["num_tokens"])
    assert set(kinds["pos"]) <= {"NOUN", "PUNCT"}
    assert kinds["num_entity_tagged"].sum() == 0
    assert kinds["entity"].null_count() == kinds.height
    assert (kinds["language_tokens"] <= kinds["num_tokens"]).all()
    mixed = kinds.filter(pl.col("clustering").str.contains("mixed"))
    assert mixed["num_languages"].max() == 2
    members = context.warehouse.scan("concept_members").filter(pl.col("clustering") == mixed["clustering"][0])
    sizes = members.group_by("concept", "language").len().collect()
    for row in mixed.filter(pl.col("clustering") == mixed["clustering"][0]).to_dicts():
        own = sizes.filter(pl.col("concept") == row["concept"])
        assert own["len"].max() == row["language_tokens"]
    assert run(STEPS["concept_kinds"], context, KEY).status == "fresh"

    german = Slot("examples", ("nli", "de"), "dev")
    frame = context.warehouse.scan("examples", language="de").collect()
    context.warehouse.write({german: frame}, "tagged anew")
    run(STEPS["activations"], context, Key("a", language="de"))
    run(STEPS["concepts"], context, KEY)
    before = {entry.slot.part: entry.commit for entry in context.warehouse.entries("concept_kinds")}
    assert run(STEPS["concept_kinds"], context, KEY).status == "written"
    again = {
        entry.slot.part
        for entry in context.warehouse.entries("concept_kinds")
        if entry.commit != before[entry.slot.part]
    }
    assert again == {
        f"nli.encoder.{layer}.{scope}" for layer in (0, 2) for scope in ("monolingual-de", "mixed-en+de")
    }


def test_what_does_not_apply(world):
    assert run(STEPS["concept_kinds"], world.context(), KEY).status == "not_applicable"
