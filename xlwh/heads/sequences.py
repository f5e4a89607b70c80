"""Evidence that stays valid however often one looks: tests and intervals for the mean of values in [-1, 1].

Everything here is a function of sums over the observations, whatever their order, so the views state the same
formulas in SQL (`sql/macros/heads.sql`). A sampler may stop, go on, or judge after every row.

- Evidence against "the mean is not negative": a gambler who bets the share b of his wealth on every next value
  being negative has wealth prod(1 - b x); under the hypothesis this is a supermartingale, so it ever exceeds 1/a
  with probability at most a (Ville 1939). Averaged over a grid of bets: no bet has to be chosen. For values of -1, 0
  and 1 it is the mixture sign test; zeros cost nothing.
- Interval: exp(b (S - t m) - V (-ln(1 - b) - b)) with S = sum x, V = sum x^2 is a supermartingale at the true mean
  m for each bet b (Fan, Grama and Liu 2015; Howard et al. 2021; Waudby-Smith and Ramdas 2024, Theorem 2 with the
  constant prediction 0). Each bet of the grid gets an equal part of the error; the tightest bound counts.

Both allow for a value of -1 that has not been seen yet, so that a mean m takes some ln(1/a) / m observations however
alike they are. The asymptotic interval holds at all times together too, but only as far as means are normal, which rare
large values spoil: so it waits for the more observations the more skewed they are, and allows for large values that
are too rare to have been seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BETS: NDArray[np.float64] = 2.0 ** (-np.arange(1, 21) / 2)
"""Bets b, from .71 down by factors of sqrt(2) to 1/1024."""

ASYMPTOTIC_LEAST = 1024
"""Observations below which a normal limit says nothing, however alike they are."""
ASYMPTOTIC_SKEWED = 100
"""Observations that it needs for each unit of squared skewness: as many rare values, about, must have been seen."""
ASYMPTOTIC_TUNED = 2048
"""Observations at which the asymptotic interval is tightest for its level."""

Values = NDArray[np.float64]


@dataclass
class Evidence:
    """Running sums over the observations of several players: `[players]`, and per bet `[players, bets]`."""

    players: int
    count: NDArray[np.int64] = field(init=False)
    total: Values = field(init=False)
    square: Values = field(init=False)
    _negative: Values = field(init=False)
    _positive: Values = field(init=False)

    def __post_init__(self) -> None:
        self.count = np.zeros(self.players, dtype=np.int64)
        self.total, self.square = np.zeros(self.players), np.zeros(self.players)
        self._negative = np.zeros((self.players, len(BETS)))
        self._positive = np.zeros((self.players, len(BETS)))

    def add(self, player: NDArray[np.int64], values: Values) -> None:
        """Take observations in [-1, 1] `[n]`, each of one player `[n]`."""
        self.count += np.bincount(player, minlength=self.players)
        self.total += np.bincount(player, values, self.players)
        self.square += np.bincount(player, values**2, self.players)
        moving = values != 0
        player, values = player[moving], values[moving]
        for place, bet in enumerate(BETS):
            self._negative[:, place] += np.bincount(player, np.log1p(-bet * values), self.players)
            self._positive[:, place] += np.bincount(player, np.log1p(bet * values), self.players)

    @property
    def log_e_negative(self) -> Values:
        """ln of the evidence against each player's mean being 0 or more."""
        return _log_mean_exp(self._negative)

    @property
    def log_e_positive(self) -> Values:
        """ln of the evidence against each player's mean being 0 or less."""
        return _log_mean_exp(self._positive)

    def decided(self, delta: float) -> NDArray[np.bool_]:
        """Players whose sign is known: with probability 1 - delta none is ever wrong, at any time."""
        known: NDArray[np.bool_] = np.maximum(self.log_e_negative, self.log_e_positive) >= np.log(
            2 * self.players / delta
        )
        return known

    def interval(self, delta: float) -> tuple[Values, Values]:
        """Low and high ends that hold for every player at all times with probability 1 - delta: `[players]`."""
        return strict_interval(self.count, self.total, self.square, delta / self.players)


def strict_interval(
    count: NDArray[np.int64], total: Values, square: Values, delta: float
) -> tuple[Values, Values]:
    """Anytime-valid interval for each mean at level 1 - delta, from sums: -1 and 1 where nothing was observed."""
    cost = -np.log1p(-BETS) - BETS
    n = np.maximum(count, 1)[:, None]
    slack = (square[:, None] * cost + np.log(2 * len(BETS) / delta)) / BETS
    radius = slack / n
    mean = total[:, None] / n
    low = np.maximum((mean - radius).max(axis=1), -1.0)
    high = np.minimum((mean + radius).min(axis=1), 1.0)
    return np.where(count > 0, low, -1.0), np.where(count > 0, high, 1.0)


def asymptotic_radius(
    count: NDArray[np.int64], mean: Values, sd: Values, skewness: Values, delta: float | Values
) -> Values:
    """Half the width of an interval that holds at all times together at level 1 - delta in the limit of many values.

    Infinite below ASYMPTOTIC_LEAST of them, and below ASYMPTOTIC_SKEWED * skewness^2. To the radius of the limit is
    added what values of -1 or 1 could change that have not been seen yet: with probability 1 - delta they are rarer
    than ln(1 / delta) / n. So values that are all equal have an interval too. Source: Waudby-Smith, Arbour, Sinha,
    Kennedy and Ramdas (2024), "Time-uniform central limit theory and asymptotic confidence sequences", Theorem 2.2;
    the two limits are ours, calibrated by simulation (`tests/unit/heads/test_sequences.py`).
    """
    scale = (-2 * np.log(delta) + np.log(1 - 2 * np.log(delta))) / ASYMPTOTIC_TUNED
    spread = count * scale + 1
    radius = sd * np.sqrt(2 * spread / scale * np.log(np.sqrt(spread) / delta)) / count
    unseen = (1 + np.abs(mean)) * np.log(1 / np.asarray(delta)) / count
    least = np.maximum(ASYMPTOTIC_LEAST, ASYMPTOTIC_SKEWED * skewness**2)
    wide: Values = np.where(count < least, np.inf, radius + unseen)
    return wide


def paper_radius(count: NDArray[np.int64], sd: Values, delta: float, reach: float = 1.0) -> Values:
    """Eq. 4: sd sqrt(2 ln(3/delta) / t) + 3 R ln(3/delta) / t. Valid for one look, one head and values within R."""
    log = np.log(3 / delta)
    radius: Values = sd * np.sqrt(2 * log / count) + 3 * reach * log / count
    return radius


def published_radius(count: NDArray[np.int64], sd: Values, delta: float) -> Values:
    """What the released code computes: sd sqrt(2 ln(3/delta)) / t + 3 R ln(3/delta) / t with R = 1.

    The first term shrinks with t where it should with sqrt(t); the second is Eq. 4's.
    """
    log = np.log(3 / delta)
    radius: Values = sd * np.sqrt(2 * log) / count + 3 * log / count
    return radius


def _log_mean_exp(logs: Values) -> Values:
    top = logs.max(axis=1, keepdims=True)
    mean: Values = np.log(np.exp(logs - top).mean(axis=1)) + top[:, 0]
    return mean
