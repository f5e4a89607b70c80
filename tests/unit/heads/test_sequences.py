"""Coverage and false rejections by simulation, at all times at once; and how the published bound fails on rows."""

from __future__ import annotations

import numpy as np
import pytest

from xlwh.heads.sequences import (
    ASYMPTOTIC_LEAST,
    BETS,
    Evidence,
    asymptotic_radius,
    paper_radius,
    published_radius,
    strict_interval,
)

TIMES = np.unique(np.geomspace(20, 20_000, 60).astype(int))
RUNS = 300


def ternary(random: np.random.Generator, mean: float, moving: float, shape: tuple[int, ...]) -> np.ndarray:
    """Values of -1, 0 and 1 with this mean, nonzero with probability `moving`."""
    u = random.random(shape)
    up = (moving + mean) / 2
    return np.where(u < up, 1.0, np.where(u < moving, -1.0, 0.0))


def sums_at_times(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.cumsum(values, axis=1)[:, TIMES - 1], np.cumsum(values**2, axis=1)[:, TIMES - 1]


@pytest.mark.parametrize(("mean", "moving"), [(0.0, 0.02), (-0.05, 0.1), (0.3, 0.6), (0.0, 1.0)])
def test_the_strict_interval_holds_at_all_times_together(mean, moving):
    values = ternary(np.random.default_rng(1), mean, moving, (RUNS, TIMES[-1]))
    total, square = sums_at_times(values)
    missed = np.zeros(RUNS, dtype=bool)
    for place, time in enumerate(TIMES):
        count = np.full(RUNS, time)
        low, high = strict_interval(count, total[:, place], square[:, place], delta=0.1)
        missed |= (low > mean) | (high < mean)
    assert missed.mean() <= 0.1


@pytest.mark.parametrize("moving", [0.02, 0.3, 1.0])
def test_no_null_is_rejected_too_often_however_often_one_looks(moving):
    """One family of nulls a run: the chance that any of them is ever decided stays below delta."""
    runs, players = 60, 12
    values = ternary(np.random.default_rng(2), 0.0, moving, (runs * players, TIMES[-1]))
    ups = np.cumsum(values > 0, axis=1)[:, TIMES - 1]
    downs = np.cumsum(values < 0, axis=1)[:, TIMES - 1]
    # The same sums as Evidence keeps, for all times at once.
    negative = np.log(np.exp(ups[..., None] * np.log1p(-BETS) + downs[..., None] * np.log1p(BETS)).mean(-1))
    positive = np.log(np.exp(ups[..., None] * np.log1p(BETS) + downs[..., None] * np.log1p(-BETS)).mean(-1))
    ever = (np.maximum(negative, positive) >= np.log(2 * players / 0.1)).any(axis=1)
    assert ever.reshape(runs, players).any(axis=1).mean() <= 0.1


def missed_by_the_asymptotic_interval(values: np.ndarray, mean: float, delta: float = 0.1) -> float:
    """The share of runs in which it ever leaves the mean out."""
    total, square = sums_at_times(values)
    sd = np.sqrt(square / TIMES - (total / TIMES) ** 2)
    return float((np.abs(total / TIMES - mean) > asymptotic_radius(TIMES, sd, delta)).any(axis=1).mean())


@pytest.mark.parametrize(("mean", "moving"), [(0.0, 0.3), (-0.05, 0.1), (0.3, 0.6), (0.0, 1.0)])
def test_the_asymptotic_interval_holds_at_all_times_where_means_are_nearly_normal(mean, moving):
    values = ternary(np.random.default_rng(6), mean, moving, (RUNS, TIMES[-1]))
    assert missed_by_the_asymptotic_interval(values, mean) <= 0.1


def test_rare_large_values_spoil_the_asymptotic_interval_but_not_the_strict_one():
    """One value in 400 is -1, the others make up for it: who has not seen one yet takes the mean for positive."""
    random = np.random.default_rng(7)
    rare = random.random((RUNS, TIMES[-1])) < 1 / 400
    values = np.where(rare, -1.0, (1 / 399) * random.choice([0.5, 1.5], rare.shape))
    assert missed_by_the_asymptotic_interval(values, 0.0) > 0.2
    total, square = sums_at_times(values)
    ends = [strict_interval(np.full(RUNS, t), total[:, i], square[:, i], 0.1) for i, t in enumerate(TIMES)]
    assert np.mean(np.any([(low > 0) | (high < 0) for low, high in ends], axis=0)) <= 0.1


def test_the_asymptotic_interval_is_tightest_where_it_is_tuned_and_says_nothing_of_few_values():
    count = np.array([ASYMPTOTIC_LEAST - 1, ASYMPTOTIC_LEAST, 512, 1_000_000])
    radius = asymptotic_radius(count, np.ones(4), 0.001)
    assert np.isinf(radius[0])
    assert np.isfinite(radius[1])
    # Against the normal quantile of one look: the price of looking at any time.
    assert radius[2:] / (3.29 / np.sqrt(count[2:])) == pytest.approx([1.278, 1.495], abs=0.001)


def test_the_published_bound_rejects_nulls_on_rows_and_the_papers_does_not():
    values = ternary(np.random.default_rng(3), 0.0, 0.1, (RUNS, 20_000))
    rates = {}
    for t in (350, 20_000):
        mean, sd = values[:, :t].mean(axis=1), values[:, :t].std(axis=1)
        rates[t] = (np.abs(mean) > published_radius(np.full(RUNS, t), sd, 0.1)).mean()
        assert (np.abs(mean) > paper_radius(np.full(RUNS, t), sd, 0.1)).mean() <= 0.1
    # Its second term holds it up to some hundred rows; then the missing root shows.
    assert rates[350] <= 0.1
    assert rates[20_000] > 0.75


def test_running_sums_are_those_of_the_whole():
    random = np.random.default_rng(4)
    player, values = random.integers(0, 3, 500), random.uniform(-1, 1, 500).round(2)
    together, apart = Evidence(4), Evidence(4)
    together.add(player, values)
    apart.add(player[:200], values[:200])
    apart.add(player[200:], values[200:])
    np.testing.assert_allclose(apart.log_e_negative, together.log_e_negative)
    np.testing.assert_array_equal(apart.count, [*np.bincount(player), 0])
    own = values[player == 1]
    wealth = np.prod(1 - BETS[:, None] * own[None, :], axis=1).mean()
    assert together.log_e_negative[1] == pytest.approx(np.log(wealth))
    assert together.log_e_positive[3] == 0
    low, high = together.interval(0.1)
    assert (low[3], high[3]) == (-1, 1)
    assert (low[:3] <= together.total[:3] / together.count[:3]).all()


def test_decisions_come_with_evidence_and_have_its_sign():
    evidence = Evidence(3)
    random = np.random.default_rng(5)
    for player, mean in enumerate((-0.2, 0.2, 0.0)):
        evidence.add(np.full(2000, player), ternary(random, mean, 0.4, (2000,)))
    assert evidence.decided(0.1).tolist() == [True, True, False]
    assert evidence.log_e_negative[0] > evidence.log_e_positive[0]
    low, high = evidence.interval(0.1)
    assert high[0] < 0 < low[1]
    assert low[2] < 0 < high[2]


def test_intervals_narrow_like_the_square_root():
    rows = np.array([10_000, 1_000_000])
    low, high = strict_interval(rows, np.zeros(2), rows * 0.05, 0.001)
    width = high - low
    assert 9 < width[0] / width[1] < 11
    # Against the exact normal quantile: the price of looking at any time is below a factor of 2.
    assert width[1] < 2 * 2 * 3.29 * np.sqrt(0.05 / 1_000_000)
