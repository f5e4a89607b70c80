"""The marts: everything measured between two languages side by side, and how the metrics go together."""

from __future__ import annotations

import math
import re
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

LANGUAGES = ("en", "de", "es", "fr", "hi", "ru", "zh")
RIGHT = {"en": 9, "de": 8, "es": 7, "fr": 7, "hi": 3, "ru": 5, "zh": 4}
"""Examples of ten that the model gets right."""
CONSISTENCY = {"de": 0.5, "es": 0.45, "fr": 0.3, "hi": 0.1, "ru": 0.2, "zh": 0.25}


@pytest.fixture
def tables():
    predictions = [
        {
            "language": language,
            "example_id": str(i),
            "label": "a",
            "predicted": "a" if i < RIGHT[language] else "b",
            "logits": [0.0, 0.0],
            "probabilities": [0.5, 0.5],
        }
        for language in LANGUAGES
        for i in range(10)
    ]
    pairs = [
        {"target_language": language, "example_id": str(i), "score": score, "null_shuffled": 0.05 * i}
        for language, score in CONSISTENCY.items()
        for i in range(2)
    ]
    words = {"en": 2, "de": 3}
    tokens = [
        {"language": language, "position": i, "word_index": 0, "word": "w", "segment": 0}
        for language, pieces in words.items()
        for i in range(pieces)
    ]
    models = [{"model": "m", "kind": "finetuned", "finetuned_languages": ["en"]}]
    return {"predictions": predictions, "ccta_pairs": pairs, "tokens": tokens, "models": models}


def test_a_pair_has_everything_side_by_side(connect, tables):
    rows = connect(**tables).sql("from language_pair_scorecard order by target_language").pl()
    assert rows["target_language"].to_list() == sorted(LANGUAGES)
    assert set(rows["source_language"]) == {"en"}
    by_language = {row["target_language"]: row for row in rows.rows(named=True)}
    german = by_language["de"]
    assert (german["metric"], german["source_score"], german["target_score"]) == ("accuracy", 0.9, 0.8)
    assert german["transfer_gap"] == pytest.approx(0.1)
    assert german["ccta"] == pytest.approx(0.5)
    assert german["ccta_excess"] == pytest.approx(0.475)
    assert german["fertility_difference"] == pytest.approx(1.0)


def test_what_is_missing_has_a_reason(connect, tables):
    rows = connect(**tables).sql("from language_pair_scorecard").pl().rows(named=True)
    by_language = {row["target_language"]: dict(row["missing"]) for row in rows}
    missing = by_language["hi"]
    assert missing["calign"] == "calign has no row of this model"
    assert missing["fertility_difference"] == "fertility has no row of these languages"
    assert "ccta" not in missing
    assert by_language["en"]["ccta"] == "ccta has no row of these languages"
    assert "fertility_difference" not in by_language["de"]


def test_a_model_whose_source_is_unknown_is_compared_both_ways(connect, tables):
    tables.pop("ccta_pairs")
    tables["models"] = [{"model": "m", "kind": "hub"}]
    rows = (
        connect(**tables)
        .sql("select source_language, target_language from language_pair_scorecard")
        .fetchall()
    )
    assert len(rows) == len(set(rows)) == len(LANGUAGES) ** 2


def test_the_model_s_means_leave_the_source_out(connect, tables):
    [row] = connect(**tables).sql("from model_scorecard").pl().rows(named=True)
    others = [RIGHT[language] / 10 for language in LANGUAGES if language != "en"]
    assert (row["source_languages"], row["target_languages"]) == (1, 6)
    assert row["source_score"] == pytest.approx(0.9)
    assert row["target_score"] == pytest.approx(np.mean(others))
    assert row["transfer_gap"] == pytest.approx(0.9 - np.mean(others))
    assert row["ccta"] == pytest.approx(np.mean(list(CONSISTENCY.values())))
    assert row["fertility"] == pytest.approx(2.5)
    assert row["head_rho"] is None


def exact_p(a, b):
    """Two-sided, over every order of one side."""
    observed = abs(stats.spearmanr(a, b).statistic)
    rhos = [abs(stats.spearmanr(a, order).statistic) for order in permutations(b)]
    return np.mean(np.array(rhos) >= observed - 1e-9)


def scored(names, ccta, right, model="m", n=10):
    """Tables of one model with this consistency and this many right examples in each target language."""
    common = {"model": model, "logits": [0.0, 0.0], "probabilities": [0.5, 0.5], "label": "a"}
    predictions = [
        {**common, "language": language, "example_id": str(i), "predicted": "a" if i < count else "b"}
        for language, count in zip(("en", *names), (n, *right), strict=True)
        for i in range(n)
    ]
    pairs = [
        {"model": model, "target_language": language, "example_id": "1", "score": score}
        for language, score in zip(names, ccta, strict=True)
    ]
    return predictions, pairs


@pytest.mark.parametrize(
    ("ccta", "right"),
    [
        ([0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4]),
        ([0.1, 0.2, 0.3, 0.4, 0.5], [5, 4, 3, 2, 1]),
        ([0.1, 0.2, 0.3, 0.4, 0.5], [2, 1, 5, 3, 4]),
        ([0.1, 0.1, 0.3, 0.4, 0.5], [1, 1, 3, 4, 5]),
        ([0.1, 0.1, 0.3, 0.3, 0.5], [3, 1, 3, 1, 5]),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [2, 2, 2, 1, 4, 3]),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], [2, 3, 1, 5, 4, 7, 6]),
    ],
)
def test_few_pairs_have_the_exact_p(connect, ccta, right):
    names = [f"l{i}" for i in range(len(ccta))]
    predictions, pairs = scored(names, ccta, right)
    models = [{"model": "m", "kind": "finetuned", "finetuned_languages": ["en"]}]
    database = connect(predictions=predictions, ccta_pairs=pairs, models=models)
    ((rho, p, permutations, low),) = database.sql(
        "select spearman, p, permutations, spearman_low from metric_correlations "
        "where scope = 'model' and metric_a = 'ccta' and metric_b = 'target_score'"
    ).fetchall()
    assert rho == pytest.approx(stats.spearmanr(ccta, right).statistic)
    assert p == pytest.approx(exact_p(ccta, right))
    assert (permutations, low) == (math.factorial(len(ccta)), None)


def test_a_perfect_correlation_of_many_pairs_has_no_interval_and_the_least_p(connect):
    """Of 1999 random orders of ten languages none comes as far; the one that is there counts too."""
    names = [f"l{i}" for i in range(10)]
    values = [i / 10 for i in range(10)]
    predictions, pairs = scored(names, values, range(10))
    models = [{"model": "m", "kind": "finetuned", "finetuned_languages": ["en"]}]
    database = connect(predictions=predictions, ccta_pairs=pairs, models=models)
    found = database.sql(
        "select n, languages, spearman, p, permutations, spearman_low, pearson_high from metric_correlations "
        "where scope = 'model' and metric_b = 'target_score' and metric_a = 'ccta'"
    ).fetchall()
    assert found == [(10, 10, pytest.approx(1), pytest.approx(1 / 2000), 1999, None, None)]


def test_metrics_that_share_a_quantity_are_not_tested(connect, tables):
    database = connect(**tables)
    pairs = set(database.sql("select distinct metric_a, metric_b from metric_correlations").fetchall())
    assert ("ccta", "target_score") in pairs
    assert not pairs & {("target_score", "transfer_gap"), ("ccta", "ccta_excess")}
    groups = [
        {"target_score", "transfer_gap", "pruning_gain"},
        {"ccta", "ccta_excess"},
        {"calign_best", "calign_last"},
        {"colap_best", "colap_last"},
    ]
    rows = database.sql("from scorecard_metrics()").fetchall()
    together = {
        frozenset((one, other))
        for one, made in rows
        for other, others in rows
        if one != other and set(made) & set(others)
    }
    assert together == {frozenset(pair) for group in groups for pair in combinations(group, 2)}
    # Whoever adds a metric says what it is made from: those correlated are the ones that are listed.
    sql = (Path(__file__).parents[2] / "sql" / "core" / "correlated_pairs.sql").read_text()
    listed = re.search(r"unpivot \(value for metric in \(([^)]*)\)", sql)
    assert listed is not None
    assert {name.strip() for name in listed[1].split(",")} == {metric for metric, _ in rows}


def test_correlations_over_language_pairs(connect, tables):
    rows = connect(**tables).sql("from metric_correlations").pl()
    # Of the twelve metrics three vary here; an excess is there beside the score.
    found = {(r["scope"], r["metric_a"], r["metric_b"]): r for r in rows.rows(named=True)}
    row = found["model", "ccta", "target_score"]
    scores = [RIGHT[language] / 10 for language in CONSISTENCY]
    values = list(CONSISTENCY.values())
    assert row["n"] == 6
    assert row["pearson"] == pytest.approx(stats.pearsonr(values, scores).statistic)
    expected = stats.spearmanr(values, scores)
    assert row["spearman"] == pytest.approx(expected.statistic)
    assert row["p"] == pytest.approx(exact_p(values, scores))
    assert (row["languages"], row["permutations"]) == (6, 720)
    assert row["spearman_low"] is row["pearson_high"] is None, "of six languages"
    # The same again pooled over the study, since there is one model; fertility has one pair only.
    assert found["study", "ccta", "target_score"]["pearson"] == pytest.approx(row["pearson"])
    few = found["model", "ccta", "fertility_difference"]
    assert (few["n"], few["p"], few["pearson"], few["permutations"]) == (1, None, None, None)


def test_holm_over_the_metrics_of_a_scope(connect, tables):
    rows = (
        connect(**tables)
        .sql("from metric_correlations where scope = 'model' and p is not null order by p")
        .pl()
    )
    p = rows["p"].to_numpy()
    m = len(p)
    assert set(rows["tests"]) == {m}
    holm = np.minimum(1, np.maximum.accumulate((m - np.arange(m)) * p))
    np.testing.assert_allclose(rows["holm_p"].to_numpy(), holm)


def test_models_that_differ_in_level_do_not_make_a_correlation(connect):
    """Within each of two models consistency and accuracy go apart; the better model is also the more consistent one."""
    names = [f"l{i}" for i in range(5)]
    low = scored(names, [0.5, 0.4, 0.3, 0.2, 0.1], [1, 2, 3, 4, 5], model="a", n=20)
    high = scored(names, [0.9, 0.8, 0.7, 0.6, 0.5], [11, 12, 13, 14, 15], model="b", n=20)
    models = [{"model": m, "kind": "finetuned", "finetuned_languages": ["en"]} for m in "ab"]
    database = connect(predictions=low[0] + high[0], ccta_pairs=low[1] + high[1], models=models)
    where = "metric_a = 'ccta' and metric_b = 'target_score' and scope = 'study'"
    ((n, languages, pearson, spearman, p),) = database.sql(
        f"select n, languages, pearson, spearman, p from metric_correlations where {where}"
    ).fetchall()
    assert (n, languages) == (10, 5)
    assert (pearson, spearman) == (pytest.approx(-1), pytest.approx(-1))
    # Both models have the languages in one order: it is one of 120, as is the reverse.
    assert p == pytest.approx(2 / 120)
    ((shown,),) = database.sql(
        "select pearson from ccta_performance_correlation "
        "where scope = 'study' and measure = 'score' and cells = 'off_diagonal'"
    ).fetchall()
    assert shown == pytest.approx(-1)
