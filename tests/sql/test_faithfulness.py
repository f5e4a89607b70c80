"""Faithfulness from perturbed probabilities, worked out by hand; the paper's aggregate table by the same views."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from xlwh.published import load
from xlwh.stats import bootstrap_mean

ROW = {"p_full": 0.9, "p_empty": 0.4, "num_attributable": 4}


def hard(example, method, side, p_by_ratio, repeat=0, **more):
    return [
        {
            **ROW,
            "example_id": example,
            "method": method,
            "side": side,
            "ratio": ratio,
            "repeat": repeat,
            "p_perturbed": p,
            **more,
        }
        for ratio, p in p_by_ratio.items()
    ]


def values(database, columns, where, view="faithfulness_examples"):
    rows = database.sql(f"select {columns} from {view} where {where}").fetchall()
    assert len(rows) == 1, rows
    return rows[0]


def test_one_example_by_hand(connect):
    # 1 - S0 = .9 - .4 = .5. Sufficiency: drops of .3 and 0 leave (.5 - .3) / .5 = .4 and 1.
    # Comprehensiveness: drops of .1 and .5 are .2 and 1 of the span.
    database = connect(
        perturbations=[
            *hard("1", "lig", "sufficiency", {0.5: 0.6, 1.0: 0.9}),
            *hard("1", "lig", "comprehensiveness", {0.5: 0.8, 1.0: 0.4}),
        ]
    )
    score = "score, unnormalized, saturated"
    for variant in ("strict", "paper"):
        where = f"variant = '{variant}' and side = "
        assert values(database, score, where + "'sufficiency'") == pytest.approx((0.7, 0.85, False))
        assert values(database, score, where + "'comprehensiveness'") == pytest.approx((0.6, 0.3, False))
    assert values(database, "score", "variant = 'eraser' and side = 'sufficiency'") == pytest.approx((0.15,))
    assert values(database, "score", "variant = 'eraser' and side = 'comprehensiveness'") == pytest.approx(
        (0.3,)
    )
    assert not database.sql("select * from faithfulness_examples where variant = 'published_code'").fetchall()


def test_a_rise_of_the_probability_costs_nothing_except_for_eraser(connect):
    database = connect(perturbations=hard("1", "lig", "sufficiency", {1.0: 0.95}))
    assert values(database, "score", "variant = 'strict'") == (1.0,)
    assert values(database, "score", "variant = 'eraser'") == pytest.approx((-0.05,))


def test_more_than_the_empty_input_costs_is_clipped(connect):
    database = connect(
        perturbations=[
            *hard("1", "lig", "sufficiency", {0.5: 0.1}),
            *hard("1", "lig", "comprehensiveness", {0.5: 0.1}),
        ]
    )
    assert values(database, "score", "variant = 'strict' and side = 'sufficiency'") == (0.0,)
    assert values(database, "score", "variant = 'strict' and side = 'comprehensiveness'") == (1.0,)


def test_saturated_examples_are_counted_not_divided(connect):
    some = {"p_empty": 0.8995}
    database = connect(
        perturbations=[
            *hard("1", "lig", "sufficiency", {1.0: 0.65}),
            *hard("1", "random", "sufficiency", {1.0: 0.6}),
            *hard("2", "lig", "sufficiency", {1.0: 0.8997}, **some),
            *hard("2", "random", "sufficiency", {1.0: 0.9}, **some),
            *hard("3", "lig", "sufficiency", {1.0: 0.9}, p_empty=0.95),
            *hard("3", "random", "sufficiency", {1.0: 0.9}, p_empty=0.95),
        ]
    )
    where = "method = 'lig' and variant = "
    assert values(
        database, "n, saturated, score, ratio", where + "'strict'", "faithfulness"
    ) == pytest.approx((1, 2, 0.5, 0.5 / 0.4))
    n, saturated, score = values(database, "n, saturated, score", where + "'paper'", "faithfulness")
    assert (n, saturated) == (2, 1)
    assert score == pytest.approx((0.5 + (0.0005 - 0.0003) / 0.0005) / 2)


def test_draws_are_averaged_and_the_paper_takes_one(connect):
    database = connect(
        perturbations=[
            *hard("1", "random", "sufficiency", {1.0: 0.9}, repeat=0),
            *hard("1", "random", "sufficiency", {1.0: 0.4}, repeat=1),
        ]
    )
    assert values(database, "score, draw_sd", "variant = 'strict'") == pytest.approx((0.5, 0.5**0.5))
    assert values(database, "score, draw_sd", "variant = 'paper'") == (1.0, None)


def test_the_published_code_reads_its_own_rows(connect):
    # 1e-4 is taken from S0: 1 - S0 is .5001, and Suff - S0 is .2001 after a drop of .3.
    database = connect(
        perturbations=[
            *hard("1", "lig", "sufficiency", {1.0: 0.6}, masking="zero_id"),
            *hard("1", "lig", "sufficiency", {1.0: 0.6}),
            *hard("1", "lig", "comprehensiveness", {1.0: 0.6}, masking="zero_id"),
            *hard("1", "lig", "comprehensiveness", {1.0: 0.6}, masking="zero_id", repeat=1),
            *[
                {**row, "mode": "soft", "ratio": None, "masking": masking}
                for masking in ("bernoulli", "bernoulli_reversed")
                for row in hard("1", "lig", "sufficiency", {1.0: 0.4})
            ],
        ]
    )
    where = "variant = 'published_code' and mode = "
    assert values(database, "score", where + "'hard' and side = 'sufficiency'") == pytest.approx(
        (0.2001 / 0.5001,)
    )
    assert values(database, "score", where + "'hard' and side = 'comprehensiveness'") == pytest.approx(
        (0.3 / 0.5001,)
    )
    assert values(database, "masking", where + "'soft'") == ("bernoulli_reversed",)
    strict = database.sql("select masking from faithfulness_examples where variant = 'strict'").fetchall()
    assert sorted(strict) == [("bernoulli",), ("mask",)]


def test_the_published_code_takes_no_other_baseline_for_its_own(connect):
    """Rows of models that the released code is not written for are no `published_code`; all its soft draws count."""
    soft = [
        {
            **row,
            "mode": "soft",
            "ratio": None,
            "masking": "bernoulli_reversed",
            "masked_at": "embedding_output",
        }
        for repeat, p in ((0, 0.4), (1, 0.9))
        for row in hard("1", "random", "sufficiency", {1.0: p}, repeat=repeat)
    ]
    database = connect(
        perturbations=[
            *hard("1", "lig", "sufficiency", {1.0: 0.6}, masking="zero_id", empty_input="attributable"),
            *soft,
        ]
    )
    rows = database.sql(
        "select mode, score from faithfulness_examples where variant = 'published_code'"
    ).fetchall()
    assert rows == [("soft", pytest.approx((0.0001 / 0.5001 + 1) / 2))]


def test_the_ratio_is_of_means_with_an_interval_over_examples(connect):
    rng = np.random.default_rng(0)
    method, chance = rng.uniform(0.3, 0.9, 200), rng.uniform(0.2, 0.6, 200)
    rows = []
    for index, (one, other) in enumerate(zip(method, chance, strict=True)):
        for name, score in (("lig", one), ("random", other)):
            rows += hard(f"{index:03d}", name, "comprehensiveness", {1.0: 0.9 - score * 0.5})
    database = connect(perturbations=rows)
    found = database.sql("select * from faithfulness where variant = 'strict' and method = 'lig'").pl()
    row = found.row(0, named=True)
    assert row["n"] == 200
    assert row["score"] == pytest.approx(method.mean())
    assert row["random_score"] == pytest.approx(chance.mean())
    assert row["ratio"] == pytest.approx(method.mean() / chance.mean())
    expected = bootstrap_mean(method, method="percentile")
    width = expected.high - expected.low
    assert row["score_low"] == pytest.approx(expected.low, abs=0.15 * width)
    assert row["score_high"] == pytest.approx(expected.high, abs=0.15 * width)
    paired = bootstrap_mean(method - chance, method="percentile")
    assert row["difference_low"] == pytest.approx(paired.low, abs=0.15 * (paired.high - paired.low))
    # The delta method for a ratio of means.
    ratio = row["ratio"]
    error = np.std(method - ratio * chance, ddof=1) / chance.mean() / 200**0.5
    assert row["ratio_high"] - row["ratio_low"] == pytest.approx(2 * 1.96 * error, rel=0.15)
    chance_row = database.sql(
        "select ratio, ratio_low, ratio_high from faithfulness where variant = 'strict' and method = 'random'"
    ).fetchall()
    # By identity, so the resamples show no spread.
    assert chance_row == [(1.0, None, None)]
    where = "ratio is not null and variant = 'eraser'"
    assert not database.sql(f"select 1 from faithfulness where {where}").fetchall()


PAIRS = {  # (model, dataset, language): ratio of one method to random
    ("multi", "nli", "en"): 1.5,
    ("mono", "nli", "en"): 1.0,
    ("multi-paws", "paws", "en"): 1.75,
    ("mono-paws", "paws", "en"): 1.5,
    ("multi", "nli", "de"): 1.25,
    ("german", "nli", "de"): 1.5,
}


def test_disparity_is_the_difference_of_ratios(connect):
    rows = []
    for (model, dataset, language), ratio in PAIRS.items():
        common = {"model": model, "dataset": dataset, "language": language}
        # A random score of .4: a drop of .2 of a span of .5.
        rows += hard("1", "random", "comprehensiveness", {1.0: 0.7}, **common)
        rows += hard("1", "lig", "comprehensiveness", {1.0: 0.9 - 0.2 * ratio}, **common)
    database = connect(
        perturbations=rows,
        models=[
            {"model": "encoder", "kind": "path", "source": "folder"},
            {"model": "multi", "kind": "finetuned", "source": "encoder"},
            {"model": "mono", "counterpart_of": "multi"},
            {"model": "german", "counterpart_of": "multi"},
            # Trained on from the one that has learned inference, which leads back to the same encoder.
            {"model": "multi-paws", "kind": "finetuned", "source": "multi"},
            {"model": "mono-paws", "counterpart_of": "multi-paws"},
        ],
    )
    strict = "origin = 'measured' and variant = 'strict'"
    cells = database.sql(
        f"select dataset, language, monolingual_model, disparity from faithfulness_disparity "
        f"where {strict} and scope = 'cell' order by all"
    ).fetchall()
    assert [row[:3] for row in cells] == [
        ("nli", "de", "german"),
        ("nli", "en", "mono"),
        ("paws", "en", "mono-paws"),
    ]
    differences = [row[3] for row in cells]
    assert differences == pytest.approx([-0.25, 0.5, 0.25])
    for scope in ("method", "all"):
        n, disparity, t, p, low, high = values(
            database,
            "n, disparity, t, p_value, disparity_low, disparity_high",
            f"{strict} and multilingual_model = 'encoder' and scope = '{scope}'",
            "faithfulness_disparity",
        )
        expected = stats.ttest_1samp(differences, 0)
        assert (n, disparity) == (3, pytest.approx(0.5 / 3))
        assert (t, p) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-9)
        assert -0.25 - 1e-9 <= low < disparity < high <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("t", "df"), list(product((0.0, 0.1, -1.3, 2.5, 6.0, -40.0), (1, 2, 4, 14, 74, 500)))
)
def test_students_p_value_is_scipys(catalogue, t, df):
    ((p,),) = catalogue.sql(f"select student_p({t}, {df})").fetchall()
    assert p == pytest.approx(2 * stats.t.sf(abs(t), df), abs=1e-8)


def test_resample_weights_have_mean_and_variance_one(catalogue):
    rows = catalogue.sql(
        "select unnest(resample_weights(50, draw)) from range(2000) as draws(draw)"
    ).fetchnumpy()
    (weights,) = rows.values()
    assert weights.mean() == pytest.approx(1, abs=0.01)
    assert weights.var() == pytest.approx(1, abs=0.02)
    by_draw = weights.reshape(2000, 50)
    assert np.corrcoef(by_draw[:, 0], by_draw[:, 1])[0, 1] == pytest.approx(0, abs=0.07)
    assert np.corrcoef(by_draw[:-1, 0], by_draw[1:, 0])[0, 1] == pytest.approx(0, abs=0.07)


@pytest.fixture(scope="module")
def published(warehouse):
    with warehouse(published_results=load()).connect() as connection:
        yield connection


@pytest.mark.parametrize(
    ("model", "side", "disparity"),
    [
        ("mBERT", "sufficiency", 0.072),
        ("mBERT", "comprehensiveness", 0.100),
        ("XLM-R-Base", "sufficiency", -0.100),
        ("XLM-R-Base", "comprehensiveness", -0.226),
    ],
)
def test_the_papers_aggregate_table_is_rederived(published, model, side, disparity):
    row = values(
        published,
        "n, disparity, disparity_low, disparity_high, p_value",
        f"origin = 'published' and scope = 'all' and mode = 'hard' and multilingual_model = '{model}' "
        f"and side = '{side}'",
        "faithfulness_disparity",
    )
    n, found, low, high, p = row
    assert n == 15 * 5
    assert found == pytest.approx(disparity, abs=0.0006)
    assert low < found < high
    assert (p < 0.05) == (low > 0 or high < 0)


def test_every_published_cell_has_its_disparity(published):
    counts = published.sql(
        "select mode, multilingual_model, count(*) from faithfulness_disparity "
        "where origin = 'published' and scope = 'cell' group by all order by all"
    ).fetchall()
    # 15 datasets and languages, 5 methods, 2 sides; soft: English only.
    assert counts == [
        ("hard", "XLM-R-Base", 150),
        ("hard", "mBERT", 150),
        ("soft", "XLM-R-Base", 30),
        ("soft", "mBERT", 30),
    ]


def test_the_correlation_with_fertility_shows_its_n(published):
    rows = published.sql(
        "select multilingual_model, n, pearson from faithfulness_tokenization where origin = 'published' "
        "and mode = 'hard' and method is null and measure = 'fertility' and side = 'sufficiency' order by all nulls last"
    ).fetchall()
    assert [row[:2] for row in rows] == [("XLM-R-Base", 15), ("mBERT", 15), (None, 30)]
    differences, disparities = [], []
    cells = published.sql(
        "select dataset, language, avg(disparity) from faithfulness_disparity where origin = 'published' and "
        "scope = 'cell' and mode = 'hard' and multilingual_model = 'mBERT' and side = 'sufficiency' group by all"
    ).fetchall()
    for dataset, language, disparity in cells:
        found = dict(
            published.sql(
                f"select split_part(note, ', ', 1), value from published_results where paper = 'faithfulness' and "
                f"metric = 'fertility' and note like '%, bert' and dataset = '{dataset}' and language = '{language}'"
            ).fetchall()
        )
        differences.append(found["multilingual"] - found["monolingual"])
        disparities.append(disparity)
    assert rows[1][2] == pytest.approx(stats.pearsonr(differences, disparities)[0])


def test_the_intervention_is_paired_over_unchanged_predictions(connect):
    rows, predictions, tokens = [], [], []
    drops = {
        ("base", "1"): 0.1,
        ("cut", "1"): 0.2,
        ("base", "2"): 0.3,
        ("cut", "2"): 0.3,
        ("base", "3"): 0.2,
        ("cut", "3"): 0.5,
    }
    for (model, example), drop in drops.items():
        target = "no" if (model, example) == ("cut", "3") else "yes"
        common = {"model": model, "target": target}
        rows += hard(example, "random", "comprehensiveness", {1.0: 0.7}, **common)
        rows += hard(example, "lig", "comprehensiveness", {1.0: 0.9 - drop}, **common)
        predictions.append({"model": model, "example_id": example, "predicted": target})
        tokens += [
            {"model": model, "example_id": example, "position": place, "word_index": 0, "word": "cat"}
            for place in range(2 if model == "cut" else 1)
        ]
    database = connect(
        perturbations=rows,
        predictions=predictions,
        tokens=tokens,
        models=[{"model": "base"}, {"model": "cut", "weights_of": "base", "tokenization_sampling": 0.25}],
    )
    row = (
        database.sql("select * from tokenization_intervention where method = 'lig' and variant = 'strict'")
        .pl()
        .row(0, named=True)
    )
    assert (row["model"], row["weights_of"], row["sampling"]) == ("cut", "base", 0.25)
    assert (row["fertility"], row["fertility_difference"]) == (2.0, 1.0)
    assert (row["predicted"], row["unchanged"], row["n"]) == (3, 2, 2)
    # Scores are drops over a span of .5: .4 and .6 against .2 and .6 where the prediction stays.
    assert row["score"] == pytest.approx(0.5)
    assert row["base_score"] == pytest.approx(0.4)
    assert row["difference"] == pytest.approx(0.1)
    assert (row["clusters"], row["difference_low"], row["difference_high"]) == (2, None, None)
    assert row["ratio_difference"] == pytest.approx((2.0 / 3) / 0.4 - 0.4 / 0.4)
