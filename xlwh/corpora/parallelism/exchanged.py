"""Rows that have changed places, near or far: among the rows that may have, another order of them fits much better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from xlwh.corpora.parallelism.evidence import Model, Pair, estimate, evidence
from xlwh.corpora.parallelism.features import Float, Int
from xlwh.corpora.parallelism.walk import REACH, Band

_GAIN = 4.5
"""What an exchange must gain, in nats, beyond the log of the number of rows."""
_MOVABLE = 400
"""Rows of which another order is sought, at most."""
_TRIED = 10
"""Exchanges that are examined, of each kind."""


def exchanged(pair: Pair, model: Model, band: Band) -> list[int]:
    """The rows that have changed places with each other, ascending: those of the exchange that gains most, or none."""
    rows = pair.rows
    if len(rows) < 4:
        return []
    movable = _movable(pair, band)
    # A row that is moved could have gone anywhere, but rather near than far.
    price = np.log1p(2 * np.abs(movable[:, None] - movable[None, :]))
    found: list[int] = []
    most = _GAIN + math.log(len(rows))
    for old, new in _proposed(_scores(pair, model, movable) - price):
        moves = price[old, new]
        # The last of the rows has no choice left, so that it is free.
        gain = _gain(pair, movable[old], movable[new]) - float(moves.sum() - moves.max())
        if gain > most:
            found, most = sorted(movable[old].tolist()), gain
    return found


def _movable(pair: Pair, band: Band) -> Int:
    """Rows that may have changed places: little evidence, labels that differ, or a near row that fits better."""
    rows, k = pair.rows, pair.common
    in_place = band.in_place[:k]
    better = _better_nearby(band, k)
    a, b = pair.source.categories["label"][rows], pair.target.categories["label"][rows]
    labels_differ = rows[(a >= 0) & (b >= 0) & (a != b)]
    some = _MOVABLE // 4
    parts = (
        labels_differ[np.argsort(in_place[labels_differ], kind="stable")[:some]],
        rows[np.argsort(-better[rows], kind="stable")[:some]],
        rows[np.argsort(in_place[rows], kind="stable")[: 2 * some]],
        # A row that was refused on one side may have changed places too.
        np.flatnonzero(pair.source.present[:k] != pair.target.present[:k])[:some],
    )
    return np.unique(np.concatenate(parts))


def _better_nearby(band: Band, k: int) -> Float:
    """What each of the first k rows gains, in nats, if it changes places with the best of its neighbours: `[k]`."""
    column = {int(offset): number for number, offset in enumerate(band.offsets)}
    in_place = band.in_place[:k]
    better = np.full(k, -np.inf)
    for distance in range(1, min(REACH, k - 1) + 1):
        if distance not in column or -distance not in column:
            continue
        one, other = np.arange(k - distance), np.arange(distance, k)
        crossed = band.evidence[one, column[distance]] + band.evidence[other, column[-distance]]
        gain = crossed - in_place[one] - in_place[other]
        better[one], better[other] = np.maximum(better[one], gain), np.maximum(better[other], gain)
    return better


def _scores(pair: Pair, model: Model, movable: Int) -> Float:
    """Evidence of each row with each other one, less that with its own place: `[movable, movable]`, in nats."""
    size = len(movable)
    of_units = model.units.matrix(movable, movable).ravel()
    # Whether a row repeats the one before depends on where both stand, which only `_gain` knows.
    anywhere = replace(pair, target=pair.target.without_repeats())
    flat = evidence(anywhere, model, np.repeat(movable, size), np.tile(movable, size), of_units)
    score = flat.reshape(size, size)
    return np.asarray(score - np.diag(score)[:, None])


def _proposed(net: Float) -> Iterator[tuple[list[int], list[int]]]:
    """Exchanges worth examining, given what each move gains `[from, to]`: rows, and what goes to their places."""
    _, to = linear_sum_assignment(net, maximize=True)
    cycles = sorted(_cycles(to.tolist()), key=lambda cycle: -float(sum(net[x, to[x]] for x in cycle)))
    for cycle in cycles[:_TRIED]:
        yield cycle, [int(to[x]) for x in cycle]
    # The best pairs too: the exchanged rows themselves have made some features look unreliable, which may hide them.
    both = np.triu(net + net.T, 1)
    both[np.tril_indices(len(net))] = -np.inf
    best = np.argsort(-both, axis=None)[:_TRIED]
    for x, y in zip(*(axis.tolist() for axis in np.unravel_index(best, both.shape)), strict=True):
        yield [x, y], [y, x]


def _cycles(to: list[int]) -> Iterable[list[int]]:
    """The cycles of a permutation that move anything."""
    seen: set[int] = set()
    for begin in range(len(to)):
        cycle, at = [], begin
        while at not in seen:
            seen.add(at)
            cycle.append(at)
            at = to[at]
        if len(cycle) > 1:
            yield cycle


def _gain(pair: Pair, rows: Int, partners: Int) -> float:
    """Evidence for an order of the target in which `partners` stand at `rows`, less that for the present order.

    How reliable the features are is estimated from all other rows.
    """
    touched = np.unique(np.concatenate([rows, np.minimum(rows + 1, pair.common - 1)]))
    others = np.setdiff1d(pair.rows, touched)
    if not len(others):
        return 0.0
    model = estimate(pair, (others, others))
    order = np.arange(pair.m)
    order[rows] = partners
    reordered = replace(pair, target=pair.target.in_order(order))
    then = evidence(reordered, model, touched, order[touched])
    return float(then.sum() - evidence(pair, model, touched, touched).sum())
