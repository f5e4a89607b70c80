"""The interval and rank macros against SciPy."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from xlwh.stats import holm


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (5, 5), (3, 7), (412, 500), (1, 100_000)])
def test_wilson_agrees_with_scipy(catalogue, successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    low, high = catalogue.sql(
        f"select wilson_low({successes}, {n}), wilson_high({successes}, {n})"
    ).fetchall()[0]
    assert low == pytest.approx(expected.low, abs=1e-12)
    assert high == pytest.approx(expected.high, abs=1e-12)


def test_other_levels(catalogue):
    z = stats.norm.ppf(0.995)
    expected = stats.binomtest(3, 7).proportion_ci(0.99, method="wilson")
    assert catalogue.sql(f"select wilson_low(3, 7, z := {z})").fetchall()[0][0] == pytest.approx(expected.low)


@pytest.mark.parametrize("n", [4, 11, 500])
@pytest.mark.parametrize("r", [-0.95, -0.3, 0.0, 0.79])
def test_pearson_agrees_with_scipy(catalogue, r, n):
    x, y = _with_correlation(r, n)
    expected = stats.pearsonr(x, y).confidence_interval()
    found = catalogue.sql(f"select pearson_low({r}, {n}), pearson_high({r}, {n})").fetchall()[0]
    assert found == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_spearman_is_wider_than_pearson(catalogue):
    row = catalogue.sql("select pearson_low(.6, 13), spearman_low(.6, 13), spearman_high(.6, 13)").fetchall()[
        0
    ]
    half_width = 1.959964 * math.sqrt((1 + 0.36 / 2) / 10)
    assert row[1] == pytest.approx(math.tanh(math.atanh(0.6) - half_width), abs=1e-6)
    assert row[2] == pytest.approx(math.tanh(math.atanh(0.6) + half_width), abs=1e-6)
    assert row[1] < row[0]


def test_too_few_values_give_null(catalogue):
    found = catalogue.sql(
        "select wilson_low(0, 0), cluster_low(1.0, 0.5, 9), pearson_low(.5, 3), spearman_high('nan'::double, 9)"
    )
    assert found.fetchall()[0] == (None, None, None, None)


def test_no_spread_gives_null_and_not_an_interval_without_width(catalogue):
    found = catalogue.sql(
        "select cluster_low(1.0, 0.0, 19), cluster_high(1.0, 0.0, 19), pearson_low(1.0, 9), pearson_high(-1.0, 9), "
        "spearman_low(-1.0, 9), spearman_high(1.0, 9)"
    )
    assert found.fetchall()[0] == (None,) * 6


def test_rounding_is_no_spread(catalogue):
    """Three correlations of 1 that were added up differently."""
    found = catalogue.sql(
        "select cluster_low(1.0, 1.2e-16, 19), cluster_high(1.0, 1.2e-16, 19), cluster_low(1e9, 1e-5, 19), "
        "cluster_low(0.0, 1e-17, 19), cluster_low(0.0, 1e-9, 19) < 0"
    )
    assert found.fetchall()[0] == (None, None, None, None, True)


def test_an_interval_ends_where_values_can_lie_no_further(catalogue):
    found = catalogue.sql(
        "select cluster_low(.1, .5, 14, lowest := 0.0), cluster_high(.9, .5, 14, highest := 1.0), "
        "cluster_low(null, .5, 14, lowest := 0.0), cluster_low(.1, .5, 1, lowest := 0.0)"
    )
    assert found.fetchall()[0] == (0.0, 1.0, None, None)


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        # Ordered .01 .02 .03 .04 times 4 3 2 1 is .04 .06 .06 .04; the running maximum makes the last .06.
        ([0.04, 0.01, 0.03, 0.02], [0.06, 0.04, 0.06, 0.06]),
        ([0.6, 0.5], [1.0, 1.0]),
        ([0.02, 0.02, 0.001], [0.04, 0.04, 0.003]),
        ([0.01, None, 0.04], [0.02, None, 0.04]),
        ([0.3], [0.3]),
        ([None], [None]),
        ([0.0, 0.5], [0.0, 0.5]),
    ],
)
def test_holm_by_hand_in_sql_and_python(catalogue, p, adjusted):
    catalogue.execute("select [holm(each, given) for each in given] from (select $1::double[] as given)", [p])
    ((found,),) = catalogue.fetchall()
    assert found == [None if value is None else pytest.approx(value) for value in adjusted]
    ours = holm([math.nan if value is None else value for value in p])
    np.testing.assert_allclose(ours, [math.nan if value is None else value for value in adjusted])


def test_holm_in_sql_is_that_of_python(catalogue):
    p = np.random.default_rng(1).beta(0.3, 3, 60).round(3)
    catalogue.execute("select [holm(each, given) for each in given] from (select $1::double[] as given)", [p])
    np.testing.assert_allclose(catalogue.fetchall()[0][0], holm(p))


def test_average_rank_makes_spearman(catalogue):
    rng = np.random.default_rng(7)
    table = pl.DataFrame(
        {
            "a": rng.integers(0, 2, 60),
            "b": rng.integers(0, 3, 60),
            "x": rng.integers(0, 6, 60),
            "y": rng.normal(size=60).round(1),
        }
    )
    values = ", ".join(f"({', '.join(map(str, row))})" for row in table.rows())
    found = catalogue.sql(
        f"""
        with ranked as (
            select a, b, average_rank((a, b), x) as x, average_rank((a, b), y) as y
            from (values {values}) as t(a, b, x, y)
        )
        select a, b, corr(x, y) from ranked group by a, b
        """
    )
    rows = found.fetchall()
    assert len(rows) == 6
    for a, b, rho in rows:
        group = table.filter((pl.col("a") == a) & (pl.col("b") == b))
        assert rho == pytest.approx(stats.spearmanr(group["x"], group["y"]).statistic, abs=1e-12)


def _with_correlation(r: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two vectors whose sample correlation is exactly r."""
    rng = np.random.default_rng(0)
    x = stats.zscore(rng.normal(size=n))
    noise = rng.normal(size=n)
    noise = stats.zscore(noise - noise.mean() - x * (noise @ x) / n)
    return x, r * x + math.sqrt(1 - r * r) * noise
