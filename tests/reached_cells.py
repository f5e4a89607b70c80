"""Which printed numbers of the papers a study measures, told from the study alone."""

from __future__ import annotations

import re
from typing import Any

from xlwh.study import Study

HEAD_METRICS = ("accuracy_targeted.", "accuracy_zero_shot.", "pruned_heads_targeted.")
FAITHFUL = re.compile(r"(soft_)?(?:sufficiency|comprehensiveness)_ratio\.(\w+)")
RELEASED = {"attention": "attention", "deeplift": "deeplift"} | {
    name: f"released_{name}" for name in ("scaled_attention", "input_x_gradient", "integrated_gradients")
}
"""Method of the faithfulness paper -> the one that computes what its released code does."""


def reached(found: Study, row: dict[str, Any]) -> bool:
    """Whether the study measures a row of `published_results`: a model of that name, trained on that language, tested there."""
    name = re.sub(r" \S+ zero-shot from (\S+)$", r" \1 fine-tuned", row["model"])
    return any(
        model.published_as == name
        and all(_evaluated(found, key, row, dataset) for dataset in _datasets(row))
        and _measured(found, key, row)
        for key, model in found.models.items()
    )


def _datasets(row: dict[str, Any]) -> list[str]:
    """Datasets behind a number: translations are named with the language that they are from."""
    if row["metric"] != "bleu":
        return [row["dataset"]]
    sources = ["fr", "de", "es"] if row["source_language"] == "*" else [row["source_language"]]
    return [f"{row['dataset']}-{source}" for source in sources]


def _evaluated(found: Study, key: str, row: dict[str, Any], dataset: str) -> bool:
    languages = [each for each in found.all_languages() if dataset in found.evaluations(key, each)]
    return row["language"] in (*languages, *(["overall"] if languages else []))


def _measured(found: Study, key: str, row: dict[str, Any]) -> bool:
    metric, dataset, model = row["metric"], row["dataset"], found.models[key]
    if metric == "bleu":
        return True
    if "+" in row["source_language"]:
        return model.finetune is not None and sorted(model.finetune.languages) == row[
            "source_language"
        ].split("+")
    if row["source_language"] not in found.source_languages(key):
        return False
    if metric.startswith("ccta"):
        return _compared(found, key, dataset)
    if metric.startswith(HEAD_METRICS):
        heads = found.heads
        return (
            heads is not None
            and key in (heads.models or ())
            and dataset in heads.datasets.values()
            and "gradient" in heads.importance
            and bool(heads.random_masks)
            and ("zero_shot" not in metric or row["source_language"] in heads.zero_shot_from)
        )
    if match := FAITHFUL.fullmatch(metric):
        settings = found.faithfulness
        return (
            settings is not None
            and found.tests_faithfulness(key, dataset)
            and RELEASED[match[2]] in found.attribution_methods(key)
            and "zero_id" in settings.masking
            and (
                match[1] is None
                or ("bernoulli_reversed" in settings.soft_masking and settings.soft_draws > 0)
            )
        )
    return metric in {"accuracy", "f1", "fertility", "unknown_ratio", "unknown_tokens"}


def _compared(found: Study, key: str, dataset: str) -> bool:
    """Whether both quadratures are compared, in a space that has all languages of the dataset."""
    consistency = found.consistency
    if consistency is None:
        return False
    space = found.spaces[consistency.space]
    languages = {each for each in found.all_languages() if dataset in found.evaluations(key, each)}
    return (
        key in (consistency.models or ())
        and dataset in (consistency.datasets or ())
        and (space.kind == "input_embeddings" or languages <= set(space.files))
        and {"lig", "lig_fixed"} <= set(found.attribution_methods(key))
    )
