"""Every figure is drawn from rows made up for the columns that the views really have."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
import zlib
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from xlwh.report.charts import svg
from xlwh.report.export import picture
from xlwh.report.figures import Drawn, Missing, all_figures, everything, figure, render
from xlwh.report.figures.base import Filter, first
from xlwh.report.figures.heads import ONE_HEAD
from xlwh.store import Warehouse
from xlwh.store.views import load_views

OPTIONS = {
    "model": ["m1", "m2"],
    "language": ["ar", "en"],
    "source_language": ["ar", "en"],
    "target_language": ["ar", "en"],
    "mask_language": ["ar", "en"],
    "languages": ["en-ar", "en-de"],
    "role": ["base", "fine-tuned", "zero-shot"],
    "layer": [0, 1, 2],
    "head": [0, 1, 2],
    "metric": ["accuracy", "calign", "colap"],
    "metric_a": ["calign_best", "ccta", "ccta_excess"],
    "metric_b": ["head_rho", "target_score"],
    "method": ["lig", "random"],
    "measure": ["excess_shuffled", "fertility", "score", "cka", "anisotropy"],
    "scope": ["all", "cell", "method", "mixed:ar+en", "model", "study"],
    "cells": ["all", "off_diagonal"],
    "ranking": ["random", "shapley.main"],
    "num_removed": [0, 4, 8],
    "decision": ["keep", "prune", "undecided"],
    "permutations": [1, 2, 4],
    "variant": ["paper", "strict"],
    "side": ["comprehensiveness", "sufficiency"],
    "origin": ["measured", "published"],
    "unit": ["head"],
    "paper": ["ccta"],
    "clustering": ["c0", "c1"],
    "concept": [0, 1],
    "seed": [0, 1],
    "theta": [0.7, 0.8, 0.9],
    "n_best": [5, 10, 20],
    "multilingual_model": [None, "m1"],
    "monolingual_model": ["m1"],
}
MOST = 20_000


def _made_up(view, schema, options=OPTIONS):
    rng = np.random.default_rng(zlib.crc32(view.name.encode()))
    keys = [name for name in schema if name in OPTIONS and (name in view.key or name in ("layer", "seed"))]
    if view.name in ("ccta", "task_scores"):
        options = {**options, "scope": ["study"], "metric": ["accuracy"]}
    elif view.name == "published_results":
        options = {**options, "metric": ["fertility", "splitting_ratio", "unknown_ratio"]}
    elif view.name == "concept_profiles":
        options = {**options, "metric": ["calign", "colap"]}
    rows = list(itertools.islice(itertools.product(*(options[name] for name in keys)), MOST))
    frame = pl.DataFrame(rows, schema=keys, orient="row")
    columns = []
    for name, dtype in schema.items():
        if name in keys:
            columns.append(pl.col(name).cast(dtype, strict=False))
        elif dtype == pl.Boolean:
            columns.append(pl.Series(name, rng.random(frame.height) < 0.5))
        elif dtype.is_float():
            columns.append(pl.Series(name, rng.random(frame.height)).cast(dtype))
        elif dtype.is_numeric():
            columns.append(pl.Series(name, rng.integers(1, 40, frame.height)).cast(dtype))
        elif isinstance(dtype, pl.List):
            # Two tokens, and what each attends to.
            texts, numbers = pl.lit(["a", "b"]), pl.lit([0.5, 0.5, 0.0, 1.0])
            made_up = (
                texts
                if dtype.inner == pl.String
                else numbers.list.head(2)
                if dtype.inner == pl.Boolean
                else numbers
            )
            columns.append(made_up.cast(dtype).alias(name))
        elif dtype == pl.String:
            columns.append(pl.lit(OPTIONS.get(name, [name])[0]).alias(name))
        else:
            columns.append(pl.lit(None, dtype=dtype).alias(name))
    made = frame.with_columns(columns).select(list(schema))
    if "choice" in made.columns:
        made = made.with_columns(choice=pl.lit(1, pl.Int64))
    if "is_self" in made.columns:
        made = made.with_columns(is_self=pl.col("source_language") == pl.col("target_language"))
    return made


class MadeUp:
    """Views with made-up rows."""

    def __init__(self, frames):
        self._frames = frames

    def frame(self, name):
        return self._frames.get(name)


@pytest.fixture(scope="module")
def schemas(tmp_path_factory):
    needed = {view for each in all_figures().values() for view in each.views}
    with Warehouse(tmp_path_factory.mktemp("empty") / "w", create=True).connect() as connection:
        return {name: connection.sql(f'from "{name}" limit 0').pl().schema for name in needed}


@pytest.fixture(scope="module")
def views(schemas):
    definitions = {view.name: view for view in load_views()}
    assert set(schemas) <= set(definitions)
    return MadeUp({name: _made_up(definitions[name], schema) for name, schema in schemas.items()})


MANY = [f"q{number:02d}" for number in range(30)]
"""More languages than any figure has panels or colours for."""


@pytest.fixture(scope="module")
def crowded(schemas):
    """The same with thirty languages, pairs and scopes, and otherwise as little as a figure can do with."""
    few = {name: values[:1] for name, values in OPTIONS.items()} | {"theta": [0.8], "n_best": [10]}
    few |= {"metric": OPTIONS["metric"], "measure": OPTIONS["measure"], "cells": OPTIONS["cells"]}
    few |= {"layer": [0, 1], "head": [0, 1], "num_removed": [0, 4], "permutations": [1, 2], "seed": [0, 1]}
    few |= {
        "variant": ["strict"],
        "multilingual_model": ["m1"],
        "metric_a": ["ccta"],
        "metric_b": ["calign_best"],
    }
    few |= dict.fromkeys(("language", "target_language", "mask_language"), MANY)
    few |= {"languages": [f"en-{name}" for name in MANY]}
    definitions = {view.name: view for view in load_views()}
    frames = {}
    for name, schema in schemas.items():
        scoped = name in ("colap", "clusterings")
        options = few | {"scope": [f"mixed:en+{q}" for q in MANY] if scoped else OPTIONS["scope"]}
        frames[name] = _made_up(definitions[name], schema, options)
    return MadeUp(frames)


@pytest.mark.parametrize(
    "name", sorted(set(all_figures()) - {"faithfulness_disparity"})
)  # a mean over languages
def test_no_figure_leaves_a_language_out_without_a_word(name, crowded):
    """Whatever is too much to draw is named in the file, or was chosen away by a filter that offers it."""
    wanted = figure(name)
    drawn = render(wanted, crowded, {})
    assert isinstance(drawn, Drawn), drawn
    offered = {value for offer in drawn.offers for value in offer.values}
    assert drawn.note.endswith(drawn.cut)
    said = picture(drawn, "", "svg").decode() + " ".join(offered)
    rows = crowded.frame(wanted.views[0])
    languages = {
        name
        for column in ("language", "target_language", "mask_language", "languages", "scope")
        if rows.schema.get(column) == pl.String
        for name in MANY
        if rows[column].str.contains(name).any()
    }
    assert {name for name in languages if name not in said} == set()


def test_first_names_what_it_leaves_out():
    assert first(["a", "b"], 2, "pairs") == (["a", "b"], "")
    assert first(["a", "b", "c"], 1, "pairs") == (
        ["a"],
        " 1 of 3 pairs are drawn; the table has the others: b, c.",
    )


def test_a_report_says_which_choices_it_leaves_out(crowded):
    wanted = replace(figure("pruning_curves"), each=("language",), filters=(Filter("language", "Language"),))
    found = everything(wanted, crowded, most=4)
    assert len(found.drawn) == 4
    assert [each["language"] for each in found.left_out] == MANY[4:]


@pytest.mark.parametrize("name", list(all_figures()))
def test_every_figure_is_drawn_for_every_choice(name, views):
    wanted = figure(name)
    first = render(wanted, views, {})
    assert isinstance(first, Drawn), first
    everywhere = everything(wanted, views)
    drawn = [*everywhere.drawn, *everywhere.missing]
    for offer in first.offers:
        drawn += [render(wanted, views, {offer.filter.column: value}) for value in offer.values]
    found = [each for each in drawn if isinstance(each, Drawn)]
    assert all(each.reason.endswith(".") for each in drawn if isinstance(each, Missing))
    for each in found:
        ET.fromstring(svg(each.picture, name))
        assert "nan" not in each.picture.content.lower().replace("nanum", "")
        assert each.table.height
        assert each.note


def test_one_head(views):
    drawn = render(ONE_HEAD, views, {"model": "m2", "layer": "2", "head": "1", "variant": "paper"})
    assert {o.filter.column: o.chosen for o in drawn.offers}["head"] == "1"
    assert drawn.table["language"].to_list() == ["ar", "en"]
