"""IBM model 2 with a diagonal prior, as in fast_align's paper, by EM over sparse co-occurrences.


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
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from xlwh.concepts.bitext import Bitext, Cells, Directions, Floats, Ids, normalised
from xlwh.study import Aligner


def align_diagonally(
    bitext: Bitext, cells: Cells, settings: Aligner, passed: Callable[[], None]
) -> Directions:
    """Train both directions, one after the other, and return what each word picked; `passed()` after every pass."""
    forward, forward_tension = _train(bitext, cells, settings, False, passed)
    backward, backward_tension = _train(bitext, cells, settings, True, passed)
    return Directions(forward, backward, (forward_tension, backward_tension))


def _train(
    bitext: Bitext, cells: Cells, settings: Aligner, backward: bool, passed: Callable[[], None]
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
    tension = settings.tension
    for number in range(settings.iterations):
        last = number == settings.iterations - 1
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
                prior, off = prior_of(shape, tension)
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
            pairs = normalised(counts, given, given_count, settings.alpha)
            null = normalised(null_counts, np.zeros(drawn_count, dtype=np.int32), 1, settings.alpha, seen)
        passed()
    return picked, tension


def _shapes(cells: Cells, backward: bool) -> dict[tuple[int, int], int]:
    """How many sentence pairs there are of each (drawn words, given words)."""
    shapes: dict[tuple[int, int], int] = {}
    for block in cells.blocks:
        count, m, n = block.shape
        shape = (n, m) if backward else (m, n)
        shapes[shape] = shapes.get(shape, 0) + count
    return shapes


def prior_of(shape: tuple[int, int], tension: float) -> tuple[Floats, Floats]:
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
    prior, off = prior_of(shape, tension)
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
    _, off = prior_of((m, n), tension)
    weighted = off * np.exp(-tension * off)
    floor, _ = _halves(place, m, n)
    before = np.arange(1, n + 1)[None, :] <= floor[:, None]
    return np.where(before, 0.0, weighted).sum(axis=1), np.where(before, weighted, 0.0).sum(axis=1)
