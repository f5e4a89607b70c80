"""Whether a model's classes and a dataset's gold go by the same names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from xlwh.errors import ModelError

OUTSIDE = "O"
"""The tag of words that belong to nothing."""


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
