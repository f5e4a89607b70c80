"""The hidden Markov model along the rows: which offset each row has, or that it matches nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xlwh.corpora.parallelism.evidence import Matched, Model, Pair, evidence
from xlwh.corpora.parallelism.features import Bool, Float, Int

REACH = 30
"""Offsets that are tried, in rows: of longer stretches lost or doubled, only the surplus of the files is tried."""
_LONG, _SHORT_REACH = 20_000, 3
"""Rows beyond which only so many offsets are tried, to save time; after a longer loss the rows match nothing."""
PRICE = 14.0
"""What a stretch of rows at another offset must gain, in nats, beyond the log of the number of rows."""
_DOUBT = 1.5
"""Nats against a row up to which it may still be at its place: where a text changes its subject, words learned
elsewhere are missing."""
ODD = 10
"""Rows in a stretch that matches nothing, at most, to be taken for bad translations and not for a shift."""
_OUTSIDE = -2.0
"""Evidence of a row with a place that the target does not have, in nats."""


@dataclass(frozen=True)
class Band:
    """Evidence of each row of the source at each offset."""

    offsets: Int
    """`[o]`, in rows, ascending: row i with row i + offset."""
    evidence: Float
    """`[n, o]`, in nats."""

    @property
    def here(self) -> int:
        """The state of rows that match the row at the same place."""
        return int(np.flatnonzero(self.offsets == 0)[0])

    @property
    def nothing(self) -> int:
        """The state of rows that match nothing: the one after all offsets."""
        return len(self.offsets)

    @property
    def in_place(self) -> Float:
        """Evidence of each row with the row at the same place: `[n]`."""
        return self.evidence[:, self.here]


class Unmatched(NamedTuple):
    """Rows in the state "matches nothing" between rows at their place."""

    doubtful: Int
    """In long stretches with little evidence against them: they may be at their place after all."""
    odd: Int
    """In stretches of a few rows: perhaps bad translations."""


def offsets_tried(n: int, m: int) -> Int:
    """Offsets that are tried for n rows against m, ascending; 0 is one of them."""
    surplus, longest = m - n, max(n, m)
    reach = max(0, min(REACH if n <= _LONG else _SHORT_REACH, longest - 1))
    offsets = set(range(-reach, reach + 1))
    if abs(surplus) <= longest // 2:
        offsets |= set(range(surplus - 2, surplus + 3))
    return np.array(sorted(offsets), dtype=np.int64)


def band_of(pair: Pair, model: Model, offsets: Int) -> Band:
    """Evidence of all rows at all offsets."""
    rows = np.arange(pair.n)
    columns = []
    for offset in offsets:
        column = evidence(pair, model, rows, rows + offset)
        column[(rows + offset < 0) | (rows + offset >= pair.m)] = _OUTSIDE
        columns.append(column)
    return Band(offsets, np.stack(columns, axis=1))


def best_path(band: Band) -> Int:
    """The best state of each row (Viterbi): `[n]`, an index into the offsets, or `band.nothing`."""
    n, size = band.evidence.shape
    price = _price(n) / 2
    start = np.full(size + 1, -2 * price)
    start[band.here] = 0.0
    score = start + np.append(band.evidence[0], 0.0)
    origins = np.empty((n, size + 1), dtype=np.int16)
    states = np.arange(size + 1)
    # To leave an offset and to enter one cost half each: a change by way of "nothing" costs as much as a direct one.
    for i in range(1, n):
        best, lost = int(np.argmax(score[:-1])), score[-1]
        moved = max(score[best] - 2 * price, lost - price)
        origin = best if score[best] - 2 * price >= lost - price else size
        stay = score[:-1] >= moved
        origins[i, :-1] = np.where(stay, states[:-1], origin)
        new = np.empty(size + 1)
        new[:-1] = np.where(stay, score[:-1], moved) + band.evidence[i]
        out = score[best] - price
        origins[i, -1], new[-1] = (size, lost) if lost >= out else (best, out)
        score = new
    path = np.empty(n, dtype=np.int64)
    path[-1] = int(np.argmax(score))
    for i in range(n - 1, 0, -1):
        path[i - 1] = origins[i, path[i]]
    return path


def matched_by(path: Int, band: Band, pair: Pair) -> Matched:
    """The rows that match one by a path, where both have a text."""
    rows = np.flatnonzero(path != band.nothing)
    partners = rows + band.offsets[path[rows]]
    inside = (partners >= 0) & (partners < pair.m)
    rows, partners = rows[inside], partners[inside]
    present = pair.source.present[rows] & pair.target.present[partners]
    return rows[present], partners[present]


def unmatched(path: Int, band: Band) -> Unmatched:
    """The rows of a path that match nothing, though the rows before and after them are at their place."""
    n = len(path)
    doubtful: list[int] = []
    odd: list[int] = []
    for begin, end in _stretches(path == band.nothing):
        if (begin and path[begin - 1] != band.here) or (end < n and path[end] != band.here):
            continue
        length = end - begin
        against = -float(band.in_place[begin:end].sum())
        if length > ODD and against < _price(n) + _DOUBT * length:
            doubtful += range(begin, end)
        elif length <= min(ODD, n // 4):
            odd += range(begin, end)
    return Unmatched(np.array(doubtful, dtype=np.int64), np.array(odd, dtype=np.int64))


def changed_at(band: Band, n: int, m: int) -> int:
    """Where rows are most likely missing or too many, if n rows stand against m and all of them at one place."""
    surplus, common = m - n, min(n, m)
    column = np.flatnonzero(band.offsets == surplus)
    if not len(column):
        return common
    before = np.concatenate([[0.0], np.cumsum(band.in_place)])
    after = np.concatenate([np.cumsum(band.evidence[::-1, column[0]])[::-1], [0.0]])
    # The source's rows that the target lacks match nothing.
    missing = max(0, -surplus)
    begin = np.arange(common + 1)
    return int(np.argmax(before[begin] + after[np.minimum(begin + missing, n)]))


def _price(n: int) -> float:
    """What a change of offset and back costs in n rows, in nats."""
    return math.log(max(n, 2)) + PRICE


def _stretches(flags: Bool) -> list[tuple[int, int]]:
    """Begin and end (one past) of each run of True."""
    steps = np.diff(np.concatenate([[0], flags.astype(int), [0]]))
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))
