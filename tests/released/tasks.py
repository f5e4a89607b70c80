"""Scores of tasks: answers, classes, tags, translations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import polars as pl

from released.harness import Case, Compute, each, warehouse


def answers(variant: str) -> Compute:
    def compute(cases: Sequence[Case]) -> list[dict[str, Any]]:
        common = {"split": "test", "task": "question_answering"}
        with warehouse(
            predictions=[
                {**common, "dataset": d, "language": c.get("language", "en"), "predicted": c["predicted"]}
                for d, c in each(cases)
            ],
            examples=[
                {
                    **common,
                    "dataset": d,
                    "language": c.get("language", "en"),
                    "answers": [{"text": gold, "start": 0} for gold in c["golds"]],
                }
                for d, c in each(cases)
            ],
        ) as database:
            rows = database.execute(
                "select dataset, exact_match, f1 from answer_scores where variant = ?", [variant]
            ).fetchall()
        found = {dataset: {"exact_match": em, "f1": f1} for dataset, em, f1 in rows}
        return [found[d] for d, _ in each(cases)]

    return compute


def _task_scores(database: duckdb.DuckDBPyConnection) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    rows = database.sql("select dataset, metric, value from task_scores where variant = 'strict'").fetchall()
    for dataset, metric, value in rows:
        found.setdefault(dataset, {})[metric] = value
    return found


def classification(cases: Sequence[Case]) -> list[dict[str, Any]]:
    rows = [
        {
            "dataset": d,
            "example_id": str(i),
            "label": gold,
            "predicted": predicted,
            "logits": [0.0] * c["classes"],
        }
        for d, c in each(cases)
        for i, (gold, predicted) in enumerate(zip(c["gold"], c["predicted"], strict=True))
    ]
    with warehouse(predictions=rows) as database:
        found = _task_scores(database)
    return [{m: found[d][m] for m in ("accuracy", "macro_f1")} for d, _ in each(cases)]


def tags(cases: Sequence[Case]) -> list[dict[str, Any]]:
    rows = [
        {
            "dataset": d,
            "example_id": str(sentence),
            "word_index": i,
            "word": "w",
            "status": "tagged",
            "label": gold,
            "predicted": predicted,
            "logits": [0.0] * 6,
        }
        for d, c in each(cases)
        for sentence, pair in enumerate(zip(c["gold"], c["predicted"], strict=True))
        for i, (gold, predicted) in enumerate(zip(*pair, strict=True))
    ]
    with warehouse(token_predictions=rows) as database:
        found = _task_scores(database)
    return [{m: found[d][m] for m in ("span_f1", "token_accuracy")} for d, _ in each(cases)]


def translations(cases: Sequence[Case]) -> list[dict[str, Any]]:
    from xlwh.models.translation_statistics import statistics

    counts: list[dict[str, Any]] = []
    predictions = []
    for d, c in each(cases):
        keys = [
            {"model": "m", "dataset": d, "split": "dev", "language": c["language"], "example_id": str(i)}
            for i in range(len(c["outputs"]))
        ]
        counts += statistics(pl.DataFrame(keys), c["outputs"], c["references"]).to_dicts()
        predictions += [
            {**key, "task": "translation", "label": reference}
            for key, reference in zip(keys, c["references"], strict=True)
        ]
    with warehouse(translation_statistics=counts, predictions=predictions) as database:
        found = _task_scores(database)
    return [{m: 100 * found[d][m] for m in ("bleu", "chrf")} for d, _ in each(cases)]
