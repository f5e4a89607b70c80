"""The bootstrap against SciPy's, against theory and by coverage; McNemar and Holm against hand values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from xlwh.stats import bootstrap_mean, by_cluster, holm, mcnemar


@pytest.mark.parametrize(("method", "scipy_method"), [("bca", "BCa"), ("percentile", "percentile")])
def test_interval_agrees_with_scipy(method, scipy_method):
    values = np.random.default_rng(3).exponential(size=80)
    ours = bootstrap_mean(values, method=method, resamples=20_000, seed=1)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method=scipy_method, rng=np.random.default_rng(2)
    )
    interval = theirs.confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.03)
    assert ours.low == pytest.approx(interval.low, abs=0.006)
    assert ours.high == pytest.approx(interval.high, abs=0.006)


def test_the_standard_error_of_a_share():
    """Paired differences of 0/1 scores: the standard error is the textbook one."""
    values = np.repeat([-1.0, 0.0, 1.0], [30, 400, 70])
    result = bootstrap_mean(values, resamples=50_000)
    assert result.mean == pytest.approx(0.08)
    assert result.standard_error == pytest.approx(values.std() / np.sqrt(500), rel=0.02)
    normal = 2 * stats.norm.sf(0.08 / (values.std() / np.sqrt(500)))
    assert result.p_value == pytest.approx(normal, abs=3e-4)


def test_weights_make_a_ratio_of_sums():
    rng = np.random.default_rng(4)
    words = rng.integers(1, 40, 300)
    correct = rng.binomial(words, rng.beta(8, 2, 300))
    result = bootstrap_mean(correct / words, words, resamples=20_000)
    assert result.mean == pytest.approx(correct.sum() / words.sum())
    residual = correct - result.mean * words
    theory = np.sqrt(np.sum(residual**2)) / words.sum()
    assert result.standard_error == pytest.approx(theory, rel=0.03)
    assert result.low < result.mean < result.high


def test_intervals_cover_the_truth():
    """Skewed data, n = 40: BCa stays near 95 %, a little below as it must for so few values."""
    rng = np.random.default_rng(8)
    hits = 0
    for trial in range(400):
        result = bootstrap_mean(rng.exponential(size=40), resamples=1000, seed=trial)
        hits += result.low <= 1 <= result.high
    assert 0.90 < hits / 400 < 0.975


def test_few_values_reach_as_far_as_students_t():
    """Of normal values the bootstrap's interval is 1.96 population standard errors; it becomes Student's."""
    x = np.random.default_rng(2).normal(size=12)
    found = bootstrap_mean(x, resamples=40_000, method="percentile", few=True)
    reach = stats.t.ppf(0.975, 11) * x.std(ddof=1) / np.sqrt(12)
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=0.06)
    shifted = x - x.mean() + reach
    assert bootstrap_mean(shifted, resamples=40_000, few=True).p_value == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize("n", [2, 3, 9])
def test_very_few_values_still_have_numbers(n):
    """Student's t reaches so far there that the normal tail is 0."""
    found = bootstrap_mean(np.arange(n) / n, resamples=200, few=True)
    assert found.low <= found.mean <= found.high
    assert 0 < found.p_value <= 1


def test_clusters_have_the_mean_of_their_examples():
    values, weights = by_cluster([1.0, 0.0, 0.5], [1, 3, 2], ["b", "b", "a"])
    assert values.tolist() == [0.5, 0.25]
    assert weights.tolist() == [2, 4]


def test_p_values_are_uniform_under_the_null():
    rng = np.random.default_rng(9)
    values = rng.choice([-1, 0, 1], p=[0.1, 0.8, 0.1], size=(400, 300))
    p = [bootstrap_mean(row, resamples=500, method="percentile").p_value for row in values]
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09
    assert 0.4 < np.mean(p) < 0.65


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_the_sample_itself_counts_among_the_resamples(method):
    """p = (1 + k) / (B + 1): never 0, and 1 where every resample is as far off as 0 is."""
    far = np.random.default_rng(0).normal(5, 0.1, 50)
    assert bootstrap_mean(far, resamples=99, method=method).p_value == pytest.approx(1 / 100)
    assert bootstrap_mean(far, resamples=500, method=method).p_value == pytest.approx(1 / 501)
    assert bootstrap_mean([-1.0, 1.0], resamples=99, method=method).p_value == 1
    # Of 0 and 1 a resample's mean is 0, .5 or 1; those of 0 and of 1 are exactly as far from .5 as 0 is, and count.
    two = bootstrap_mean([0.0, 1.0], resamples=20_000, method=method)
    assert two.p_value == pytest.approx(1 / 2, abs=0.02)


def test_seed_decides():
    values = np.random.default_rng(1).normal(size=50)
    assert bootstrap_mean(values, seed=5) == bootstrap_mean(values, seed=5)
    assert bootstrap_mean(values, seed=5) != bootstrap_mean(values, seed=6)


def test_constant_values_show_no_spread_but_leave_room_for_one():
    none = bootstrap_mean(np.zeros(20), resamples=99, reach=(-1, 1))
    unseen = 1 - 0.05 ** (1 / 20)
    assert (none.mean, none.p_value) == (0, 1)
    assert (none.low, none.high) == pytest.approx((-unseen, unseen))
    some = bootstrap_mean(np.ones(20), resamples=99, reach=(-1, 1))
    assert (some.low, some.high, some.p_value) == (pytest.approx(1 - 2 * unseen), 1, 0.01)
    open_end = bootstrap_mean(np.ones(20))
    assert np.isnan([open_end.low, open_end.high]).all()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_equal_values_are_little_evidence(n):
    """All of one sign by chance: 2 / 2^n, however many resamples say the same."""
    assert bootstrap_mean(np.full(n, 0.3)).p_value == pytest.approx(2 / 2**n)


def test_rare_values_that_were_not_seen_are_covered():
    """One in 30 differs: among 20 it is often not there, and the mean is in the interval all the same."""
    random = np.random.default_rng(3)
    unseen = [row for row in (random.random((400, 20)) < 1 / 30).astype(float) if not row.any()]
    assert len(unseen) > 100
    result = bootstrap_mean(unseen[0], reach=(-1, 1))
    assert result.low < 1 / 30 < result.high


@pytest.mark.parametrize(
    ("values", "weights"), [([], None), ([1.0, np.nan], None), ([1.0, 2.0], [1.0]), ([1.0, 2.0], [0.0, 0.0])]
)
def test_unusable_input_is_refused(values, weights):
    with pytest.raises(ValueError, match=r"values|one value"):
        bootstrap_mean(values, weights)


def test_mcnemar_counts_only_the_discordant():
    before = [1] * 50 + [1, 0, 0, 0, 0, 0, 0, 0]
    after = [1] * 50 + [0, 1, 1, 1, 1, 1, 1, 1]
    # 7 against 1: 2 (1 + 8) / 2^8
    assert mcnemar(before, after) == pytest.approx(18 / 256)
    assert mcnemar(before, after) == pytest.approx(stats.binomtest(7, 8).pvalue)
    assert mcnemar(before, before) == 1.0
    assert mcnemar([1, 0], [0, 1]) == 1.0
    with pytest.raises(ValueError, match="same examples"):
        mcnemar([1, 0], [1])


def test_holm_of_nothing():
    """By hand, beside the macro of the views: tests/sql/test_macros.py."""
    assert holm([]).size == 0


def test_holm_keeps_the_familywise_error():
    p = np.random.default_rng(2).random((2000, 15))
    rejected = [np.any(holm(row) <= 0.1) for row in p]
    assert np.mean(rejected) == pytest.approx(1 - (1 - 0.1 / 15) ** 15, abs=0.02)
