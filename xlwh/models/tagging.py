"""Token classification: which sub-token speaks for a word, the gold it is trained on, and how tags are scored.

A word's tag is read off one of its sub-tokens, the first one by default (Devlin et al. 2019, section 5.3); decoder
models, whose first sub-token has not seen the rest of the word, may prefer the last. A word that the tokenizer
turns into nothing, or that is cut off with the end of a long sentence, has no such sub-token: it is counted, and
as wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlwh.errors import ModelError
from xlwh.models.entities import entities, entity_f1, is_iob
from xlwh.models.tokenize import NONE, Encoded

if TYPE_CHECKING:
    import polars as pl
    from torch import Tensor

    from xlwh.study.models import Inputs

IGNORED = -100
"""Gold of padded positions and of sub-tokens that speak for no word; torch's cross entropy leaves it out."""

TAGGED, DROPPED, TRUNCATED = "tagged", "dropped", "truncated"
"""`token_predictions.status`."""


@dataclass(frozen=True)
class WordPlaces:
    """The sub-token that speaks for each word: example i owns the words `bounds[i]:bounds[i + 1]`."""

    bounds: NDArray[np.int64]
    """`[examples + 1]`"""
    position: NDArray[np.int64]
    """`[words]`, index in the example's input; NONE for a word without a sub-token."""
    status: NDArray[np.object_]
    """`[words]`: tagged, dropped (the tokenizer makes nothing of it) or truncated (cut off)."""

    def of(self, example: int) -> slice:
        """Where the words of one example lie."""
        return slice(int(self.bounds[example]), int(self.bounds[example + 1]))

    def counts(self) -> dict[str, int]:
        """Words in all, dropped and truncated."""
        return {
            "words": len(self.position),
            "dropped_words": int((self.status == DROPPED).sum()),
            "truncated_words": int((self.status == TRUNCATED).sum()),
        }


def word_places(encoded: Encoded, piece: str) -> WordPlaces:
    """The first or last sub-token of every word of the examples (`piece`), and what became of words without one."""
    sizes = np.array([len(words) for words in encoded.occurrences], dtype=np.int64)
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    lengths = encoded.lengths
    example = np.repeat(np.arange(len(encoded)), lengths)
    inside = np.arange(len(example)) - np.repeat(encoded.bounds[:-1], lengths)
    has_word = encoded.word_index != NONE
    word = bounds[:-1][example[has_word]] + encoded.word_index[has_word]
    places = inside[has_word]
    position = np.full(int(bounds[-1]), NONE, dtype=np.int64)
    # Of several sub-tokens, the one that is written last stays.
    order = slice(None) if piece == "last" else slice(None, None, -1)
    position[word[order]] = places[order]
    status = np.full(len(position), TAGGED, dtype=object)
    for index in np.unique(np.repeat(np.arange(len(encoded)), sizes)[position == NONE]).tolist():
        own = slice(int(bounds[index]), int(bounds[index + 1]))
        seen = np.flatnonzero(position[own] != NONE)
        cut = int(encoded.num_truncated[index]) > 0
        end = (int(seen[-1]) + 1 if len(seen) else 0) if cut else int(sizes[index])
        missing = position[own] == NONE
        before_cut = np.arange(int(sizes[index])) < end
        status[own] = np.where(~missing, TAGGED, np.where(before_cut, DROPPED, TRUNCATED))
    return WordPlaces(bounds, position, status)


def tag_targets(
    encoded: Encoded, examples: pl.DataFrame, labels: Sequence[str], inputs: Inputs
) -> Mapping[str, Sequence[Sequence[int]]]:
    """Gold of each sub-token: the tag of the word it speaks for, else IGNORED.

    `ModelError` for a tag that is not in `labels`, or where words and tags of an example do not pair up.
    """
    index = {label: i for i, label in enumerate(labels)}
    places = word_places(encoded, inputs.tagged_piece)
    gold = []
    for row, tags in enumerate(examples["word_labels"].to_list()):
        positions = places.position[places.of(row)]
        if len(tags) != len(positions):
            raise ModelError(
                f"Example `{encoded.keys['example_id'][row]}` has {len(positions)} words but {len(tags)} tags."
            )
        values = np.full(int(encoded.lengths[row]), IGNORED, dtype=np.int64)
        for tag, position in zip(tags, positions.tolist(), strict=True):
            if tag is not None and tag not in index:
                raise ModelError(
                    f"Label `{tag}` is not one of the labels trained on: {', '.join(labels)}. Use data with the "
                    "same labels, or set `labels` of the model."
                )
            if tag is not None and position != NONE:
                values[position] = index[tag]
        gold.append(values.tolist())
    return {"labels": gold}


def tag_counts(encoded: Encoded, gold: Mapping[str, Any], inputs: Inputs) -> dict[str, int]:
    """Words of the examples, and how many of them are dropped or truncated."""
    return word_places(encoded, inputs.tagged_piece).counts()


class TagScorer:
    """Development score of tags: F1 of entities where the tags are IOB, else the share of words tagged right.

    Both are over all gold words: one without a sub-token counts as wrong, and as outside of any entity.
    """

    def __init__(
        self, encoded: Encoded, examples: pl.DataFrame, labels: Sequence[str], inputs: Inputs
    ) -> None:
        self._labels = tuple(labels)
        self._gold = examples["word_labels"].to_list()
        self._places = word_places(encoded, inputs.tagged_piece)
        self._iob = is_iob(labels)
        self._predicted: dict[int, list[str | None]] = {}

    def add(
        self, rows: NDArray[np.int64], output: Any, gold: Mapping[str, Tensor], real: NDArray[np.bool_]
    ) -> int:
        """Take the predictions of a batch; how many tags its loss is a mean of."""
        predicted = output.logits.argmax(dim=-1).cpu().numpy()
        for place, row in enumerate(rows.tolist()):
            positions = self._places.position[self._places.of(row)]
            inside = np.append(predicted[place][real[place]], NONE)
            self._predicted[row] = [self._labels[i] if i != NONE else None for i in inside[positions]]
        return int((gold["labels"] != IGNORED).sum())

    def scores(self) -> dict[str, float]:
        """Every measure, the one that models are chosen by first."""
        right = words = hits = num_gold = num_predicted = 0
        for row, predicted in self._predicted.items():
            pairs = [(g, p) for g, p in zip(self._gold[row], predicted, strict=True) if g is not None]
            words += len(pairs)
            right += sum(g == p for g, p in pairs)
            if self._iob:
                found = entities([p or "O" for _, p in pairs])
                wanted = entities([g for g, _ in pairs])
                hits += len(found & wanted)
                num_gold, num_predicted = num_gold + len(wanted), num_predicted + len(found)
        accuracy = {"token_accuracy": right / words if words else 0.0}
        return {"span_f1": entity_f1(hits, num_gold, num_predicted), **accuracy} if self._iob else accuracy
