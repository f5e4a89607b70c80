"""What a coalition is worth on an example: 1 if the answer is right, or the probability of the gold class.

For tagging it is the mean over the words with a gold tag; sentences drawn in proportion to those words make its
mean the accuracy per word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlwh.models.batches import to_device
from xlwh.models.labels import require_known, require_tags

if TYPE_CHECKING:
    import polars as pl

    from xlwh.models.loaded import LoadedModel
    from xlwh.models.tokenize import Encoded

NO_GOLD = -100
"""Stands for a sub-token that speaks for no gold word."""

Measure = Literal["accuracy", "probability"]


@dataclass(frozen=True)
class Gold:
    """Gold classes of some examples, and what each example counts."""

    classes: NDArray[np.int64]
    """`[examples]`, or in tagging `[examples, longest]` with NO_GOLD where no word is read off."""
    weights: NDArray[np.int64]
    """`[examples]`: 1, or the words with a gold tag (those that the tokenizer lost or cut too: they are wrong)."""

    @property
    def tagging(self) -> bool:
        """Whether there is a class per word instead of one per example."""
        return self.classes.ndim == 2

    def scorer(self, measure: Measure, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
        """A function from logits and the rows' examples `[rows]` to each row's score `[rows]`.

        Logits are `[rows, classes]`, in tagging `[rows, length, classes]`, and on `device`, where the gold lies ready.
        """
        classes, weights = to_device(self.classes, device), to_device(self.weights, device)

        def classified(logits: Tensor, examples: Tensor) -> Tensor:
            gold = classes[examples]
            if measure == "accuracy":
                return (logits.argmax(dim=-1) == gold).float()
            return logits.softmax(dim=-1).gather(1, gold[:, None])[:, 0]

        def tagged(logits: Tensor, examples: Tensor) -> Tensor:
            # What lies behind a row's end, or the longest example's, has no gold.
            length = min(classes.shape[1], logits.shape[1])
            gold, logits = classes[examples, :length], logits[:, :length]
            counted = gold != NO_GOLD
            if measure == "accuracy":
                right = (logits.argmax(dim=-1) == gold).float()
            else:
                right = logits.softmax(dim=-1).gather(2, gold.clamp(min=0)[..., None])[..., 0] * counted
            return right.sum(dim=1) / weights[examples]

        return tagged if self.tagging else classified


def gold_of(
    loaded: LoadedModel, encoded: Encoded, examples: pl.DataFrame, tagged_piece: str = "first"
) -> Gold:
    """Gold of examples that all have some; ModelError for a label that the model does not know, or tags of other names.

    In tagging, `tagged_piece` is the sub-token that speaks for a word: first or last.
    """
    index = {label: place for place, label in enumerate(loaded.labels or ())}
    if loaded.task == "token_classification":
        return _tags(encoded, examples["word_labels"].to_list(), index, loaded, tagged_piece)
    labels = examples["label"].to_list()
    require_known(loaded.key, loaded.labels or (), labels, "what is evaluated")
    return Gold(np.array([index[label] for label in labels], dtype=np.int64), np.ones(len(labels), np.int64))


def _tags(
    encoded: Encoded,
    tags: Sequence[Sequence[str | None]],
    index: dict[str, int],
    loaded: LoadedModel,
    tagged_piece: str,
) -> Gold:
    from xlwh.models.tagging import word_places
    from xlwh.models.tokenize import NONE

    said = {tag for row in tags for tag in row if tag is not None}
    require_tags(loaded.key, loaded.labels or (), said, "what is evaluated")
    places = word_places(encoded, tagged_piece)
    classes = np.full((len(encoded), int(encoded.lengths.max(initial=1))), NO_GOLD, dtype=np.int64)
    for row, gold in enumerate(tags):
        for place, tag in zip(places.position[places.of(row)].tolist(), gold, strict=True):
            # A tag that the model never learnt is one that it gets wrong: it has a weight, and no class.
            if place != NONE and tag in index:
                classes[row, place] = index[tag]
    weights = np.array([sum(tag is not None for tag in gold) for gold in tags], dtype=np.int64)
    return Gold(classes, weights)
