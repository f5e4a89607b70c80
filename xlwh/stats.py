"""Resampling and tests that neither SQL nor SciPy has in one call: paired bootstrap, McNemar, Holm.

Pure NumPy. Interval formulas that a view can state (Wilson, Fisher) are macros under `sql/macros/`; what
`scipy.stats` offers as it stands is called from there, not wrapped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from xlwh.draws import Stream, stream

_BATCH_BYTES = 2**20
"""Memory of one batch of draws; small, so that it stays in the processor's cache."""


@dataclass(frozen=True)
class BootstrapResult:
    """A mean, its bootstrap interval, and the evidence against its being zero."""

    mean: float
    low: float
    high: float
    standard_error: float
    p_value: float
    """Two-sided, for the mean being 0: (1 + k) / (B + 1), k resamples at least as far from the mean as 0 is."""


def bootstrap_mean(
    values: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    method: Literal["bca", "percentile"] = "bca",
    seed: int = 0,
    reach: tuple[float, float] = (-math.inf, math.inf),
    few: bool = False,
) -> BootstrapResult:
    """Bootstrap of the mean of `values` `[n]`, which for two systems is their paired difference per example.

    Examples are what is resampled. With `weights` `[n]` (words per sentence, say) the mean is
    sum(w x) / sum(w), so that a score per word is resampled by sentences, within which errors hang together.
    The same seed gives the same result.

    Where the values are all equal, resamples show no spread, which is not to say that there is none: other values may
    be as common as 1 - (1 - confidence)^(1/n) (the rule of three), so the interval is what such a share of values at
    the ends of `reach`, where values can lie, could make of the mean; NaN on a side without an end. The p-value is
    that of n equal signs, 2 / 2^n, as far as `resamples` can tell.

    With `few`, resamples of few values are taken for as much narrower than the truth as a normal interval is than one by
    Student's t: the interval's ends lie further out in their distribution (Hesterberg 2015, "What teachers should know
    about the bootstrap", section 5.3), and p is as much larger.

    Source: Efron and Tibshirani (1993), "An introduction to the bootstrap", ch. 13 (percentile), 14 (BCa);
    the p-value shifts the resampled means to the null hypothesis (ch. 16) and counts the sample itself
    (Davison and Hinkley 1997, eq. 4.11). Raises `ValueError` for no values, or values that are not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    if x.ndim != 1 or x.size == 0 or x.shape != w.shape:
        raise ValueError(f"need one value and one weight per example; got shapes {x.shape} and {w.shape}")
    if not (np.isfinite(x).all() and np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise ValueError("values must be finite, weights finite, not negative and not all zero")
    mean = float(w @ x / w.sum())
    if np.ptp(x) == 0:
        return _of_equal_values(mean, x.size, resamples, confidence, reach)
    means = _resampled_means(x, w, resamples, stream("bootstrap", seed))
    z, wider = special.ndtri([(1 - confidence) / 2, (1 + confidence) / 2]), 1.0
    if few:
        wider = float(special.stdtrit(x.size - 1, (1 + confidence) / 2) / z[1]) * math.sqrt(
            x.size / (x.size - 1)
        )
        z = wider * z
    tails = special.ndtr(z)
    if method == "bca":
        tails = _bca(z, means, mean, influence=w * (x - mean))
    low, high = np.quantile(means, tails)
    # A hair of slack: equal sums that were added in another order still count as equally far.
    beyond = int(np.sum(wider * np.abs(means - mean) >= abs(mean) * (1 - 1e-12)))
    return BootstrapResult(
        mean, float(low), float(high), float(means.std(ddof=1)), (1 + beyond) / (resamples + 1)
    )


def by_cluster(
    values: ArrayLike, weights: ArrayLike, clusters: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean value and weight of each cluster, `[clusters]`, in the order of their names: what `bootstrap_mean` resamples."""
    x, w = np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    _, place = np.unique(np.asarray(clusters), return_inverse=True)
    total = np.bincount(place, weights=w).astype(np.float64)
    return np.bincount(place, weights=w * x) / total, total


def _of_equal_values(
    mean: float, n: int, resamples: int, confidence: float, reach: tuple[float, float]
) -> BootstrapResult:
    unseen = 1 - (1 - confidence) ** (1 / n)
    low, high = (mean + unseen * (end - mean) if math.isfinite(end) else math.nan for end in reach)
    signs = 1.0 if mean == 0 else min(1.0, 2 * 0.5**n)
    return BootstrapResult(mean, low, high, 0.0, max(signs, 1 / (resamples + 1)))


def _resampled_means(
    x: NDArray[np.float64], w: NDArray[np.float64], resamples: int, drawn: Stream
) -> NDArray[np.float64]:
    """Weighted means of `resamples` draws with replacement: `[resamples]`."""
    sums, alike = w * x, bool(np.ptp(w) == 0)
    means = np.empty(resamples)
    batch = max(1, _BATCH_BYTES // (8 * x.size))
    for start in range(0, resamples, batch):
        rows = drawn.integers(x.size, min(batch, resamples - start), x.size)
        weights = w[0] * x.size if alike else w[rows].sum(axis=1)
        means[start : start + len(rows)] = sums[rows].sum(axis=1) / weights
    return means


def _bca(
    z: NDArray[np.float64], means: NDArray[np.float64], mean: float, influence: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Tail probabilities of normal quantiles, corrected for bias and skewness (Efron and Tibshirani 1993, eq. 14.10, 14.14, 14.15)."""
    share = (np.sum(means < mean) + np.sum(means <= mean)) / (2 * means.size)
    bias = special.ndtri(np.clip(share, 1 / (means.size + 1), means.size / (means.size + 1)))
    acceleration = np.sum(influence**3) / (6 * np.sum(influence**2) ** 1.5)
    z = bias + z
    corrected: NDArray[np.float64] = special.ndtr(bias + z / (1 - acceleration * z))
    return corrected


def mcnemar(before: ArrayLike, after: ArrayLike) -> float:
    """Exact two-sided p-value for two systems being right equally often: `[n]` and `[n]`, right or wrong.

    Only the examples that exactly one of them gets right count; under the null they split evenly.
    Source: McNemar (1947), with binomial instead of chi-squared probabilities.
    """
    one, other = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(
            f"need the same examples in the same order; got shapes {one.shape} and {other.shape}"
        )
    lost, won = int(np.sum(one & ~other)), int(np.sum(~one & other))
    return min(1.0, 2 * float(special.bdtr(min(won, lost), won + lost, 0.5)))


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjusted p-values `[m]` that keep the chance of any false rejection among all m below the level.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure". NaN stays NaN, uncounted.
    """
    p = np.asarray(p_values, dtype=np.float64)
    known = ~np.isnan(p)
    order = np.argsort(p[known], kind="stable")
    factors = np.arange(order.size, 0, -1)
    adjusted = np.empty(order.size)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[known][order]))
    result = np.full(p.shape, np.nan)
    result[known] = adjusted
    return result
