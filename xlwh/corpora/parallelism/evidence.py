"""Evidence that two rows are translations: the log likelihood ratio, in nats, against two unrelated rows.

It is the sum of what each feature says. How reliable a feature is, is estimated from rows that are taken to match.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xlwh.corpora.parallelism.features import Features, Float, Int, features_of, label_codes
from xlwh.corpora.parallelism.sides import Side
from xlwh.corpora.parallelism.units import CommonUnits, UnitWeights, common_units, weigh

Matched = tuple[Int, Int]
"""Rows of the source, and the row of the target that each is taken to match."""

_LEAST_OF_UNITS, _MOST_OF_UNITS = -5.0, 20.0
"""Bounds on what all units of one row say, in nats."""
_MOST_OF_LENGTH = 4.0
"""Upper bound on what the length of one segment says, in nats."""
_DEGREES = 4.0
"""Degrees of freedom of the t distribution of log length ratios: translations now and then are much longer or shorter."""
_LOG_T_0 = math.lgamma((_DEGREES + 1) / 2) - math.lgamma(_DEGREES / 2) - 0.5 * math.log(_DEGREES * math.pi)
_ERRORS = {"label": 0.02, "repeats": 0.02, "asks": 0.1}
"""How often a category of a row differs in its translation, before anything is known of the files."""


@dataclass(frozen=True)
class Pair:
    """The features of two sides: n rows of the source, m of the target."""

    source: Features
    target: Features
    units: CommonUnits

    @property
    def n(self) -> int:
        """Rows of the source."""
        return len(self.source.present)

    @property
    def m(self) -> int:
        """Rows of the target."""
        return len(self.target.present)

    @property
    def common(self) -> int:
        """Places that both sides have."""
        return min(self.n, self.m)

    @property
    def rows(self) -> Int:
        """Places at which both sides have a text."""
        return np.flatnonzero(self.source.present[: self.common] & self.target.present[: self.common])


class LengthModel(NamedTuple):
    """How log length ratios (target to source) of one segment are distributed."""

    centre: float
    near: float
    """Spread in rows that match."""
    wide: float
    """Spread in rows that do not."""


@dataclass(frozen=True)
class Model:
    """What each feature says."""

    categories: Mapping[str, Float]
    """Per category: evidence `[code of the source, code of the target]`, in nats; empty where all rows are alike."""
    lengths: tuple[LengthModel, ...]
    """Per segment."""
    units: UnitWeights


def pair_of(source: Side, target: Side) -> Pair:
    """The features of two sides, of the segments that both have."""
    segments = min(len(source.texts), len(target.texts))
    codes = label_codes(source, target)
    a, b = features_of(source, segments, codes), features_of(target, segments, codes)
    return Pair(a, b, common_units(a, b))


def estimate(pair: Pair, matched: Matched | None) -> Model:
    """How reliable each feature is in rows that match; None: what is usual, as none are known yet."""
    categories = {
        name: _table(codes, pair.target.categories[name], matched, _ERRORS[name.split()[0]])
        for name, codes in pair.source.categories.items()
    }
    lengths = tuple(
        _length_model(x, y, matched)
        for x, y in zip(pair.source.lengths.T, pair.target.lengths.T, strict=True)
    )
    return Model(categories, lengths, weigh(pair.units, matched))


def evidence(pair: Pair, model: Model, rows: Int, partners: Int, of_units: Float | None = None) -> Float:
    """Evidence of `rows[k]` of the source and `partners[k]` of the target: `[k]`; 0 where either has no text.

    `of_units` is what the units say `[k]`, where that is known already.
    """
    inside = (partners >= 0) & (partners < pair.m)
    j = np.where(inside, partners, 0)
    total = np.zeros(len(rows))
    for name, table in model.categories.items():
        if table.size:
            x, y = pair.source.categories[name][rows], pair.target.categories[name][j]
            total += np.where((x >= 0) & (y >= 0), table[x, y], 0.0)
    for s, (centre, near, wide) in enumerate(model.lengths):
        ratio = pair.target.lengths[j, s] - pair.source.lengths[rows, s] - centre
        matching = _log_t(ratio / near) - math.log(near)
        gain = matching + (ratio / wide) ** 2 / 2 + math.log(wide * math.sqrt(2 * math.pi))
        gain = np.minimum(gain, _MOST_OF_LENGTH) * pair.source.weights[rows, s]
        total += np.where(np.isnan(gain), 0.0, gain)
    if of_units is None:
        of_units = model.units.evidence(rows, j)
    total += np.clip(of_units, _LEAST_OF_UNITS, _MOST_OF_UNITS)
    present = inside & pair.source.present[rows] & pair.target.present[j]
    return np.where(present, total, 0.0)


def spread(values: Float) -> float:
    """Standard deviation of most values, from the median absolute deviation; NaN is left out."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return 0.5
    return 1.4826 * float(np.median(np.abs(known - np.median(known)))) or float(np.std(known)) or 0.05


def _table(a: Int, b: Int, matched: Matched | None, error: float) -> Float:
    """Evidence of each two codes `[of the source, of the target]`, in nats; empty where there is one code only."""
    size = int(max(a.max(initial=-1), b.max(initial=-1))) + 1
    if size < 2:
        return np.zeros((0, 0))
    chance = np.bincount(b[b >= 0], minlength=size) + 0.5
    chance = chance / chance.sum()
    if matched is None:
        counts = 2 * _confusion(size, error)
    else:
        x, y = a[matched[0]], b[matched[1]]
        known = (x >= 0) & (y >= 0)
        counts = np.zeros((size, size))
        np.add.at(counts, (x[known], y[known]), 1)
        # Errors are taken to be as frequent in one category as in another.
        wrong = counts.sum() - np.trace(counts)
        counts = counts + 4 * _confusion(size, (wrong + 2 * error) / (counts.sum() + 2))
    given = counts / counts.sum(axis=1, keepdims=True)
    return np.asarray(np.log(given / chance[None, :]))


def _confusion(size: int, error: float) -> Float:
    """Probability of each code given the true one, if errors fall on all others alike: `[size, size]`."""
    table = np.full((size, size), error / (size - 1))
    np.fill_diagonal(table, 1 - error)
    return table


def _length_model(x: Float, y: Float, matched: Matched | None) -> LengthModel:
    wide = math.hypot(spread(x), spread(y))
    centre, near = float(np.nanmedian(y) - np.nanmedian(x)), 0.3
    if matched is not None:
        ratio = y[matched[1]] - x[matched[0]]
        ratio = ratio[~np.isnan(ratio)]
        if len(ratio):
            centre = float(np.median(ratio))
        if len(ratio) >= 10:
            near = spread(ratio)
    near = min(max(near, 0.08), max(wide, 0.08))
    return LengthModel(centre, near, max(wide, near))


def _log_t(z: Float) -> Float:
    """Log density of the t distribution."""
    return np.asarray(_LOG_T_0 - (_DEGREES + 1) / 2 * np.log1p(z**2 / _DEGREES))
