"""What can be compared of the rows of one side: lengths, categories (labels, question marks, repeats) and units.

A unit is a number, the beginning of a word, or a pair of characters where words are not separated by spaces.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from xlwh.corpora.parallelism.sides import Side

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

_MOST_REPEATS = 6
"""Repeats of a text that are counted, at most."""
_QUESTION_MARKS = "?？؟;"
_RUNS = re.compile(r"\d+|[^\W\d_]+")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af]"
)


@dataclass(frozen=True)
class Features:
    """Features of n rows of s segments."""

    present: Bool
    """`[n]`: whether the row has a first text."""
    lengths: Float
    """`[n, s]`: log of the number of code points (plus 2); NaN where there is no text."""
    weights: Float
    """`[n, s]`: what the segment counts for. Each of k equal texts counts 1 / k, so that they count once in all."""
    categories: Mapping[str, Int]
    """`label`, `repeats` (whether the first text is that of the row before), `asks 0`, `asks 1`: `[n]` codes from 0
    up, -1 where unknown."""
    texts: Int
    """`[n]`: a code for each different first text; -1 where there is none."""
    units: list[dict[str, float]]
    """Per row: its units, each with the weight of the segment that it is in."""

    def in_order(self, order: Int) -> Features:
        """The same rows under the same numbers, but `repeats` is as if they stood in another order `[n]`."""
        repeats = np.empty(len(order), dtype=np.int64)
        repeats[order] = _repeats(self.texts[order])
        return self._with_repeats(repeats)

    def without_repeats(self) -> Features:
        """The same, `repeats` unknown: for rows of which it is open where they belong."""
        return self._with_repeats(np.full(len(self.texts), -1, dtype=np.int64))

    def _with_repeats(self, repeats: Int) -> Features:
        return replace(self, categories={**self.categories, "repeats": repeats})


def features_of(side: Side, segments: int, label_codes: Mapping[str, int]) -> Features:
    """Features of one side, of its first `segments` segments."""
    n = len(side)
    lengths, weights = np.full((n, segments), np.nan), np.ones((n, segments))
    asks = np.full((n, segments), -1, dtype=np.int64)
    for s in range(segments):
        counts = Counter(text for text in side.texts[s] if text is not None)
        for i, text in enumerate(side.texts[s]):
            if text is not None:
                lengths[i, s] = math.log(2 + len(text.strip()))
                weights[i, s] = 1 / min(counts[text], _MOST_REPEATS)
                asks[i, s] = any(mark in text[-4:] for mark in _QUESTION_MARKS)
    codes: dict[str | None, int] = {None: -1}
    texts = np.array([codes.setdefault(text, len(codes)) for text in side.texts[0]], dtype=np.int64)
    labels = [-1 if label is None else label_codes[label] for label in side.labels]
    categories = {"label": np.array(labels, dtype=np.int64), "repeats": _repeats(texts)}
    categories |= {f"asks {s}": asks[:, s] for s in range(segments)}
    units = [_units(tuple(side.texts[s][i] for s in range(segments)), weights[i]) for i in range(n)]
    return Features(texts >= 0, lengths, weights, categories, texts, units)


def label_codes(source: Side, target: Side) -> dict[str, int]:
    """A code for each label of either side, from 0 up."""
    labels = dict.fromkeys((*source.labels, *target.labels))
    return {label: code for code, label in enumerate(name for name in labels if name is not None)}


def units_of(text: str) -> Iterable[str]:
    """The units of a text: numbers as `#12`, words as their first 6 letters in lower case without diacritics.

    In scripts without spaces: all pairs of neighbouring characters.
    """
    # Thai vowels and Indic vowel signs are nonspacing marks, which would cut the words that they are in.
    kept = "".join(c for c in text if unicodedata.category(c) != "Mn") if not text.isascii() else text
    for run in _RUNS.findall(kept):
        yield from _units_of_run(run)


@lru_cache(maxsize=100_000)
def _units_of_run(run: str) -> tuple[str, ...]:
    if run.isdecimal():
        return (f"#{int(run)}" if len(run) < 19 else f"#{run}",)
    if _UNSPACED.search(run):
        return tuple(run[i : i + 2] for i in range(len(run) - 1)) or (run,)
    plain = "".join(c for c in unicodedata.normalize("NFKD", run.casefold()) if not unicodedata.combining(c))
    return (plain[:6],) if len(plain) > 1 else ()


def _units(texts: Sequence[str | None], weights: Float) -> dict[str, float]:
    """The units of all segments of one row, each with the largest weight of the segments that have it."""
    found: dict[str, float] = {}
    for text, weight in zip(texts, weights.tolist(), strict=True):
        for unit in units_of(text or ""):
            found[unit] = max(found.get(unit, 0.0), weight)
    return found


def _repeats(texts: Int) -> Int:
    """Whether each row has the text of the row before (1 or 0); -1 where either has none."""
    found = np.full(len(texts), -1, dtype=np.int64)
    known = (texts[1:] >= 0) & (texts[:-1] >= 0)
    found[1:][known] = (texts[1:] == texts[:-1])[known]
    return found
