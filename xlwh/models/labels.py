"""Whether a model's classes and a dataset's gold go by the same names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from xlwh.errors import ModelError

LABELLED = ("sequence_classification", "token_classification")
"""Tasks whose heads have one logit per class, exactly one of which is right."""

OUTSIDE = "O"
"""The tag of words that belong to nothing."""


def classes(
    key: str, config: Mapping[str, Any], where: object, given: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Names of the classes of a head in the order of its logits: those that the study gives, else those of `config`.

    `config` is the content of the config.json at `where`, with transformers' defaults or without. ModelError for a head
    that does not choose one of several classes, and for names that are not one for each.
    """
    kind = config.get("problem_type")
    if kind not in (None, "single_label_classification"):
        raise ModelError(
            f"Model `{key}`: its head is for {str(kind).replace('_', ' ')} (`problem_type` in {where}): its outputs are no "
            "scores of classes of which one is right, and no analysis here reads others. It can serve as the `base` of a "
            "`finetune`, under a new head."
        )
    named: Any = config.get("id2label")
    if not named:
        named = {index: f"LABEL_{index}" for index in range(int(config.get("num_labels") or 2))}
    count = len(named)
    if count < 2:
        raise ModelError(
            f"Model `{key}`: its head has one output, of which the probability would be 1 for every text "
            "(a regression, or a binary classifier with one logit). A head with an output per class is needed. It can "
            "serve as the `base` of a `finetune`, under a new head."
        )
    if given is not None:
        if len(given) != count:
            raise ModelError(
                f"Model `{key}`: the study gives {len(given)} labels ({', '.join(given)}), the checkpoint has {count} "
                "classes."
            )
        return _distinct(key, given, f"`labels` under `[models.{key}]`")
    back: Any = config.get("label2id") or {}
    by_index = {str(index): str(name) for index, name in named.items()} if isinstance(named, dict) else {}
    readable = isinstance(back, dict)
    swapped = readable and [x for index, x in by_index.items() if x in back and str(back[x]) != index]
    if set(by_index) != set(map(str, range(count))) or swapped or not readable:
        raise ModelError(
            f"Model `{key}`: {where} does not say which class is which: `id2label` has {named}, `label2id` has {back}. Name "
            f"the classes in the order of the logits: `labels = [...]` under `[models.{key}]`."
        )
    return _distinct(key, tuple(by_index[str(index)] for index in range(count)), "`id2label` in config.json")


def _distinct(key: str, labels: tuple[str, ...], where: str) -> tuple[str, ...]:
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ModelError(f"Model `{key}`: {where} has `{twice[0]}` twice: no label may name two classes.")
    return labels


def require_known(key: str, labels: tuple[str, ...], gold: Iterable[str], where: str) -> None:
    """ModelError if gold classes of `where` (`dataset `nli``) are not among the labels of model `key`."""
    found = set(gold)
    if not found <= set(labels):
        raise _other_names(key, labels, found, where, "has")


def require_tags(key: str, labels: tuple[str, ...], gold: Iterable[str], where: str) -> None:
    """ModelError if the gold tags of a whole dataset go by other names than the labels of model `key`.

    They do where none of them is a label, `O` aside, or where one is a label but for case and separators. A few tags that
    the training data lacks are to be expected in another language; the model gets those wrong.
    """
    found = set(gold)
    unknown = found - set(labels)
    spelt = {_normal(label) for label in labels}
    named = found - {OUTSIDE}
    if (named and named.isdisjoint(labels)) or any(_normal(tag) in spelt for tag in unknown):
        raise _other_names(key, labels, found, where, "has others:")


def _other_names(key: str, labels: tuple[str, ...], gold: set[str], where: str, verb: str) -> ModelError:
    by_spelling = {_normal(label): label for label in sorted(gold)}
    same = [by_spelling.get(_normal(label)) for label in labels]
    example, task = "[...]", " If it was trained for another task, take the dataset out of its `datasets`."
    if None not in same and len(set(same)) == len(labels):
        example, task = "[" + ", ".join(f'"{label}"' for label in same) + "]", ""
    return ModelError(
        f"Model `{key}` has the labels {', '.join(labels)}; {where} {verb} {', '.join(sorted(gold))}. Name the "
        f"model's classes, in the order of its logits, as the dataset names them: `labels = {example}` under "
        f"`[models.{key}]`.{task}"
    )


def _normal(label: str) -> str:
    return re.sub(r"[\s_\-]+", "-", label.strip().casefold())
