"""What the headers say of keeping rows: a view that is kept by columns has the same rows made slice by slice."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace

import pytest
from kept_rows import differing, live, rows

from xlwh.store import Warehouse, keeping
from xlwh.store.catalogue import NAME, read_info
from xlwh.store.views import load_views
from xlwh.tables import TABLES

VIEWS = {view.name: view for view in load_views() if view.folder != "source"}

ACROSS_MODELS = {
    "attribution_similarity": "compares a model with its twin",
    "ccta_performance_correlation": "has rows of all models together",
    "concept_profiles": "compares a model with the one that it was fine-tuned from",
    "metric_correlations": "has rows of all models together",
    "faithfulness_ratios": "has the rows of a model's counterpart",
    "pretrained_models": "goes from model to model",
    "published_vs_measured": "has rows of papers, with or without a model",
    "tokenization_intervention": "compares a model with itself cut in another way",
}
"""Views with a column `model` that are kept whole, and why."""


@pytest.fixture(scope="module")
def filled(populated, tmp_path_factory) -> Warehouse:
    """A copy of the warehouse with two of everything."""
    [(root,)] = populated.execute("select root from catalogue_info").fetchall()
    copy = tmp_path_factory.mktemp("kept") / "warehouse"
    shutil.copytree(root, copy)
    return Warehouse(copy)


def test_rows_made_slice_by_slice_are_those_of_the_whole(filled):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping, "BATCH_BYTES", 0)
        outcomes = filled.keep_views()
    assert {name: each.error for name, each in outcomes.items() if each.error} == {}
    kept = {name for name, view in VIEWS.items() if view.by is not None}
    assert set(read_info(filled.root / NAME).kept) == set(outcomes) == kept
    divided = {name for name in kept if VIEWS[name].by}
    assert {name for name in divided if outcomes[name].slices < 2} == set()
    with filled.connect() as shown, live(filled) as truth:
        assert differing(shown, truth, VIEWS) == []
        # A view without rows would say nothing.
        empty = {name for name in divided if not rows(shown, name)}
        assert empty == set()


def test_rows_made_in_one_query_are_those_of_the_whole(filled):
    shutil.rmtree(filled.root / "kept-by-xlwh-catalogue", ignore_errors=True)
    filled.keep_views()
    with filled.connect() as shown, live(filled) as truth:
        assert differing(shown, truth, VIEWS) == []


def test_what_could_be_kept_by_model_is_kept_by_model(filled):
    """Of each model alone, the view has just the model's rows: then it need not be made anew for all of them."""
    snapshot = filled.manifest.snapshot()
    models = sorted({entry.slot.keys[0] for entry in snapshot.entries if entry.slot.table == "models"})
    with live(filled) as truth:
        found = truth.execute(
            "select distinct table_name from duckdb_columns() where schema_name = 'main' and column_name = 'model'"
        ).fetchall()
        whole = sorted(name for (name,) in found if name in VIEWS and VIEWS[name].by == ())
        expected = {name: Counter(rows(truth, name)) for name in whole}
    apart: dict[str, Counter[str]] = {name: Counter() for name in whole}
    for model in models:
        entries = tuple(e for e in snapshot.entries if _of(e.slot, model))
        with live(filled, replace(snapshot, entries=entries)) as alone:
            for name in whole:
                apart[name].update(rows(alone, name, f"model = '{model}'"))
    assert {name for name in whole if apart[name] == expected[name]} - set(ACROSS_MODELS) == set()
    assert set(whole) == set(ACROSS_MODELS)


def _of(slot, model: str) -> bool:
    columns = TABLES[slot.table].partition_by
    return "model" not in columns or slot.keys[columns.index("model")] == model


def test_how_rows_are_kept_is_said_of_each_view():
    """What is not kept is a projection of stored tables."""
    assert {name for name, view in VIEWS.items() if view.by is None} == {
        "example_texts",
        "head_attention",
        "rationale_words",
    }
    assert {name for name, view in VIEWS.items() if not view.kept} == set()
