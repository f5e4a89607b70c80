"""Sentence pairs as numbers, and every pair of words that ever stand in the same sentence pair: what the alignment models
are trained on.

Sentence pairs of the same two lengths are one array, so that nothing is looped over by word, and what a model estimates
is one number for each distinct pair of words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

CELLS_AT_ONCE = 1 << 20
"""Word pairs (cells) worked on at once: the bound on memory beside the table of distinct word pairs."""

Ids = NDArray[np.int32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bitext:
    """Sentence pairs as word numbers, flat, with the offset of each sentence: `starts[k] : starts[k + 1]`."""

    source_words: list[str]
    target_words: list[str]
    source: Ids
    target: Ids
    source_starts: NDArray[np.int64]
    target_starts: NDArray[np.int64]

    @property
    def pairs(self) -> int:
        """Sentence pairs."""
        return len(self.source_starts) - 1


@dataclass(frozen=True)
class Block:
    """Sentence pairs of one shape: word numbers `[s, n]` and `[s, m]`, and where their `[s, m, n]` cells lie."""

    rows: NDArray[np.int64]
    source: Ids
    target: Ids
    offset: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.rows), self.target.shape[1], self.source.shape[1]


@dataclass
class Cells:
    """Every distinct (source word, target word) that co-occurs, and which of them each cell of a block is."""

    blocks: list[Block]
    numbers: Ids
    pair_source: Ids
    pair_target: Ids
    file: Any = field(repr=False)

    def of(self, block: Block) -> Ids:
        """Numbers of the word pairs of a block: `[s, m, n]`."""
        size = block.shape[0] * block.shape[1] * block.shape[2]
        return self.numbers[block.offset : block.offset + size].reshape(block.shape)


@dataclass(frozen=True)
class Directions:
    """What each word picked: for every target word its source position, and the other way round; -1 is NULL.

    Positions are counted from 0 in the sentence; the arrays are as long as `bitext.target` and `bitext.source`.
    """

    source_of_target: Ids
    target_of_source: Ids
    tensions: tuple[float, float]
    """Fitted tension of the two directions."""


def encode(source: Sequence[Sequence[str]], target: Sequence[Sequence[str]]) -> Bitext:
    """Number the words of sentence pairs in order of first occurrence. ValueError for sides of unequal length."""
    if len(source) != len(target):
        raise ValueError(f"{len(source)} source sentences and {len(target)} target sentences are no pairs")
    source_words, source_ids, source_starts = _numbered(source)
    target_words, target_ids, target_starts = _numbered(target)
    return Bitext(source_words, target_words, source_ids, target_ids, source_starts, target_starts)


def _numbered(sentences: Sequence[Sequence[str]]) -> tuple[list[str], Ids, NDArray[np.int64]]:
    known: dict[str, int] = {}
    ids = np.fromiter(
        (known.setdefault(word, len(known)) for sentence in sentences for word in sentence), np.int32
    )
    starts = np.zeros(len(sentences) + 1, dtype=np.int64)
    np.cumsum([len(sentence) for sentence in sentences], out=starts[1:])
    return list(known), ids, starts


def _blocks(bitext: Bitext) -> Iterator[tuple[NDArray[np.int64], Ids, Ids]]:
    """Sentence pairs grouped by their two lengths, at most CELLS_AT_ONCE cells at once (one pair at least)."""
    n, m = np.diff(bitext.source_starts), np.diff(bitext.target_starts)
    order = np.lexsort((m, n))
    order = order[(n[order] > 0) & (m[order] > 0)]
    if not len(order):
        return
    cuts = np.flatnonzero((np.diff(n[order]) != 0) | (np.diff(m[order]) != 0)) + 1
    for group in np.split(order, cuts):
        width, height = int(n[group[0]]), int(m[group[0]])
        step = max(1, CELLS_AT_ONCE // (width * height))
        for at in range(0, len(group), step):
            rows = group[at : at + step]
            source = bitext.source[bitext.source_starts[rows, None] + np.arange(width)]
            target = bitext.target[bitext.target_starts[rows, None] + np.arange(height)]
            yield rows, source, target


def cells_of(bitext: Bitext, file: Any) -> Cells:
    """Number the distinct word pairs. Each run of blocks is made distinct alone, then all of them together."""
    blocks: list[Block] = []
    runs: list[tuple[int, int, NDArray[np.int64]]] = []
    waiting: list[NDArray[np.int64]] = []
    held = offset = start = 0
    width = len(bitext.target_words)

    def flush() -> None:
        nonlocal held, start
        if held:
            distinct, inverse = np.unique(np.concatenate(waiting), return_inverse=True)
            inverse.astype(np.int32).tofile(file)
            runs.append((start, offset, distinct))
            waiting.clear()
            start, held = offset, 0

    for rows, source, target in _blocks(bitext):
        keys = source[:, None, :].astype(np.int64) * width + target[:, :, None]
        blocks.append(Block(rows, source, target, offset))
        waiting.append(keys.ravel())
        offset += keys.size
        held += keys.size
        if held >= CELLS_AT_ONCE:
            flush()
    flush()
    file.flush()
    if not offset:
        empty = np.empty(0, dtype=np.int32)
        return Cells([], empty, empty, empty, file)
    pairs = _merged([distinct for _, _, distinct in runs])
    numbers = np.memmap(file, dtype=np.int32, mode="r+", shape=(offset,))
    for first, last, distinct in runs:
        numbers[first:last] = np.searchsorted(pairs, distinct).astype(np.int32)[numbers[first:last]]
    return Cells(blocks, numbers, (pairs // width).astype(np.int32), (pairs % width).astype(np.int32), file)


def _merged(sorted_keys: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Distinct keys of several sorted lists, two by two, so that no more than twice the result is held."""
    while len(sorted_keys) > 1:
        halves = zip(sorted_keys[::2], [*sorted_keys[1::2], None][: (len(sorted_keys) + 1) // 2], strict=True)
        sorted_keys = [a if b is None else np.union1d(a, b) for a, b in halves]
    return sorted_keys[0]


def normalised(
    counts: Floats, given: Ids, size: int, alpha: float | Floats, present: NDArray[np.bool_] | None = None
) -> Floats:
    """Probabilities from expected counts, per given word; with alpha > 0 the mean-field update exp(ψ(·) - ψ(Σ))."""
    if not np.any(alpha):
        totals = np.bincount(given, weights=counts, minlength=size)
        totals[totals == 0] = 1.0
        return counts / totals[given]
    # A word's prior mass counts only what it was ever seen with, as in fast_align.
    weights = counts + alpha if present is None else np.where(present, counts + alpha, 0.0)
    totals = np.bincount(given, weights=weights, minlength=size)
    totals[totals == 0] = 1.0
    found: Floats = np.exp(digamma(np.maximum(counts + alpha, 1e-300)) - digamma(totals)[given])
    return found
