"""The step concepts: clusterings of one language and of several, what is stored of them, and freshness."""

from __future__ import annotations

from importlib import metadata

import numpy as np
import polars as pl
import pytest

from xlwh.errors import MissingDataError, StudyError
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.job import library_version
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
from xlwh.store import Slot

KEY = Key("a")
CONCEPTS = {
    "datasets": ["nli"],
    "min_count": 1,
    "clusters": 4,
    "layers": [0, 2],
    "mixed": [["en", "de"]],
    "seeds": [0, 1],
}


def context_of(world, **changes) -> Context:
    context = world.context(concepts={**CONCEPTS, **changes})
    for language in ("en", "de"):
        run(STEPS["activations"], context, Key("a", language=language))
    return context


def test_what_is_stored_of_a_clustering(world):
    context = context_of(world)
    result = run(STEPS["concepts"], context, KEY)
    assert result.status == "written"
    runs = context.warehouse.scan("clusterings").collect()
    assert set(runs["clustering"]) == {
        f"nli.encoder.{layer}.{scope}.k4.s{seed}"
        for layer in (0, 2)
        for scope in ("monolingual-en", "monolingual-de", "mixed-en+de")
        for seed in (0, 1)
    }
    assert set(runs["scope"]) == {"monolingual:en", "monolingual:de", "mixed:en+de"}
    assert runs["stability"].null_count() == 0
    assert (runs["inertia"] <= runs["total_inertia"]).all()
    vectors = context.warehouse.scan("activations").collect()
    members = context.warehouse.scan("concept_members").collect()
    assert result.rows == members.height
    centres = context.warehouse.scan("concepts").collect()
    for each in runs.to_dicts():
        own = members.filter(pl.col("clustering") == each["clustering"])
        mine = centres.filter(pl.col("clustering") == each["clustering"]).sort("concept")
        assert mine["concept"].to_list() == [0, 1, 2, 3]
        points = vectors.filter(
            (pl.col("layer") == each["layer"]) & pl.col("language").is_in(each["languages"])
        )
        assert own.height == points.height == each["num_points"]
        assert mine["num_tokens"].sum() == own.height
        assert mine["inertia"].sum() == pytest.approx(each["inertia"], rel=1e-4)
        assert mine["inertia_share"].sum() == pytest.approx(1)
        joined = own.join(points, on=["language", "example_id", "word_index"])
        assert joined["word"].equals(joined["word_right"])
        values = np.array(joined["vector"].to_list(), dtype=float)
        distances = np.linalg.norm(values[:, None] - np.array(mine["centroid"].to_list()), axis=2)
        assert np.allclose(distances.min(axis=1), joined["distance"], atol=1e-2)
        assert np.allclose(
            distances[np.arange(len(values)), joined["concept"].to_numpy()], joined["distance"], atol=1e-2
        )
        types = own.filter(pl.col("concept") == 0).select("language", "word").n_unique()
        assert mine["num_types"][0] == types
        assert each["total_inertia"] == pytest.approx(((values - values.mean(0)) ** 2).sum(), rel=1e-3)
    assert run(STEPS["concepts"], context, KEY).status == "fresh"


def test_only_what_changed_is_clustered_again(world):
    context = context_of(world, seeds=[0])
    run(STEPS["concepts"], context, KEY)
    assert context.warehouse.scan("clusterings").collect()["stability"].null_count() == 6
    before = {e.slot.part: e.commit for e in context.warehouse.entries("concepts")}
    context = context_of(world, seeds=[0], mixed=[], monolingual=["en"], layers=[0])
    assert run(STEPS["concepts"], context, KEY).status == "fresh"
    assert {e.slot.part: e.commit for e in context.warehouse.entries("concepts")} == before
    context = context_of(world, seeds=[0], mixed=[["de", "en"]], monolingual=["en"], layers=[0])
    assert run(STEPS["concepts"], context, KEY).metadata["clusterings"] == 1
    context = context_of(world, seeds=[0], mixed=[["de", "en"]], monolingual=["en"], layers=[0], clusters=3)
    assert run(STEPS["concepts"], context, KEY).metadata["clusterings"] == 2
    stored = context.warehouse.scan("clusterings").filter(num_clusters=3).collect()
    assert sorted(stored["scope"]) == ["mixed:de+en", "monolingual:en"]


@pytest.mark.parametrize("algorithm", ["torch", "scikit-learn", "minibatch"])
def test_every_algorithm_clusters(world, algorithm):
    if algorithm not in ("torch",):
        pytest.importorskip("sklearn")
    context = context_of(world, layers=[2], mixed=[], monolingual=["en"], algorithm=algorithm, seeds=[3])
    run(STEPS["concepts"], context, KEY)
    runs = context.warehouse.scan("clusterings").collect()
    assert runs.select("algorithm", "num_empty").row(0) == (algorithm, 0)


@pytest.mark.parametrize(
    ("algorithm", "library"),
    [("torch", "torch"), ("faiss", "faiss"), ("scikit-learn", "scikit-learn"), ("minibatch", "scikit-learn")],
)
def test_concepts_depend_on_what_computes_them(world, algorithm, library):
    context = context_of(world, algorithm=algorithm)
    context.planner.refresh()
    for planned in context.planner.jobs(STEPS["concepts"], KEY):
        assert planned.recipe["libraries"].keys() == {"scipy", library}


def test_what_is_not_installed_is_named(world, monkeypatch):
    context = context_of(world, algorithm="minibatch")
    installed = metadata.version

    def version(name: str) -> str:
        if name == "scikit-learn":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", version)
    library_version.cache_clear()
    with pytest.raises(StudyError, match="pip install scikit-learn"):
        run(STEPS["concepts"], context, KEY)


def test_activations_must_be_there(world):
    context = world.context(concepts=CONCEPTS)
    run(STEPS["activations"], context, Key("a", language="en"))
    with pytest.raises(MissingDataError, match="xlwh materialize activations --model a --language de"):
        run(STEPS["concepts"], context, KEY)


def test_too_few_words_are_refused(world):
    context = context_of(world, clusters=600)
    with pytest.raises(StudyError, match=r"word occurrences cannot make 600 clusters"):
        run(STEPS["concepts"], context, KEY)


def test_what_does_not_apply(world):
    assert run(STEPS["concepts"], world.context(), KEY).status == "not_applicable"
    context = context_of(world, models=["b"])
    assert "no concepts of `a`" in run(STEPS["concepts"], context, KEY).reason


def test_datasets_are_clustered_apart_or_together(world):
    datasets = {key: {"reader": "xnli", "path": "nli"} for key in ("nli", "more")}
    settings = {**CONCEPTS, "datasets": ["nli", "more"], "layers": [2], "seeds": [0], "mixed": []}

    def made(pool: bool) -> pl.DataFrame:
        context = world.context(datasets=datasets, concepts={**settings, "monolingual": ["en"], "pool": pool})
        english = context.warehouse.scan("examples", dataset="nli", language="en").collect()
        slot = Slot("examples", ("more", "en"), "dev")
        context.warehouse.write({slot: english.with_columns(dataset=pl.lit("more"))}, "read")
        run(STEPS["activations"], context, Key("a", language="en"))
        run(STEPS["concepts"], context, KEY)
        corpora = ["nli+more"] if pool else ["nli", "more"]
        rows = context.warehouse.scan("clusterings").filter(pl.col("corpus").is_in(corpora))
        return rows.collect().sort("corpus")

    apart, together = made(pool=False), made(pool=True)
    assert apart["corpus"].to_list() == ["more", "nli"]
    assert together["corpus"].to_list() == ["nli+more"]
    assert together["num_points"].to_list() == [apart["num_points"].sum()]
    assert together["num_types"].to_list() == apart["num_types"].unique().to_list()
