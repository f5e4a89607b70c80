"""The texts of an example and the words in them: before any tokenizer, the same for every model.

Pre-tokenised examples are their own words, joined by blanks; other texts have those of the segmenter. Where a word of
the source stands in the original text is what the source states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xlwh.models.words import segment

if TYPE_CHECKING:
    import polars as pl

TEXTS = ("text", "text_pair", "words", "word_spans")
"""Columns of `examples` that hold texts and words."""


class Occurrence(NamedTuple):
    """A word where it stands in its example."""

    word: str
    segment: int
    """0 first text, 1 second."""
    start: int
    """First code point in the segment's text."""
    end: int
    """One past the last. What stands there is the word, but for words of multiword tokens: there, what the source
    states in `examples.word_spans`."""


@dataclass(frozen=True)
class Segment:
    """One segment: the string given to the tokenizer, its words there, and where they are in the original."""

    string: str
    words: list[tuple[int, int]]
    places: list[tuple[int, int]] | None = None
    """Of pre-tokenised text: where each word stands in the original, as the source states it."""
    exact: list[bool] = field(default_factory=list)
    """Of pre-tokenised text: whether a word stands there as it is, character by character."""

    @property
    def surfaces(self) -> list[str]:
        """The words as the tokenizer is given them."""
        return [self.string[start:end] for start, end in self.words]

    def original(self, word: int, start: int, end: int) -> tuple[int, int]:
        """Characters `start:end` of the string in the original, kept inside their word.

        Of a word that is written otherwise there (`de` of `du`), no part can be told: the whole place.
        """
        if self.places is None:
            return start, end
        low, high = self.words[word]
        first, last = self.places[word]
        if not self.exact[word]:
            return first, last
        return first + min(max(start, low), high) - low, first + min(max(end, low), high) - low


def segments_of(row: dict[str, Any]) -> list[Segment]:
    """The texts of a row of `examples`: one, or two."""
    language = row["language"]
    first = (
        Segment(row["text"], segment(row["text"], language))
        if row["words"] is None
        else _pretokenised(row["words"], row["word_spans"], row["text"])
    )
    if row["text_pair"] is None:
        return [first]
    return [first, Segment(row["text_pair"], segment(row["text_pair"], language))]


def _pretokenised(words: Sequence[str], spans: Sequence[dict[str, int]], text: str) -> Segment:
    """The words joined by blanks, as taggers are trained on them, and where each one stands in the text."""
    ends = np.cumsum([len(word) + 1 for word in words]).tolist()
    places = [(span["start"], span["end"]) for span in spans]
    return Segment(
        " ".join(words),
        [(end - 1 - len(word), end - 1) for word, end in zip(words, ends, strict=True)],
        places,
        [_same(word, text[start:end]) for word, (start, end) in zip(words, places, strict=True)],
    )


def _same(word: str, written: str) -> bool:
    """Whether a word is written as it is; white space may be another."""
    if word == written:
        return True
    pairs = zip(word, written, strict=False)
    return len(word) == len(written) and all(a == b or (a.isspace() and b.isspace()) for a, b in pairs)


def occurrences_of(segments: list[Segment]) -> tuple[Occurrence, ...]:
    """The words of an example's texts, one text after the other."""
    return tuple(
        Occurrence(word, side, *place)
        for side, text in enumerate(segments)
        for word, place in zip(text.surfaces, text.places or text.words, strict=True)
    )


def occurrences(examples: pl.DataFrame) -> list[tuple[Occurrence, ...]]:
    """Every word of examples (columns of the `examples` table), of both segments, as `encode` numbers them."""
    rows = examples.select("language", *TEXTS).to_dicts()
    return [occurrences_of(segments_of(row)) for row in rows]


def words_of(examples: pl.DataFrame) -> list[tuple[str, ...]]:
    """Words of examples (columns of the `examples` table), of both segments, as `encode` numbers them."""
    return [tuple(place.word for place in places) for places in occurrences(examples)]
