"""Adaptive integration of vector-valued densities along [0, 1] whose totals are known on every interval.

Along the path of integrated gradients the attributions of the tokens add up to the directional derivative of
the model's output F, so over any panel [a, b] their exact sum is F(b) - F(a). The quadrature error of every
panel is therefore known, not estimated. `PathIntegrals` uses that: it splits the panels that miss and stops when
the sum of absolute panel errors is within the tolerance.

Panels are dyadic and carry Simpson's rule on (a, (a+b)/2, b): halving a panel re-uses all three nodes, and every
node's F comes with its gradient, so no evaluation is wasted and no extra forward rows are needed. Two sibling
panels together hold the five nodes of Boole's rule; whichever of the two rules has the smaller known error is used.

What F is off by rounding is in the known error too, and no split takes it away. A panel is at the noise where its error
is within the rounding of F and of the slopes themselves, or within some of it and its last splits did not reduce it;
it is left as it is.

The error of each token is estimated: on the five nodes that a panel shares with its sibling, Boole's rule and Simpson's
differ by the fourth difference of the token's density.

Decisions take three numbers a node, whatever the length of the text. Pure NumPy: this module knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xlwh.attribution.base import EPSILON

Stop = Literal["tolerance", "noise", "limit"]
"""Why an integral is finished: its error is within the tolerance; what is left of it is noise; it had all the rows or
halvings that it may have."""

STOPS: tuple[Stop, ...] = ("tolerance", "noise", "limit")

START_LEVEL = 2
MAX_LEVEL = 20
SPLIT_UNTIL = 0.85
"""Panels are split, largest error first, until the untouched ones hold at most this share of the allowance."""

FLOAT32 = 2.0**-24
"""Unit roundoff of float32: the largest relative error of a rounded number."""

STUCK = 2
"""Splits in a row that did not halve the error, after which it may be noise."""
NOISE = 64.0
"""An error may be noise up to this many roundings of F and of the slopes: a deep network adds up as many."""

_SIMPSON = np.array([1.0, 4.0, 1.0]) / 6.0
_BOOLE = np.array([7.0, 32.0, 12.0, 32.0, 7.0]) / 90.0
FOURTH_DIFFERENCE = np.array([1.0, -4.0, 6.0, -4.0, 1.0])
PER_FOURTH_DIFFERENCE = 1.0 / 90.0
"""Simpson's rule on two of four intervals minus that of the quartic through all five nodes, in fourth differences of
the integrand times the width of an interval. Over all four, Boole's rule and Simpson's differ by twice that."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Finished:
    """Integrals that are finished, as sums over nodes. A node's number is its place among all requests so far."""

    items: Integers
    """`[items]`, ascending."""
    stops: Sequence[Stop | None]
    """None where nothing was refined."""
    num_nodes: Integers
    """Nodes evaluated, of each."""
    f_input: Floats
    f_baseline: Floats
    nodes: Integers
    """`[terms]`: the nodes of all items, item by item."""
    weights: Floats
    """`[terms]`: an item's attributions are the sum of its terms, weight times density."""
    terms: Integers
    """`[items]`: terms of each."""
    fives: Integers
    """`[fours, 5]`: the nodes of four neighbouring intervals, item by item."""
    factors: Floats
    """`[fours]`: times the fourth difference of the densities at the five nodes is what the rules differ by."""
    errors: Floats
    """`[fours]`: the known error, absolute, of what is integrated there: the errors of the tokens add up to no less."""
    fours: Integers
    """`[items]`: fours of each."""


class PathIntegrals:
    """The integrals of some items, refined together round by round by whoever evaluates the nodes.

    Use: while `requests()` is not empty, evaluate F and the token densities there and `supply` what they add up to; each
    time, `finished()` has the integrals that need no more.

    tolerance: sum of absolute panel errors allowed, relative to max(|F(1) - F(0)|, epsilon).
    max_rows: nodes after which the refinement of an item stops, whatever its error.
    roundoff: unit roundoff of the numbers that the model multiplies.
    """

    def __init__(
        self,
        count: int,
        tolerance: float,
        max_rows: int,
        roundoff: float = FLOAT32,
        epsilon: float = EPSILON,
    ) -> None:
        self._tolerance, self._max_rows, self._epsilon = tolerance, max_rows, epsilon
        self._roundoff = roundoff
        panels, nodes = 2**START_LEVEL, 2 ** (START_LEVEL + 1) + 1
        first = nodes * np.arange(count)
        self._f = self._slope = self._size = np.zeros(0)
        self._first, self._last = first, first + nodes - 1
        self._owner = np.zeros(0, dtype=np.int64)
        self._num_nodes = np.zeros(count, dtype=np.int64)
        # Panels of all unfinished items, by item and place.
        index = np.tile(np.arange(panels), count)
        self._item = np.repeat(np.arange(count), panels)
        self._level = np.full(count * panels, START_LEVEL)
        self._index = index
        self._five = first[self._item][:, None] + 4 * (index // 2)[:, None] + np.arange(5)
        self._error = np.full(count * panels, np.nan)
        self._stuck = np.zeros(count * panels, dtype=np.int64)
        self._asked = np.repeat(np.arange(count), nodes)
        self._positions = np.tile(np.linspace(0.0, 1.0, nodes), count)
        # What is rounded, of each item: F, and what the tokens contribute to it along the path.
        self._scale = np.zeros(0)
        self._before = np.zeros(0)
        self._finished: Finished | None = None

    def requests(self) -> tuple[Integers, Floats]:
        """(items, positions in [0, 1]), both `[nodes]`, that are to be evaluated next; none when all are finished."""
        return self._asked, self._positions

    def supply(self, f: Floats, slope: Floats, size: Floats) -> None:
        """Give F, the sum of the token densities and that of their absolutes, each `[nodes]`, and plan the next round."""
        self._f, self._slope = np.concatenate([self._f, f]), np.concatenate([self._slope, slope])
        self._size = np.concatenate([self._size, size])
        self._owner = np.concatenate([self._owner, self._asked])
        self._num_nodes += np.bincount(self._asked, minlength=len(self._num_nodes))
        if len(self._scale) == 0:
            count = len(self._num_nodes)
            self._scale = (np.abs(f).reshape(count, -1) + size.reshape(count, -1)).mean(axis=1)
        self._judge_new()
        self._plan()

    def finished(self) -> Finished | None:
        """The integrals that what was supplied last has finished."""
        return self._finished

    def _own(self, panels: Integers | slice = slice(None)) -> Integers:
        """Nodes of panels: `[panels, 3]`."""
        five, right = self._five[panels], (self._index[panels] & 1).astype(np.bool_)
        own: Integers = np.where(right[:, None], five[:, 2:], five[:, :3])
        return own

    def _judge_new(self) -> None:
        """Errors of the panels that have none, and whether the split that made them did any good."""
        new = np.flatnonzero(np.isnan(self._error))
        nodes, width = self._own(new), 0.5 ** self._level[new]
        error = width * (self._slope[nodes] @ _SIMPSON) - (self._f[nodes[:, 2]] - self._f[nodes[:, 0]])
        self._error[new] = error
        if self._level[new].min(initial=MAX_LEVEL) > START_LEVEL:
            # Both halves of a panel are made at once and stand side by side.
            left, right = new[::2], new[1::2]
            both = np.abs(self._error[left]) + np.abs(self._error[right])
            again = np.where(both > 0.5 * self._before, self._stuck[left] + 1, 0)
            self._stuck[left] = self._stuck[right] = again

    def _plan(self) -> None:
        item, error, level = self._item, np.abs(self._error), self._level
        count, width = len(self._num_nodes), 0.5**self._level
        # Pieces: a panel by itself, or with its right sibling by one rule; they stand at the first panel.
        first = np.zeros(len(item), dtype=np.bool_)
        first[:-1] = (item[1:] == item[:-1]) & (level[1:] == level[:-1]) & (self._index[:-1] % 2 == 0)
        first[:-1] &= self._index[1:] == self._index[:-1] + 1
        pair = np.flatnonzero(first)
        five = self._five[pair]
        boole = 2 * width[pair] * (self._slope[five] @ _BOOLE) - (self._f[five[:, 4]] - self._f[five[:, 0]])
        better = np.abs(boole) < error[pair] + error[pair + 1]
        joined = pair[better]
        piece, is_piece = error.copy(), np.ones(len(item), dtype=np.bool_)
        piece[joined], piece[joined + 1], is_piece[joined + 1] = np.abs(boole[better]), 0.0, False
        worst = np.arange(len(item))
        worst[joined] += error[joined + 1] > error[joined]

        noise = is_piece & self._at_noise(piece, worst)
        reducible = np.bincount(item, np.where(noise, 0.0, piece), count).astype(np.float64)
        total = np.bincount(item, piece, count)
        change = np.abs(self._f[self._last] - self._f[self._first])
        allowance = self._tolerance * np.maximum(change, self._epsilon)
        split = self._to_split(np.flatnonzero(is_piece & ~noise), piece, worst, reducible, allowance)

        active = np.bincount(item, minlength=count) > 0
        going = np.bincount(item[split], minlength=count) > 0
        done = np.flatnonzero(active & ~going)
        self._finished = None
        if len(done):
            stops = np.where(total <= allowance, 0, np.where(reducible <= allowance, 1, 2))[done]
            joint = np.zeros(len(item), dtype=np.bool_)
            joint[joined] = True
            self._finished = self._finish(done, [STOPS[k] for k in stops], pair, joint, is_piece, piece)
        self._halve(split, ~going[item])

    def _at_noise(self, piece: Floats, worst: Integers) -> NDArray[np.bool_]:
        """Which pieces have an error that may be rounding."""
        rounding = self._roundoff * self._scale[self._item]
        return (piece <= rounding) | ((piece <= NOISE * rounding) & (self._stuck[worst] >= STUCK))

    def _to_split(
        self, pieces: Integers, piece: Floats, worst: Integers, reducible: Floats, allowance: Floats
    ) -> Integers:
        """Panels to split, ascending, of the items that are not within their allowance: those with the largest errors."""
        pieces = pieces[reducible[self._item[pieces]] > allowance[self._item[pieces]]]
        pieces = pieces[np.lexsort((-piece[pieces], self._item[pieces]))]
        item = self._item[pieces]
        left = reducible[item] - _sums_before(piece[pieces], item)
        wanted = worst[pieces[left > SPLIT_UNTIL * allowance[item]]]
        wanted = wanted[self._level[wanted] < MAX_LEVEL]
        item = self._item[wanted]
        rank = _sums_before(np.ones(len(item)), item).astype(np.int64)
        return np.sort(wanted[self._num_nodes[item] + 2 * (rank + 1) <= self._max_rows])

    def _finish(
        self,
        done: Integers,
        stops: list[Stop],
        pair: Integers,
        joint: NDArray[np.bool_],
        is_piece: NDArray[np.bool_],
        piece: Floats,
    ) -> Finished:
        is_done = np.zeros(len(self._num_nodes), dtype=np.bool_)
        is_done[done] = True
        here = is_done[self._item]
        width = 0.5**self._level
        whole, alone = np.flatnonzero(here & joint), np.flatnonzero(here & is_piece & ~joint)
        nodes = np.concatenate([self._five[whole].ravel(), self._own(alone).ravel()])
        weights = np.concatenate(
            [
                (2 * width[whole][:, None] * _BOOLE).ravel(),
                (width[alone][:, None] * _SIMPSON).ravel(),
            ]
        )
        by_node = np.bincount(nodes, weights, len(self._owner)).astype(np.float64)
        used = np.flatnonzero(is_done[self._owner])
        used = used[np.argsort(self._owner[used], kind="stable")]
        # Of two siblings the first stands for both.
        second = np.zeros(len(self._item), dtype=np.bool_)
        second[pair + 1] = True
        panels = np.ones(len(self._item))
        panels[pair] = 2.0
        known = piece.copy()
        halves = pair[~joint[pair]]
        known[halves] += piece[halves + 1]
        fours = np.flatnonzero(here & ~second)
        return Finished(
            items=done,
            stops=stops,
            num_nodes=self._num_nodes[done],
            f_input=self._f[self._last[done]],
            f_baseline=self._f[self._first[done]],
            nodes=used,
            weights=by_node[used],
            terms=self._num_nodes[done],
            fives=self._five[fours],
            factors=PER_FOURTH_DIFFERENCE * panels[fours] * width[fours] / 2,
            errors=known[fours],
            fours=np.bincount(self._item[fours], minlength=len(is_done))[done],
        )

    def _halve(self, split: Integers, gone: NDArray[np.bool_]) -> None:
        """Replace panels by their halves, and drop those of finished items; their new nodes are the next requests."""
        nodes, level, index = self._own(split), self._level[split], self._index[split]
        new = len(self._owner) + np.arange(2 * len(split)).reshape(-1, 2)
        five = np.stack([nodes[:, 0], new[:, 0], nodes[:, 1], new[:, 1], nodes[:, 2]], axis=1)
        quarters = (index[:, None] + np.array([0.25, 0.75])) * 0.5 ** level[:, None]
        self._asked, self._positions = np.repeat(self._item[split], 2), quarters.ravel()
        self._before = np.abs(self._error[split])
        self._five[split] = five
        self._error[split] = np.nan
        self._level[split] += 1
        self._index[split] *= 2
        times = np.where(gone, 0, 1)
        times[split] = 2
        kept = np.repeat(np.arange(len(times)), times)
        is_right = np.zeros(len(kept), dtype=np.bool_)
        is_right[1:] = kept[1:] == kept[:-1]
        self._item, self._level, self._five = self._item[kept], self._level[kept], self._five[kept]
        self._error, self._stuck = self._error[kept], self._stuck[kept]
        self._index = self._index[kept] + is_right


def _sums_before(values: Floats, item: Integers) -> Floats:
    """Of values sorted by item: the sum of those of the same item that stand before."""
    before = np.cumsum(values) - values
    starts = np.flatnonzero(np.diff(item, prepend=-1))
    return before - np.repeat(before[starts], np.diff(starts, append=len(item)))


class FixedIntegrals:
    """The same by Gauss-Legendre quadrature with a fixed number of nodes: one round for all."""

    def __init__(self, count: int, steps: int) -> None:
        self._count = count
        nodes, self._weights = gauss_legendre(steps)
        self._asked = np.repeat(np.arange(count), steps + 2)
        self._positions = np.tile(np.array([0.0, *nodes.tolist(), 1.0]), count)
        self._finished: Finished | None = None

    def requests(self) -> tuple[Integers, Floats]:
        """(items, positions in [0, 1]), both `[nodes]`; none when they have been supplied."""
        return self._asked, self._positions

    def supply(self, f: Floats, slope: Floats, size: Floats) -> None:
        """Give F, the sum of the token densities and that of their absolutes, each `[nodes]`."""
        count, steps = self._count, len(self._weights)
        inner = np.arange(len(f)).reshape(count, steps + 2)[:, 1:-1]
        ends = f.reshape(count, steps + 2)
        self._finished = Finished(
            items=np.arange(count),
            stops=[None] * count,
            num_nodes=np.full(count, steps + 2),
            f_input=ends[:, -1],
            f_baseline=ends[:, 0],
            nodes=inner.ravel(),
            weights=np.tile(self._weights, count),
            terms=np.full(count, steps),
            fives=np.zeros((0, 5), dtype=np.int64),
            factors=np.zeros(0),
            errors=np.zeros(0),
            fours=np.zeros(count, dtype=np.int64),
        )
        self._asked, self._positions = self._asked[:0], self._positions[:0]

    def finished(self) -> Finished | None:
        """All of them, once they have been supplied."""
        return self._finished


def gauss_legendre(steps: int) -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss-Legendre quadrature on [0, 1], each [steps]; the weights sum to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2
