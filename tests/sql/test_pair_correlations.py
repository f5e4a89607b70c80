"""Correlations over pairs of languages: against a plain computation, by every permutation, and by simulation."""

from __future__ import annotations

import importlib.util
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def simulated():
    """The module that simulates: it runs the view's own SQL."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        spec = importlib.util.spec_from_file_location("xlwh_coverage", FOLDER / "coverage.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "xlwh_coverage", module)
        spec.loader.exec_module(module)
        yield module


def drawn(pairs, seed=0, models=("m",)):
    """Points of one population: pairs of languages with random numbers in each model."""
    random = np.random.default_rng(seed)
    rows = [(0, m, s, t, *random.normal(size=2)) for m in models for s, t in pairs]
    return pl.DataFrame(
        rows, schema=["population", "model", "source_language", "target_language", "a", "b"], orient="row"
    )


def within(frame, columns=("a", "b")):
    """Both columns less their model's mean."""
    return [(frame[c] - frame.select(pl.col(c).mean().over("model"))[c]).to_numpy() for c in columns]


def correlation(a, b):
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def ranked(frame):
    """Ranks within the model, over one more than their number."""
    of = pl.len().over("model") + 1
    return frame.with_columns((pl.col(c).rank("average").over("model") / of).alias(c) for c in ("a", "b"))


def jackknife(frame, value, cuts):
    """Variance of Fisher's z of `value(frame)` from leaving out the rows that each of `cuts` names."""
    z = np.array([np.arctanh(value(frame.filter(~cut))) for cut in cuts]) - np.arctanh(value(frame))
    return (len(z) - 1) / len(z) * np.sum((z - z.mean()) ** 2)


def touches(language):
    return (pl.col("source_language") == language) | (pl.col("target_language") == language)


NAMES = [f"l{i:02}" for i in range(11)]
SQUARE = [(s, t) for s in NAMES[:10] for t in NAMES[:10] if s != t]
DESIGNS = {
    "one source": ([(NAMES[0], t) for t in NAMES[1:]], ("m",)),
    "two models": ([(NAMES[0], t) for t in NAMES[1:]], ("m", "n")),
    "square": (SQUARE, ("m",)),
    "square with gaps": (SQUARE[3:-5], ("m",)),
}


@pytest.mark.parametrize("name", DESIGNS)
def test_intervals_are_those_of_a_plain_cluster_jackknife(simulated, name):
    pairs, models = DESIGNS[name]
    frame = drawn(pairs, seed=len(name), models=models)
    (row,) = simulated.correlations(frame).rows(named=True)
    languages = max(len({s for s, _ in pairs}), len({t for _, t in pairs}))
    assert (row["n"], row["languages"]) == (frame.height, languages)
    free = [x for x in NAMES if 0 < frame.filter(touches(x)).height < frame.height]
    both = {tuple(sorted(pair)) for pair in pairs if set(pair) <= set(free)}
    for column, values in (("pearson", frame), ("spearman", ranked(frame))):

        def value(part):
            return correlation(*within(part))

        assert row[column] == pytest.approx(value(values))
        variance = jackknife(values, value, [touches(x) for x in free])
        if both:
            by_pair = jackknife(values, value, [touches(x) & touches(y) for x, y in sorted(both)])
            variance = max(variance - 0.75 * by_pair, variance / 2) * languages / (languages - 1)
        reach = stats.t.ppf(0.975, languages - 1) * np.sqrt(variance)
        z = np.arctanh(value(values))
        ends = (row[f"{column}_low"], row[f"{column}_high"])
        assert ends == pytest.approx((np.tanh(z - reach), np.tanh(z + reach)), abs=1e-4)


def test_p_is_over_every_order_of_languages_that_are_sources_and_targets(simulated):
    """Quadratic assignment: rows and columns change places together."""
    names = NAMES[:5]
    frame = drawn([(s, t) for s in names for t in names if s != t], seed=3)
    (row,) = simulated.correlations(frame).rows(named=True)
    ranks = ranked(frame)
    a, b = within(ranks)
    place = {pair: i for i, pair in enumerate(frame.select("source_language", "target_language").rows())}
    found = []
    for order in permutations(names):
        to = dict(zip(names, order, strict=True))
        found.append(abs(correlation(a, b[[place[to[s], to[t]] for s, t in place]])))
    assert row["permutations"] == 120
    assert row["p"] == pytest.approx(np.mean(np.array(found) >= abs(row["spearman"]) - 1e-9))


def test_models_with_a_source_language_each_change_places_with_it(simulated):
    """Six languages, of each a model: the cells are those of one model with six sources, but for the models' means."""
    names = NAMES[:6]
    frame = drawn([(s, t) for s in names for t in names if s != t], seed=5)
    each = frame.with_columns(model=pl.col("source_language"))
    (row,) = simulated.correlations(each).rows(named=True)
    assert (row["n"], row["languages"], row["permutations"]) == (30, 6, 720)
    assert row["spearman"] == pytest.approx(correlation(*within(ranked(each))))
    # The levels of models say nothing, however far apart.
    shift = pl.col("model").str.slice(1).cast(pl.Int64) * 100
    shifted = each.with_columns(pl.col("a") + shift, pl.col("b") + shift)
    assert simulated.correlations(shifted).row(0) == pytest.approx(simulated.correlations(each).row(0))


def test_sources_stay_sources(simulated):
    """Two sources and four targets: 2! 4! orders, drawn with repetition, so that p is near the exact one."""
    frame = drawn([(s, t) for s in NAMES[:2] for t in NAMES[2:6]], seed=1)
    (row,) = simulated.correlations(frame).rows(named=True)
    ranks = ranked(frame)
    a, b = (x.reshape(2, 4) for x in within(ranks))
    found = [
        abs(correlation(a.ravel(), b[list(s)][:, list(t)].ravel()))
        for s in permutations(range(2))
        for t in permutations(range(4))
    ]
    exact = np.mean(np.array(found) >= abs(row["spearman"]) - 1e-9)
    assert row["permutations"] == 1999
    assert row["p"] == pytest.approx(exact, abs=0.04)


def test_what_cannot_be_told_is_not(simulated):
    few = simulated.correlations(drawn([("a", "b"), ("a", "c"), ("a", "d")])).row(0, named=True)
    assert (few["n"], few["languages"]) == (3, 3)
    assert few["pearson"] is few["spearman"] is few["p"] is few["permutations"] is None
    nine = simulated.correlations(drawn([(NAMES[0], t) for t in NAMES[1:10]])).row(0, named=True)
    assert nine["p"] is not None
    assert nine["pearson"] is not None
    assert nine["pearson_low"] is nine["spearman_high"] is None, "of nine languages"
    with_self = simulated.correlations(drawn([(NAMES[0], t) for t in NAMES])).row(0, named=True)
    assert with_self["pearson"] is not None
    assert with_self["p"] is with_self["pearson_low"] is None, "a language with itself"
    # No two languages are in as many pairs: none can take another's place.
    uneven = [(NAMES[i], NAMES[5 + j]) for i in range(5) for j in range(i + 1)]
    alone = simulated.correlations(drawn(uneven)).row(0, named=True)
    assert alone["spearman"] is not None
    assert alone["p"] is alone["permutations"] is None
    flat = drawn([(NAMES[0], t) for t in NAMES[1:]]).with_columns(b=pl.lit(0.1))
    row = simulated.correlations(flat).row(0, named=True)
    assert [row[c] for c in ("pearson", "spearman", "p", "pearson_low")] == [None] * 4


def test_nothing_depends_on_the_order_of_rows(simulated):
    frame = drawn(SQUARE, seed=8, models=("m", "n"))
    once = simulated.correlations(frame).row(0)
    again = simulated.correlations(frame.sample(fraction=1, shuffle=True, seed=1)).row(0)
    assert once == pytest.approx(again)


@pytest.mark.parametrize("df", [9, 10, 15, 49, 1000])
def test_students_quantile_is_scipys(catalogue, df):
    ((found,),) = catalogue.sql(f"select student_quantile({df})").fetchall()
    assert found == pytest.approx(stats.t.ppf(0.975, df), abs=1e-4)


QUICK = ("10 targets", "2 sources x 10 targets, 80% by target", "10 x 10 languages, 40% by target, 40% by source",
    "study: 4 models x 10 targets, models 2 sd apart")  # fmt: skip


@pytest.mark.parametrize("name", QUICK)
def test_promises_are_kept(simulated, name):
    """In some of the designs and few draws, so within what chance can do; all of them: tests/benchmarks/coverage.py."""
    draws = 200
    chance = 3 * np.sqrt(0.05 * 0.95 / draws)
    for design in simulated.DESIGNS:
        if design.name != name or design.rho not in (0, 0.8):
            continue
        rates = simulated.measured(design, draws, seed=1)
        for column in ("pearson", "spearman"):
            assert simulated.LEVEL[0] - chance <= rates[column] <= simulated.LEVEL[1] + chance, (
                design,
                rates,
            )
        if design.rho == 0:
            assert rates["p at most .05"] <= 0.05 + chance, rates
        else:
            assert rates["p at most .05"] > 0.5, "what goes together is found"


def test_few_languages_have_an_exact_test(simulated):
    """All orders of four to seven languages: p is at most .05 no more often than that, and never 0."""
    for design in simulated.DESIGNS:
        if not design.is_shown:
            found = simulated.correlations(simulated.points(design, 600, 2))
            assert (found["p"] <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600), design
            assert found["p"].min() > 0
            assert found["pearson_low"].null_count() == 600
