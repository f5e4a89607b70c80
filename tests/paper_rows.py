"""A small warehouse in which some numbers of every paper are measured, with values that tests know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from partial_rows import fill, filled

from xlwh.published import load
from xlwh.store import Warehouse

LANGUAGES = ("en", "de", "es", "fr", "ko", "zh")
PAIRS = 12

STUDY = """
name = "again"
languages = ["en", "de", "es", "fr", "ko", "zh"]

[datasets.pawsx]
reader = "pawsx"
path = "pawsx"
split = "test"
max_examples = 10

[datasets.sst]
reader = "tsv"
path = "sst"
languages = ["en"]
split = "test"

[datasets.xnli]
reader = "xnli"
path = "xnli"
languages = ["en", "de"]
split = "test"

[datasets.train]
reader = "pawsx"
path = "pawsx"
split = "train"

[models.base]
path = "xlmr"

[models.en]
datasets = ["pawsx", "xnli"]
published_as = "XLM-R-Base"
finetune = { base = "base", dataset = "train", languages = ["en"] }

[models.mbert]
path = "mbert"
datasets = ["sst"]
published_as = "mBERT"

[consistency]
space = "vectors"

[spaces.vectors]
kind = "vec"
files = { en = "en.vec" }

[faithfulness]
"""
"""The study of the rows below. It has no model fine-tuned on another language, and no section `heads`."""


def build(root: Path) -> Warehouse:
    """Write it; `LANGUAGES[n]` of PAWS-X is right in n + 4 of 10, and consistent by (n + 1) / 10 with English."""
    tables = {
        "published_results": load(),
        "models": filled(
            "models",
            [
                {
                    "model": "en",
                    "kind": "finetuned",
                    "published_as": "XLM-R-Base",
                    "finetuned_languages": ["en"],
                },
                {"model": "mbert", "published_as": "mBERT"},
                {"model": "bert", "published_as": "bert", "counterpart_of": "mbert"},
            ],
        ),
        "predictions": filled("predictions", _predictions()),
        "ccta_pairs": filled("ccta_pairs", [*_pairs(), *_more_pairs()]),
        "perturbations": filled("perturbations", _perturbations()),
        "tokens": filled("tokens", _tokens()),
        "pruning_tests": filled("pruning_tests", [_mask("en", 8, "shapley.rows", "paper", 2)]),
        "pruning_evaluations": filled(
            "pruning_evaluations",
            [
                {**_evaluated(key), "example_id": str(example), "score": float(example < right), "weight": 1}
                for key, right in (
                    (("none", "none", 0), 6),
                    (("shapley.rows", "paper", 2), 8),
                )
                for example in range(10)
            ],
        ),
        "head_importance": filled(
            "head_importance",
            [
                {
                    "model": "en",
                    "dataset": "xnli",
                    "method": "gradient",
                    "unit": "head",
                    "layer": 0,
                    "head": 0,
                    "num_examples": 1,
                }
            ],
        ),
    }
    return fill(root, tables)


def _predictions() -> list[dict[str, Any]]:
    return [
        {
            "model": "en",
            "dataset": "pawsx",
            "split": "test",
            "language": language,
            "example_id": str(example),
            "label": "yes",
            "predicted": "yes" if example < place + 4 else "no",
            "logits": [0.0, 0.0],
        }
        for place, language in enumerate(LANGUAGES)
        for example in range(10)
    ]


def _pairs() -> list[dict[str, Any]]:
    found = []
    for place, language in enumerate(LANGUAGES):
        for example in range(PAIRS):
            spread = (example - (PAIRS - 1) / 2) / 1000
            score = 1.0 if language == "en" else (place + 1) / 10 + spread
            found.append(
                {
                    "model": "en",
                    "dataset": "pawsx",
                    "split": "test",
                    "source_language": "en",
                    "target_language": language,
                    "example_id": str(example),
                    "score": score,
                    "null_uniform": score / 2,
                    "null_shuffled": score / 2,
                    "num_draws": 1,
                }
            )
    return found


def _more_pairs() -> list[dict[str, Any]]:
    """Consistency on a dataset that is in no table of a paper."""
    return [{**pair, "dataset": "others"} for pair in _pairs()]


def _perturbations() -> list[dict[str, Any]]:
    cost = {"attention": 0.4, "deeplift": 0.1, "random": 0.2}
    return [
        {
            "model": model,
            "dataset": "sst",
            "split": "test",
            "language": "en",
            "example_id": str(example),
            "method": method,
            "side": "comprehensiveness",
            "masking": "zero_id",
            "ratio": 0.5,
            "p_full": 0.9,
            "p_perturbed": 0.9 - lost * scale * (1 + (example % 3) / 10),
            "p_empty": 0.1,
        }
        for model, scale in (("mbert", 1.0), ("bert", 1.5))
        for method, lost in cost.items()
        for example in range(4)
    ]


def _tokens() -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "dataset": "sst",
            "split": "test",
            "position": position,
            "word_index": position // pieces,
            "word": "w",
        }
        for model, pieces in (("mbert", 3), ("bert", 2))
        for position in range(6)
    ]


def _evaluated(key: tuple[str, str, int]) -> dict[str, Any]:
    ranking, selection, removed = key
    return {
        "model": "en",
        "dataset": "xnli",
        "split": "test",
        "language": "en",
        "mask_language": "en",
        "ranking": ranking,
        "selection": selection,
        "num_removed": removed,
    }


def _mask(language: str, right: int, ranking: str, selection: str, removed: int) -> dict[str, Any]:
    return {**_evaluated((ranking, selection, removed)), "num_examples": 10, "resamples": 1000}
