"""Errors and intervals by cluster: against a plain jackknife, by hand at the edges, and by simulation."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def benchmarks():
    """The modules that simulate: they run the views' own SQL."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        for name in ("clustered", "coverage", "common"):
            patch.delitem(sys.modules, name, raising=False)
        yield importlib.import_module("clustered"), importlib.import_module("coverage")


def test_errors_and_intervals_are_those_of_a_plain_jackknife(catalogue):
    random = np.random.default_rng(0)
    sizes = random.integers(1, 6, 12).astype(float)
    sums = sizes * random.normal(0.6, 0.1, 12)
    value = sums.sum() / sizes.sum()
    without = np.array([np.delete(sums, i).sum() / np.delete(sizes, i).sum() for i in range(12)])
    error = np.sqrt(11 / 12 * np.sum((without - value) ** 2))
    reach = stats.t.ppf(0.975, 11) * error
    [found] = catalogue.execute(
        "select cluster_error($a, $b, $v, $t) as e, cluster_low($v, e, 12), cluster_high($v, e, 12)",
        {"a": sums.tolist(), "b": sizes.tolist(), "v": value, "t": sizes.sum()},
    ).fetchall()
    assert found == pytest.approx((error, value - reach, value + reach), abs=1e-5)


def test_a_mean_of_single_examples_has_the_usual_error(catalogue):
    x = np.random.default_rng(1).normal(size=30)
    [(error,)] = catalogue.execute(
        "select cluster_error($x, $ones, $mean, 30)", {"x": x.tolist(), "ones": [1.0] * 30, "mean": x.mean()}
    ).fetchall()
    assert error == pytest.approx(x.std(ddof=1) / np.sqrt(30))


def test_shares_of_single_examples_have_wilsons_interval(catalogue):
    expected = stats.binomtest(7, 25).proportion_ci(method="wilson")
    hits = [1.0] * 7 + [0.0] * 18
    [found] = catalogue.execute(
        "select cluster_share_low(.28, e, 25, 25, most := 25), cluster_share_high(.28, e, 25, 25, most := 25) "
        "from (select cluster_error($hits, $ones, .28, 25) as e)",
        {"hits": hits, "ones": [1.0] * 25},
    ).fetchall()
    assert found == pytest.approx((expected.low, expected.high))


def test_examples_that_all_agree_count_as_their_clusters(catalogue):
    """Sixty examples of twenty premises, all right: known no better than of twenty."""
    [(low, high)] = catalogue.execute(
        "select cluster_share_low(1.0, null, 20, 60), cluster_share_high(1.0, null, 20, 60)"
    ).fetchall()
    z = stats.t.ppf(0.975, 19)
    assert (low, high) == (pytest.approx(20 / (20 + z * z), abs=1e-4), pytest.approx(1))


def test_below_ten_clusters_there_is_no_interval(catalogue):
    [row] = catalogue.execute(
        "select cluster_low(.5, .1, 9, lowest := 0.0), cluster_high(.5, .1, 9, highest := 1.0), "
        "cluster_share_low(.5, .1, 9, 9), cluster_share_high(.5, .1, 9, 27), cluster_low(.5, null, 20, lowest := 0.0), "
        "cluster_error([1.0], [1.0], 1.0, 1.0), cluster_error([.5, .5], [1.0, 1.0], .5, 2.0), "
        "cluster_error([1.0, 0.0], [1.0, 0.0], 1.0, 1.0)"
    ).fetchall()
    assert row == (None,) * 8
    assert catalogue.execute("select cluster_low(.5, .1, 10) < .5").fetchall() == [(True,)]


VIEWS = ("ccta", "task_scores", "faithfulness", "plausibility", "pruning_effects")


@pytest.mark.parametrize("view", VIEWS)
def test_intervals_cover_where_three_examples_share_a_text(benchmarks, view):
    """Twenty clusters of three, correlation .76: taken as sixty examples the intervals would hold .78 of the truths."""
    clustered, coverage = benchmarks
    [design] = [d for d in clustered.DESIGNS if d.name.startswith(f"{view}: 20 clusters")]
    rates = clustered.measured(design, 300, 1)
    assert None not in rates.values()
    assert coverage.kept(rates, 300), rates


def test_a_simulation_tells_examples_that_are_taken_as_independent(benchmarks, monkeypatch):
    """The same, each example a cluster of its own: the promise is seen to be broken."""
    clustered, coverage = benchmarks
    monkeypatch.setattr(clustered, "first_of", lambda i: i)
    for name in VIEWS:
        [design] = [d for d in clustered.DESIGNS if d.name.startswith(f"{name}: 20 clusters")]
        rates = clustered.measured(design, 300, 1)
        assert not coverage.kept(rates, 300), (name, rates)
        assert min(rate for key, rate in rates.items() if not key.startswith("p ")) < 0.88, (name, rates)
