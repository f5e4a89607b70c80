"""What the study no longer names is in nothing that is computed from then on, though it is still stored."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from made_up import parallel

from xlwh.models import Zoo
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, partitions
from xlwh.steps.runner import run
from xlwh.store import Slot, Warehouse
from xlwh.study import Study

UNREAD = ("examples", "parallelism", "published_results")
"""Steps that read files, which this study has none of."""

NEVER = {
    "answer_spans",
    "concept_labels",
    "token_predictions",
    "translation_statistics",
    "translations",
}
"""Tables of tasks that this study has none of."""


def study_of(folder: Path, checkpoint: str, without: tuple[str, ...] = ()) -> Study:
    """Two or three of everything that a study can name; `without` some of them."""

    def some(*names: str) -> list[str]:
        return [name for name in names if name not in without]

    languages, datasets = some("en", "de", "es"), some("nli", "second")
    methods = some("lig", "input_x_gradient")
    pairs = [pair for pair in (["en", "de"], ["en", "es"]) if set(pair) <= set(languages)]
    return Study.model_validate(
        {
            "name": "scope",
            "languages": languages,
            "datasets": {name: {"reader": "xnli", "path": name} for name in datasets},
            "models": {name: {"path": checkpoint, "datasets": datasets} for name in some("first", "other")},
            "attribution": {
                "max_examples": 2,
                "methods": {"lig": {"quadrature": "fixed", "steps": 2}, **{name: {} for name in methods[1:]}},
                "probes": {"draws": 1, "max_examples": 1},
            },
            "spaces": {"space": {"kind": "input_embeddings", "pivot": "en"}},
            "consistency": {"space": "space", "methods": [*methods, "random"], "draws": 1},
            "faithfulness": {"random_draws": 1, "soft_draws": 1, "ratios": [0.5], "max_examples": 1},
            "heads": {
                "datasets": {name: name for name in datasets},
                "max_examples": 3,
                "samplers": {
                    name: {"max_rows": 32, "round_permutations": 8} for name in some("rows", "more")
                },
                "importance": some("gradient", "attention_entropy"),
                "random_masks": 1,
                "curve": [1],
                "resamples": 1000,
                "attention_examples": 1,
            },
            "concepts": {
                "datasets": datasets,
                "min_count": 1,
                "clusters": 2,
                "layers": [0],
                "mixed": pairs,
            },
            "lexica": {
                name: {
                    "datasets": datasets,
                    "pairs": pairs,
                }
                for name in some("words", "phrases")
            },
            "concept_alignment": {"draws": 1},
            "folder": folder,
        }
    )


def make_all(context: Context) -> None:
    for step in STEPS.values():
        if step.name not in UNREAD:
            for key in partitions(context.study, step):
                run(step, context, key)


def named(frame: pl.DataFrame) -> set[str]:
    """Everything that a column of names holds: whole values, and the parts of compound names."""
    texts = {"text", "word", "source_word", "target_word", "predicted", "label", "reason"}
    found: set[str] = set()
    for column, dtype in frame.schema.items():
        if column in texts:
            continue
        values = frame[column].explode() if dtype == pl.List(pl.String) else frame[column]
        if values.dtype == pl.String:
            for value in values.drop_nulls().unique():
                found |= {value, *re.split(r"[.:+-]", value)}
    return found


@pytest.fixture
def everything(world, tmp_path: Path) -> Context:
    """A study of two of everything, all of it made."""
    examples = world.context().warehouse
    study = study_of(tmp_path, str(world.checkpoint))
    warehouse = Warehouse(tmp_path / "all", create=True)
    for language in study.languages:
        frame = examples.scan("examples", language=language).collect()
        for dataset in study.datasets:
            slot = Slot("examples", (dataset, language), "dev")
            warehouse.write({slot: frame.with_columns(dataset=pl.lit(dataset))}, f"read {dataset}")
    for dataset in study.datasets:
        parallel(warehouse, dataset, study.languages)
    context = Context(study, warehouse, Zoo(study, warehouse, device="cpu"))
    make_all(context)
    return context


REMOVED = ("es", "second", "other", "input_x_gradient", "more", "attention_entropy", "phrases")


@pytest.mark.slow
def test_what_a_study_drops_is_computed_no_more(everything, world, tmp_path):
    root = tmp_path / "fewer"
    shutil.copytree(everything.warehouse.root, root)
    study, warehouse = study_of(tmp_path, str(world.checkpoint), REMOVED), Warehouse(root)
    context = Context(study, warehouse, Zoo(study, warehouse, device="cpu"), force=True)
    before = {entry.file: entry for entry in warehouse.entries()}
    held = {name for entry in before.values() for name in named(pl.read_parquet(root / entry.file))}
    assert held >= set(REMOVED)
    make_all(context)
    made = [entry for entry in warehouse.entries() if entry.file not in before]
    tables = {entry.slot.table for entry in made}
    assert {
        table for step in STEPS.values() if step.name not in UNREAD for table in step.tables
    } - tables <= NEVER
    for entry in made:
        assert not named(pl.read_parquet(root / entry.file)) & set(REMOVED), str(entry.slot)
