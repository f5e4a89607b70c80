"""Coverage and false rejections by simulation, at all times at once; and how the published bound fails on rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from xlwh.heads.sequences import (
    ASYMPTOTIC_LEAST,
    BETS,
    Evidence,
    Values,
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


def asymptotic_radii(values: np.ndarray, delta: float, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and radii of each row of values at these times, as a sampler that looks at all of them sees them."""
    sums = [np.cumsum(values**power, axis=1)[:, times - 1] / times for power in (1, 2, 3)]
    mean = sums[0]
    sd = np.sqrt(np.maximum(0, sums[1] - mean**2))
    third = sums[2] - 3 * mean * sums[1] + 2 * mean**3
    # Rounding alone is no spread.
    sd = np.where(sd < 1e-6, 0, sd)
    skewness = np.where(sd > 0, third / np.where(sd > 0, sd, 1) ** 3, 0)
    return mean, asymptotic_radius(times, mean, sd, skewness, delta)


def missed_by_the_asymptotic_interval(values: np.ndarray, mean: float, delta: float = 0.1) -> float:
    """The share of runs in which it ever leaves the mean out."""
    means, radii = asymptotic_radii(values, delta, TIMES)
    return float((np.abs(means - mean) > radii + 1e-12).any(axis=1).mean())


@pytest.mark.parametrize(("mean", "moving"), [(0.0, 0.3), (-0.05, 0.1), (0.3, 0.6), (0.0, 1.0)])
def test_the_asymptotic_interval_holds_at_all_times_where_means_are_nearly_normal(mean, moving):
    values = ternary(np.random.default_rng(6), mean, moving, (RUNS, TIMES[-1]))
    assert missed_by_the_asymptotic_interval(values, mean) <= 0.1


def rare(share: float, size: float, noise: float) -> Callable[[np.random.Generator, tuple[int, int]], Values]:
    """Values of mean 0, of which a share are `size` and the others make up for it, with normal noise."""

    def draw(random: np.random.Generator, shape: tuple[int, int]) -> Values:
        values = np.where(random.random(shape) < share, size, -size * share / (1 - share))
        return values + random.normal(0, noise, shape) if noise else values

    return draw


def moving(up: float, down: float) -> Callable[[np.random.Generator, tuple[int, int]], Values]:
    def draw(random: np.random.Generator, shape: tuple[int, int]) -> Values:
        u = random.random(shape)
        return (u < up).astype(float) - ((u >= up) & (u < up + down))

    return draw


GAMES: dict[str, tuple[float, Callable[[np.random.Generator, tuple[int, int]], Values]]] = {
    "normal": (0.0, lambda random, shape: random.normal(0, 0.05, shape)),
    "as often up as down": (0.0, moving(0.05, 0.05)),
    "up at times, never down": (0.02, moving(0.02, 0.0)),
    "up more often": (0.05, moving(0.05, 0.0)),
    "rather up than down": (0.02, moving(0.03, 0.01)),
    "one in 50 is 1": (0.0, rare(0.02, 1.0, 0.02)),
    "one in 20 is 1": (0.0, rare(0.05, 1.0, 0.05)),
    "one in 20 is half": (0.0, rare(0.05, 0.5, 0.025)),
    "one in 50 is -1": (0.0, rare(0.02, -1.0, 0.02)),
    "one in 500 is 1, often not seen yet": (0.0, rare(0.002, 1.0, 0.02)),
    "one in 1000 is 1, and the others are all equal": (0.0, rare(0.001, 1.0, 0.0)),
    "exponential": (0.0, lambda random, shape: np.minimum(1, 0.1 * (random.exponential(size=shape) - 1))),
}
"""Laws of the marginals of 72 heads alike, by name, with their mean: none of the heads does harm."""


def false_prunes_and_misses(name: str, games: int, last: int) -> tuple[float, float]:
    """Share of games with a head ever pruned, and with a value ever outside of its interval, looking 30 times."""
    heads, mean = 72, GAMES[name][0]
    times = np.unique(np.geomspace(64, last, 30).astype(int))
    random = np.random.default_rng(1)
    pruned = missed = 0
    for _ in range(games):
        means, radii = asymptotic_radii(GAMES[name][1](random, (heads, last)), 0.1 / heads, times)
        pruned += bool((means + radii < 0).any())
        missed += bool((np.abs(means - mean) > radii + 1e-12).any())
    return pruned / games, missed / games


@pytest.mark.parametrize("name", GAMES)
def test_no_head_is_pruned_wrongly_by_the_asymptotic_interval_however_often_one_looks(name):
    """At 0.1, ten games: three of ten would be rare (.07)."""
    pruned, missed = false_prunes_and_misses(name, games=10, last=4096)
    assert max(pruned, missed) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", GAMES)
def test_its_error_is_at_most_a_tenth(name):
    pruned, missed = false_prunes_and_misses(name, games=60, last=8192)
    # Two standard errors of 60 games.
    assert max(pruned, missed) <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 60)


def test_the_asymptotic_interval_says_nothing_of_few_values_and_of_skewed_ones_later():
    count = np.array([ASYMPTOTIC_LEAST - 1, ASYMPTOTIC_LEAST, 2048, 1_000_000])
    radius = asymptotic_radius(count, np.zeros(4), np.ones(4), np.zeros(4), 0.001)
    assert np.isinf(radius[0])
    assert np.isfinite(radius[1])
    # Against the normal quantile of one look: the price of looking at any time.
    assert radius[2:] / (3.29 / np.sqrt(count[2:])) == pytest.approx([1.325, 1.454], abs=0.001)
    skewed = asymptotic_radius(np.array([9999, 10_000]), np.zeros(2), np.ones(2), np.full(2, -10.0), 0.001)
    assert np.isinf(skewed).tolist() == [True, False]


def test_equal_values_have_an_interval_as_wide_as_what_was_not_seen():
    count = np.array([100, 1024, 10_000])
    mean = np.array([0.0, -0.5, 0.0])
    radius = asymptotic_radius(count, mean, np.zeros(3), np.zeros(3), 0.001)
    log = np.log(1000)
    assert radius == pytest.approx([np.inf, 1.5 * log / 1024, log / 10_000])


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
