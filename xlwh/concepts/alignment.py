"""Word alignment: IBM model 2 with a diagonal prior, as in fast_align's paper, by EM over sparse co-occurrences.

Each target word j of a sentence pair picks one source word i, or NULL with probability p0, and is then drawn from
t(word | source word). The prior of picking i falls with the distance from the diagonal:

    p(a_j = i) = (1 - p0) * exp(-tension * |i / n - j / m|) / Z_j

Source: Dyer, Chahuneau and Smith (2013), "A Simple, Fast, and Effective Reparameterization of IBM Model 2", eq. 1 and
section 3; the mean-field update under a symmetric Dirichlet prior is Riley and Gildea (2012). There is no random
number in it: the same text gives the same links.

With a fixed tension the links are those of the program fast_align, one by one. The tension that the two fit is not the
same: here it follows the gradient of the likelihood, which on nearly monotone text leads to the upper end of its range;
the program's step differs from that in two places (see `_shifted` and `_released_expectation`) and stays lower. `tension_update = "released"`
takes the program's step, and then all of its links (`tests/oracles` has them).

Nothing is looped over by word: sentence pairs of the same two lengths are one array, and what is estimated is one
number for each pair of words that ever stand in the same sentence pair.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from xlwh.study import Aligner

CELLS_AT_ONCE = 1 << 20
"""Word pairs (cells) worked on at once: the bound on memory beside the table of distinct word pairs."""
DEFAULT = Aligner()
"""The numbers of `fast_align -d -o -v`; the step of the tension is not its own."""

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
class _Block:
    """Sentence pairs of one shape: word numbers `[s, n]` and `[s, m]`, and where their `[s, m, n]` cells lie."""

    rows: NDArray[np.int64]
    source: Ids
    target: Ids
    offset: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.rows), self.target.shape[1], self.source.shape[1]


@dataclass
class _Cells:
    """Every distinct (source word, target word) that co-occurs, and which of them each cell of a block is."""

    blocks: list[_Block]
    numbers: Ids
    pair_source: Ids
    pair_target: Ids
    file: Any = field(repr=False)

    def of(self, block: _Block) -> Ids:
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


def align(
    bitext: Bitext,
    settings: Aligner = DEFAULT,
    progress: Callable[[int, int], None] | None = None,
) -> Directions:
    """Train both directions and return the most probable alignment of each.
    Memory: 4 bytes a cell (Σ n·m over the sentence pairs) in a temporary file, about 60 bytes for each distinct
    co-occurring word pair, and working arrays of CELLS_AT_ONCE cells. Pairs with an empty side have no links.
    `progress(done, total)` is called after every pass.
    """
    total, done = 2 * (settings.model1_iterations + settings.iterations), 0

    def passed() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    with tempfile.TemporaryFile() as file:
        cells = _cells(bitext, file)
        forward, forward_tension = _train(bitext, cells, settings, False, passed)
        backward, backward_tension = _train(bitext, cells, settings, True, passed)
        del cells
    return Directions(forward, backward, (forward_tension, backward_tension))


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


def _cells(bitext: Bitext, file: Any) -> _Cells:
    """Number the distinct word pairs. Each run of blocks is made distinct alone, then all of them together."""
    blocks: list[_Block] = []
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
        blocks.append(_Block(rows, source, target, offset))
        waiting.append(keys.ravel())
        offset += keys.size
        held += keys.size
        if held >= CELLS_AT_ONCE:
            flush()
    flush()
    file.flush()
    if not offset:
        empty = np.empty(0, dtype=np.int32)
        return _Cells([], empty, empty, empty, file)
    pairs = _merged([distinct for _, _, distinct in runs])
    numbers = np.memmap(file, dtype=np.int32, mode="r+", shape=(offset,))
    for first, last, distinct in runs:
        numbers[first:last] = np.searchsorted(pairs, distinct).astype(np.int32)[numbers[first:last]]
    return _Cells(blocks, numbers, (pairs // width).astype(np.int32), (pairs % width).astype(np.int32), file)


def _merged(sorted_keys: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Distinct keys of several sorted lists, two by two, so that no more than twice the result is held."""
    while len(sorted_keys) > 1:
        halves = zip(sorted_keys[::2], [*sorted_keys[1::2], None][: (len(sorted_keys) + 1) // 2], strict=True)
        sorted_keys = [a if b is None else np.union1d(a, b) for a, b in halves]
    return sorted_keys[0]


def _train(
    bitext: Bitext, cells: _Cells, settings: Aligner, backward: bool, passed: Callable[[], None]
) -> tuple[Ids, float]:
    """Fit one direction; what every conditioned word picked in the last pass, and the tension.

    `backward` swaps the roles: source words are drawn from target words.
    """
    given = cells.pair_target if backward else cells.pair_source
    given_count = len(bitext.target_words if backward else bitext.source_words)
    drawn_count = len(bitext.source_words if backward else bitext.target_words)
    tokens, starts = (
        (bitext.source, bitext.source_starts) if backward else (bitext.target, bitext.target_starts)
    )
    picked = np.full(len(tokens), -1, dtype=np.int32)
    shapes = _shapes(cells, backward)
    pairs = np.ones(len(given))
    null = np.ones(drawn_count)
    seen = np.bincount(tokens, minlength=drawn_count) > 0
    tension = 0.0
    for number in range(-settings.model1_iterations, settings.iterations):
        last = number == settings.iterations - 1
        tension = settings.tension if number == 0 else tension
        counts = np.zeros(len(given))
        null_counts = np.zeros(drawn_count)
        distance, words = 0.0, 0
        priors: dict[tuple[int, int], tuple[Floats, Floats]] = {}
        for block in cells.blocks:
            index = cells.of(block)
            chooser = block.source if backward else block.target
            # [s, drawn, given] in either direction.
            index = index.transpose(0, 2, 1) if backward else index
            shape = (index.shape[1], index.shape[2])
            if shape not in priors:
                prior, off = _prior(shape, tension)
                measured = _shifted(shape) if settings.tension_update == "released" else off
                priors[shape] = (1 - settings.null_probability) * prior, measured
            prior, off = priors[shape]
            weight = pairs[index]
            weight *= prior
            nothing = null[chooser] * settings.null_probability
            if last:
                best = weight.argmax(axis=2).astype(np.int32)
                top = np.take_along_axis(weight, best[:, :, None], axis=2)[:, :, 0]
                best[top <= nothing] = -1
                picked[starts[block.rows, None] + np.arange(shape[0])] = best
                continue
            norm = weight.sum(axis=2)
            norm += nothing
            weight /= norm[:, :, None]
            nothing /= norm
            np.add.at(counts, index.ravel(), weight.ravel())
            np.add.at(null_counts, chooser.ravel(), nothing.ravel())
            distance += float((weight.sum(axis=0) * off).sum())
            words += chooser.size
        if not last:
            if settings.optimise_tension and number > 0 and words:
                expected = (
                    _expected_distance if settings.tension_update == "gradient" else _released_expectation
                )
                tension = _fitted(tension, distance / words, shapes, words, expected)
            pairs = _normalised(counts, given, given_count, settings.alpha)
            null = _normalised(null_counts, np.zeros(drawn_count, dtype=np.int32), 1, settings.alpha, seen)
        passed()
    return picked, tension


def _shapes(cells: _Cells, backward: bool) -> dict[tuple[int, int], int]:
    """How many sentence pairs there are of each (drawn words, given words)."""
    shapes: dict[tuple[int, int], int] = {}
    for block in cells.blocks:
        count, m, n = block.shape
        shape = (n, m) if backward else (m, n)
        shapes[shape] = shapes.get(shape, 0) + count
    return shapes


def _prior(shape: tuple[int, int], tension: float) -> tuple[Floats, Floats]:
    """Probability of each given word for each drawn word, and their distance from the diagonal: `[m, n]` both."""
    m, n = shape
    off = np.abs(np.arange(1, n + 1)[None, :] / n - np.arange(1, m + 1)[:, None] / m)
    prior = np.exp(-tension * off)
    prior /= prior.sum(axis=1, keepdims=True)
    return prior, off


def _fitted(
    tension: float,
    observed: float,
    shapes: dict[tuple[int, int], int],
    words: int,
    expectation: Callable[[tuple[int, int], float], float],
) -> float:
    """Move the tension towards the mean distance from the diagonal that the posteriors show.

    Eight steps of rate 20, kept in [0.1, 14], as in fast_align: the gradient of the log-likelihood is the prior's
    expected distance less the observed one.
    """
    for _ in range(8):
        expected = sum(count * expectation(shape, tension) for shape, count in shapes.items())
        tension = min(14.0, max(0.1, tension + 20.0 * (expected / words - observed)))
    return tension


def _expected_distance(shape: tuple[int, int], tension: float) -> float:
    """Distance from the diagonal that the prior expects, summed over the drawn words."""
    prior, off = _prior(shape, tension)
    return float((prior * off).sum())


def _shifted(shape: tuple[int, int]) -> Floats:
    """What fast_align observes as distances, `[m, n]`: its drawn words count from 0 there, elsewhere from 1."""
    m, n = shape
    return np.abs(np.arange(1, n + 1)[None, :] / n - np.arange(m)[:, None] / m)


def _released_expectation(shape: tuple[int, int], tension: float) -> float:
    """What fast_align takes for the expected distance, summed over the drawn words.

    The numerator is that of m drawn and n given words, over the normaliser of n drawn and m given ones: the two are
    swapped in its call. Where they are equally many the two agree.
    """
    m, n = shape
    place = np.arange(1, m + 1)
    above, below = _series(place, m, n, tension)
    return float(((above + below) / _normaliser(place, n, m, tension)).sum())


def _halves(place: NDArray[np.int64], m: int, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Last given word at or before the diagonal, and how many lie after it: `[m]` both.

    Beyond the text (a place greater than m) the second is an unsigned number in fast_align, and so endless.
    """
    floor = (place * n / m).astype(np.int64)
    after = n - floor
    return floor, np.where(after < 0, after + (1 << 32), after)


def _normaliser(place: NDArray[np.int64], m: int, n: int, tension: float) -> Floats:
    """Sum of exp(-tension * distance) over the given words on either side of the diagonal, as geometric series."""
    floor, after = _halves(place, m, n)
    ratio = np.exp(-tension / n)
    first_after = np.exp(-tension * np.abs((floor + 1) / n - place / m))
    first_before = np.exp(-tension * np.abs(floor / n - place / m))
    found: Floats = (first_after * (1 - ratio**after) + first_before * (1 - ratio**floor)) / (1 - ratio)
    return found


def _series(place: NDArray[np.int64], m: int, n: int, tension: float) -> tuple[Floats, Floats]:
    """Sum of distance * exp(-tension * distance) after the diagonal and before it: `[m]` both."""
    _, off = _prior((m, n), tension)
    weighted = off * np.exp(-tension * off)
    floor, _ = _halves(place, m, n)
    before = np.arange(1, n + 1)[None, :] <= floor[:, None]
    return np.where(before, 0.0, weighted).sum(axis=1), np.where(before, weighted, 0.0).sum(axis=1)


def _normalised(
    counts: Floats, given: Ids, size: int, alpha: float, present: NDArray[np.bool_] | None = None
) -> Floats:
    """Probabilities from expected counts, per given word; with alpha > 0 the mean-field update exp(ψ(·) - ψ(Σ))."""
    if alpha <= 0:
        totals = np.bincount(given, weights=counts, minlength=size)
        totals[totals == 0] = 1.0
        return counts / totals[given]
    # A word's prior mass counts only what it was ever seen with, as in fast_align.
    weights = counts + alpha if present is None else np.where(present, counts + alpha, 0.0)
    totals = np.bincount(given, weights=weights, minlength=size)
    totals[totals == 0] = 1.0
    found: Floats = np.exp(digamma(np.maximum(counts + alpha, 1e-300)) - digamma(totals)[given])
    return found
