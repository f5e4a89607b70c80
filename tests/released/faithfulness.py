"""Plausibility and faithfulness as ERASER has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from released.harness import Case, each, warehouse
from xlwh.corpora.spans import joined


def rationales(cases: Sequence[Case]) -> list[dict[str, Any]]:
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("examples", "predictions", "tokens", "token_attributions")
    }
    for d, c in each(cases):
        for number, example in enumerate(c["examples"]):
            common = {"dataset": d, "example_id": str(number)}
            words = [f"w{i}" for i in range(len(example["scores"]))]
            tables["examples"].append(
                {
                    **common,
                    "task": "sequence_classification",
                    "text": " ".join(words),
                    "words": words,
                    "word_spans": [{"start": start, "end": end} for start, end in joined(words)],
                    "word_labels": ["rationale" if mark else "O" for mark in example["rationale"]],
                }
            )
            tables["predictions"].append({**common, "predicted": "yes"})
            for i, value in enumerate(example["scores"]):
                place = {**common, "position": i}
                tables["tokens"].append({**place, "word_index": i, "word": f"w{i}", "segment": 0})
                tables["token_attributions"].append({**place, "target": "yes", "attribution": value})
    names = ("token_precision", "token_recall", "token_f1", "auprc", "average_precision", "iou_f1")
    with warehouse(**tables) as database:
        rows = database.sql(
            f"select dataset, {', '.join(names)} from plausibility where variant = 'strict'"
        ).fetchall()
    found = {dataset: dict(zip(names, values, strict=True)) for dataset, *values in rows}
    return [found[d] for d, _ in each(cases)]


def eraser(cases: Sequence[Case]) -> list[dict[str, Any]]:
    rows = [
        {
            "dataset": d,
            "example_id": str(number),
            "method": "lig",
            "side": side,
            "ratio": ratio,
            "p_full": example["p_full"],
            "p_empty": 0.0,
            "p_perturbed": p,
            "num_attributable": 100,
        }
        for d, c in each(cases)
        for number, example in enumerate(c["examples"])
        for side in ("sufficiency", "comprehensiveness")
        for ratio, p in zip(c["ratios"], example[side], strict=True)
    ]
    with warehouse(perturbations=rows) as database:
        found = database.sql(
            "select dataset, side, avg(score) from faithfulness_examples where variant = 'eraser' group by all"
        ).fetchall()
    scores = {(dataset, side): value for dataset, side, value in found}
    return [{side: scores[d, side] for side in ("comprehensiveness", "sufficiency")} for d, _ in each(cases)]
