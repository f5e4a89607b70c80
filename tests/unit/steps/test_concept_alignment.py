"""The steps `concept_matches` and `concept_languages`, from texts to the rows of the views."""

from __future__ import annotations

import polars as pl
import pytest

from xlwh.errors import MissingDataError
from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run

SECTIONS = {
    "lexica": {"x": {"datasets": ["nli"], "pairs": [["en", "de"], ["de", "en"]], "n_best": 10}},
    "concepts": {
        "datasets": ["nli"],
        "models": ["a"],
        "layers": [0, -1],
        "min_count": 1,
        "clusters": 3,
        "mixed": [["en", "de"]],
    },
    "concept_alignment": {"floor": 0.0, "draws": 2},
}


def clustered(world, **changes):
    context = world.context(**{**SECTIONS, **changes})
    for language in ("en", "de"):
        run(STEPS["activations"], context, Key("a", language=language))
        run(STEPS["lexicon"], context, Key(language=language))
    run(STEPS["concepts"], context, Key("a"))
    return context


def test_from_texts_to_views(world):
    context = clustered(world)
    result = run(STEPS["concept_matches"], context, Key("a"))
    assert result.status == "written"
    assert result.metadata["pairings"] == 4
    pairings = context.warehouse.scan("concept_pairings", model="a").collect()
    assert pairings.select("source_language", "target_language").n_unique() == 2
    assert pairings["max_rank"].unique().to_list() == [10]
    found = context.warehouse.scan("concept_matches", model="a").collect()
    assert set(found["baseline"]) == {"none", "shuffled_lexicon", "random_labels"}
    assert found.filter(pl.col("baseline") != "none")["draw"].unique().sort().to_list() == [1, 2]
    assert found["matched"].list.len().unique().to_list() == [10]
    languages = run(STEPS["concept_languages"], context, Key("a"))
    assert languages.metadata == {"mixed clusterings": 2}
    assert run(STEPS["concept_matches"], context, Key("a")).status == "fresh"
    assert run(STEPS["concept_languages"], context, Key("a")).status == "fresh"
    context.warehouse.build_catalogue()
    with context.warehouse.connect() as database:
        calign = database.sql(
            "select layer, source_language, concepts, score from calign where variant = 'strict'"
        )
        assert calign.shape == (4, 4)
        assert {row[2] for row in calign.fetchall()} == {3}
        assert database.sql("select count(*) from calign where score is null").fetchall() == [(0,)]
        colap = database.sql(
            "select layer, score, null_labels from colap where variant = 'strict' and unit = 'tokens'"
        )
        assert [row[0] for row in colap.order("layer").fetchall()] == [0, 2]
        assert database.sql("select distinct role from concept_profiles").fetchall() == [("base",)]


def test_tokens_of_the_languages_are_those_of_the_concepts(world):
    context = clustered(world)
    run(STEPS["concept_languages"], context, Key("a"))
    counted = context.warehouse.scan("concept_languages", model="a").collect()
    sizes = (
        context.warehouse.scan("concepts", model="a")
        .select("clustering", "concept", "num_tokens", "num_types")
        .collect()
    )
    for baseline in ("none", "random_labels"):
        part = counted.filter((pl.col("baseline") == baseline) & (pl.col("draw") < 2))
        sums = part.group_by("clustering", "concept").agg(pl.col("num_tokens").sum().alias("sum"))
        joined = sums.join(sizes, on=["clustering", "concept"])
        assert joined.height == sums.height
        assert (joined["sum"] == joined["num_tokens"]).all()


def test_another_lexicon_or_setting_makes_matches_stale(world):
    context = clustered(world)
    run(STEPS["concept_matches"], context, Key("a"))
    draws = world.context(**{**SECTIONS, "concept_alignment": {"floor": 0.0, "draws": 3}})
    assert run(STEPS["concept_matches"], draws, Key("a")).status == "written"
    shorter = {"x": {**SECTIONS["lexica"]["x"], "pairs": [["en", "de"]], "n_best": 5}}
    fewer = world.context(**{**SECTIONS, "lexica": shorter})
    run(STEPS["lexicon"], fewer, Key(language="de"))
    assert run(STEPS["concept_matches"], fewer, Key("a")).metadata["pairings"] == 2
    stored = context.warehouse.scan("concept_pairings", model="a").collect()
    depths = stored.select("source_language", "max_rank").unique().sort("source_language")
    assert depths.rows() == [("de", 10), ("en", 5)], "the other direction stays as it was"


def test_what_does_not_apply(world):
    context = clustered(world)
    for step in (STEPS["concept_matches"], STEPS["concept_languages"]):
        assert run(step, context, Key("b")).status == "not_applicable"
        nothing = world.context(**{k: v for k, v in SECTIONS.items() if k != "concept_alignment"})
        assert run(step, nothing, Key("a")).status == "not_applicable"
    unmixed = world.context(
        **{**SECTIONS, "concepts": {**SECTIONS["concepts"], "mixed": [], "monolingual": ["en"]}}
    )
    assert "no languages together" in run(STEPS["concept_languages"], unmixed, Key("a")).reason
    assert "clustered by themselves" in run(STEPS["concept_matches"], unmixed, Key("a")).reason


def test_missing_inputs_are_named(world):
    context = world.context(**SECTIONS)
    with pytest.raises(MissingDataError, match="materialize lexicon --language de"):
        run(STEPS["concept_matches"], context, Key("a"))
    for language in ("en", "de"):
        run(STEPS["lexicon"], context, Key(language=language))
    with pytest.raises(MissingDataError, match="materialize concepts --model a"):
        run(STEPS["concept_matches"], context, Key("a"))
    with pytest.raises(MissingDataError, match="materialize concepts --model a"):
        run(STEPS["concept_languages"], context, Key("a"))
