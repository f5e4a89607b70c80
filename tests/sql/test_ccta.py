"""The views of consistency over small tables worked out by hand, and over the papers' own numbers."""

from __future__ import annotations

import math
from itertools import permutations
from statistics import mean, stdev

import numpy as np
import polars as pl
import pytest
from scipy import stats

from xlwh.published import load
from xlwh.store import Slot, Warehouse


def test_words_sum_their_sub_tokens(connect):
    tokens = [
        {"position": 0, "is_special": True},
        {"position": 1, "word_index": 0, "word": "unlike", "segment": 0},
        {"position": 2, "word_index": 0, "word": "unlike", "segment": 0},
        {"position": 3, "segment": 0},
        {"position": 4, "word_index": 1, "word": "it", "segment": 1},
    ]
    values = {"lig": [9, 1, -0.25, 9, 2], "random": [9, 0.5, 0.5, 9, 0.125]}
    attributions = [
        {"position": position, "method": method, "attribution": value}
        for method, column in values.items()
        for position, value in enumerate(column)
    ]
    database = connect(tokens=tokens, token_attributions=attributions)
    rows = database.sql(
        "select method, word_index, word, segment, num_tokens, attribution from word_attributions order by all"
    ).fetchall()
    assert rows == [
        ("lig", 0, "unlike", 0, 2, 0.75),
        ("lig", 1, "it", 1, 1, 2.0),
        ("random", 0, "unlike", 0, 2, 1.0),
        ("random", 1, "it", 1, 1, 0.125),
    ]


PAIRS = [
    # example, score, null_uniform, null_shuffled, source_coverage, target_coverage, degenerate
    ("1", 0.50, 0.30, 0.40, 1.0, 0.5, False),
    ("2", 0.60, 0.30, 0.35, 1.0, 1.0, False),
    ("3", 0.40, 0.45, 0.40, 0.5, 0.5, True),
    ("4", 0.70, 0.35, 0.60, 1.0, 1.0, False),
    ("5", 0.30, 0.10, 0.35, 1.0, 0.0, False),
]
MEASURED = (
    "example_id",
    "score",
    "null_uniform",
    "null_shuffled",
    "source_coverage",
    "target_coverage",
    "degenerate",
)


def _pairs(copies=1, **common):
    """The five pairs, each under as many ids: 1, 1x, 1xx."""
    return [
        {**dict(zip(MEASURED, row, strict=True)), **common, "example_id": row[0] + "x" * copy}
        for row in PAIRS
        for copy in range(copies)
    ]


def test_means_excesses_and_intervals_by_hand(connect):
    others = [{"example_id": "1", "score": 1.0, "null_uniform": 1.0, "target_language": "en"}]
    database = connect(ccta_pairs=[*_pairs(copies=2), *others])
    row = database.sql("select * from ccta where target_language = 'de'").pl().row(0, named=True)
    assert (row["n"], row["clusters"], row["variant"], row["is_self"]) == (10, 10, "strict", False)
    assert row["score"] == pytest.approx(0.5)
    assert (row["null_uniform"], row["null_shuffled"]) == pytest.approx((0.3, 0.42))
    assert (row["source_coverage"], row["target_coverage"], row["degenerate_share"]) == pytest.approx(
        (0.9, 0.6, 0.2)
    )
    columns = {
        "score": [p[1] for p in PAIRS],
        "excess_uniform": [p[1] - p[2] for p in PAIRS],
        "excess_shuffled": [p[1] - p[3] for p in PAIRS],
    }
    for name, values in columns.items():
        error, t = stdev(values * 2) / math.sqrt(10), stats.t.ppf(0.975, 9)
        expected = mean(values), error, mean(values) - t * error, mean(values) + t * error
        found = tuple(row[f"{name}{end}"] for end in ("", "_se", "_low", "_high"))
        assert found == pytest.approx(expected, abs=1e-4)
    own = database.sql("select * from ccta where is_self").pl().row(0, named=True)
    assert (own["n"], own["score"], own["score_se"], own["score_low"]) == (1, 1.0, None, None)


def test_pairs_that_share_a_premise_are_one_cluster(connect):
    """Ten premises with three equal hypotheses each are known as ten pairs are; by the source language's clusters."""
    ends = "select n, clusters, score_se, score_low, excess_uniform_low, excess_shuffled_high from ccta"
    pairs = _pairs(copies=2)
    hypotheses = [{**pair, "example_id": pair["example_id"] + h} for pair in pairs for h in "abc"]
    examples = [
        {
            "language": language,
            "example_id": row["example_id"],
            "cluster": row["example_id"][:-1] if language == "en" else None,
        }
        for row in hypotheses
        for language in ("en", "de")
    ]
    [ten] = connect(ccta_pairs=pairs).sql(ends).fetchall()
    [thirty] = connect(ccta_pairs=hypotheses, examples=examples).sql(ends).fetchall()
    assert (ten[:2], thirty[:2]) == ((10, 10), (30, 10))
    assert thirty[2:] == pytest.approx(ten[2:])
    [nine] = connect(ccta_pairs=pairs[:9]).sql(ends).fetchall()
    assert nine[2] is not None
    assert nine[3:] == (None, None, None), "of nine premises"


def test_nothing_that_differs_is_averaged_together(connect):
    differences = [
        {"model": "other"},
        {"dataset": "other"},
        {"split": "test"},
        {"source_language": "es"},
        {"target_language": "fr"},
        {"method": "random"},
        {"target_policy": "gold"},
        {"space": "other"},
        {"unit": "token"},
        {"normalization": "relu"},
    ]
    pairs = [row for difference in ({}, *differences) for row in _pairs(**difference)]
    database = connect(ccta_pairs=pairs)
    assert database.sql("select n, count(*) from ccta group by n").fetchall() == [(5, 11)]
    targets = database.sql(
        "select num_targets, count(*) from ccta_overall group by all order by all"
    ).fetchall()
    assert targets == [(1, 9), (2, 1)], "only target languages are averaged, and only over each other"


def test_classes_are_averaged_together(connect):
    """Each example is compared for one class, its own: the class is no dimension of the score."""
    pairs = [{**row, "target": "yes" if i % 2 else "no"} for i, row in enumerate(_pairs())]
    assert connect(ccta_pairs=pairs).sql("select n from ccta").fetchall() == [(5,)]


def test_overall_with_and_without_the_self_pair(connect):
    pairs = [
        *_pairs(),
        *_pairs(target_language="fr", score=0.1, null_uniform=0.2, null_shuffled=0.0),
        {"example_id": "1", "score": 1.0, "null_uniform": 1.0, "null_shuffled": 0.5, "target_language": "en"},
    ]
    row = connect(ccta_pairs=pairs).sql("select * from ccta_overall").pl().row(0, named=True)
    assert row["num_targets"] == 2
    assert row["score_with_self"] == pytest.approx((0.5 + 0.1 + 1) / 3)
    assert row["score_without_self"] == pytest.approx(0.3)
    assert (row["null_uniform"], row["null_shuffled"]) == pytest.approx((0.25, 0.21))
    assert (row["excess_uniform"], row["excess_shuffled"]) == pytest.approx((0.05, 0.09))
    without = connect(ccta_pairs=_pairs()).sql("select score_with_self, score_without_self from ccta_overall")
    assert without.fetchall() == [(None, pytest.approx(0.5))]


def _measured(cells):
    """Tables in which each (model, source, target): (score, correct of 100) is measured."""
    pairs, predictions = [], []
    for (model, source, target), (score, accuracy) in cells.items():
        key = {"model": model, "source_language": source, "target_language": target}
        pairs += [
            {**key, "example_id": str(i), "score": score, "null_uniform": score / 2, "null_shuffled": 0.1}
            for i in range(2)
        ]
        predictions += [
            {
                "model": model,
                "language": target,
                "example_id": str(i),
                "label": "yes",
                "predicted": "yes" if i < accuracy else "no",
                "logits": [1.0, 0.0],
                "probabilities": [0.7, 0.3],
                "num_tokens": 1,
            }
            for i in range(100)
        ]
    return {"ccta_pairs": pairs, "predictions": predictions}


CELLS = {
    ("m", "en", "en"): (1.0, 90),
    ("m", "en", "de"): (0.6, 80),
    ("m", "en", "es"): (0.5, 80),
    ("m", "en", "fr"): (0.7, 60),
    ("m", "en", "zh"): (0.2, 50),
}


def _correlations(database, **conditions):
    where = " and ".join(f"{name} = '{value}'" for name, value in conditions.items())
    return database.sql(f"select * from ccta_performance_correlation where {where}").pl().to_dicts()


def test_correlations_by_hand(connect):
    database = connect(**_measured(CELLS))
    score, accuracy = np.array(list(CELLS.values())).T
    (row,) = _correlations(database, scope="model", measure="score", cells="all")
    assert (row["model"], row["source_language"], row["metric"], row["n"]) == ("m", "en", "accuracy", 5)
    pearson, spearman = stats.pearsonr(score, accuracy), stats.spearmanr(score, accuracy)
    assert row["pearson"] == pytest.approx(pearson.statistic)
    assert row["spearman"] == pytest.approx(spearman.statistic), "de and es share a rank"
    assert (row["languages"], row["permutations"], row["p"], row["pearson_low"], row["spearman_high"]) == (
        *(5, None, None, None, None),
    ), "the self pair is 1 by definition"
    (off,) = _correlations(database, scope="model", measure="score", cells="off_diagonal")
    assert (off["n"], off["languages"], off["permutations"], off["pearson_low"]) == (4, 4, 24, None)
    assert off["pearson"] == pytest.approx(stats.pearsonr(score[1:], accuracy[1:]).statistic)
    rhos = [stats.spearmanr(score[1:], order).statistic for order in permutations(accuracy[1:])]
    assert off["p"] == pytest.approx(np.mean(np.abs(rhos) >= abs(off["spearman"]) - 1e-9))
    (excess,) = _correlations(database, scope="model", measure="excess_uniform", cells="all")
    assert excess["pearson"] == pytest.approx(row["pearson"]), "half the score here"
    (study,) = _correlations(database, scope="study", measure="score", cells="all")
    assert (study["model"], study["source_language"]) == (None, None)
    assert study["pearson"] == pytest.approx(row["pearson"])


def test_what_does_not_vary_has_no_correlation(connect):
    same = dict.fromkeys(CELLS, (0.5, 70))
    for row in connect(**_measured(same)).sql("select * from ccta_performance_correlation").pl().to_dicts():
        assert row["pearson"] is row["spearman"] is row["pearson_low"] is row["spearman_high"] is None
    few = dict(list(CELLS.items())[:3])
    (row,) = _correlations(connect(**_measured(few)), scope="model", measure="score", cells="all")
    assert (row["n"], row["languages"]) == (3, 3)
    assert row["pearson"] is row["spearman"] is row["p"] is None


def test_languages_without_a_score_are_left_out(connect):
    tables = _measured(CELLS)
    tables["predictions"] = [row for row in tables["predictions"] if row["language"] != "zh"]
    (row,) = _correlations(connect(**tables), scope="model", measure="score", cells="all")
    assert row["n"] == 4


@pytest.fixture
def published(connect):
    """Tables 4 (accuracy) and 5 (consistency) of the CCTA paper as if measured: a model for each source language."""
    tables = load().filter(pl.col("paper") == "ccta", pl.col("language") != "overall")
    accuracy = tables.filter(pl.col("table") == "4").select("source_language", "language", accuracy="value")
    grid = tables.filter(pl.col("table") == "5").join(accuracy, on=["source_language", "language"])
    cells = {
        (f"xlmr-{row['source_language']}", row["source_language"], row["language"]): row
        for row in grid.to_dicts()
    }
    # Accuracies are printed with three decimals: 1,000 examples give each exactly.
    pairs, predictions = [], []
    for (model, source, target), row in cells.items():
        key = {"model": model, "source_language": source, "target_language": target}
        pairs.append({**key, "score": row["value"], "null_uniform": 0.0, "null_shuffled": 0.0})
        right = round(row["accuracy"] * 1000)
        predictions.append((model, target, right))
    rows = [
        {"model": model, "language": target, "example_id": str(i), "predicted": "yes" if i < right else "no"}
        for model, target, right in predictions
        for i in range(1000)
    ]
    common = {"label": "yes", "logits": [1.0, 0.0], "probabilities": [0.7, 0.3], "num_tokens": 1}
    return connect(ccta_pairs=pairs, predictions=[{**row, **common} for row in rows])


def _within(cells, with_self):
    """Pearson over cells (source, target, a, b), each source about its own mean."""
    frame = pl.DataFrame(cells, schema=["source", "target", "a", "b"], orient="row")
    if not with_self:
        frame = frame.filter(pl.col("source") != pl.col("target"))
    a, b = (frame[x] - frame.select(pl.col(x).mean().over("source"))[x] for x in "ab")
    return round(float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())), 2)


def _published_cells():
    tables = load().filter(pl.col("paper") == "ccta", pl.col("language") != "overall")
    key = ["source_language", "language"]
    accuracy = tables.filter(pl.col("table") == "4").select(*key, accuracy="value")
    grid = tables.filter(pl.col("table") == "5").join(accuracy, on=key)
    return grid.select(*key, "value", "accuracy").rows()


PUBLISHED = {
    "all": _within(_published_cells(), with_self=True),
    "off_diagonal": _within(_published_cells(), with_self=False),
}


def test_the_published_correlations(published):
    rows = _correlations(published, measure="score", scope="study")
    # Each model about its own mean: over all cells as if of one model it would be .29 and .43.
    found = {row["cells"]: (row["n"], row["languages"], round(row["pearson"], 2)) for row in rows}
    assert found == {"all": (36, 6, PUBLISHED["all"]), "off_diagonal": (30, 6, PUBLISHED["off_diagonal"])}
    (tested,) = [row for row in rows if row["cells"] == "off_diagonal"]
    # Each source language has a model of its own: the six languages change places together with their models.
    assert tested["permutations"] == 720
    assert 0 < tested["p"] < 1
    (english,) = _correlations(
        published, measure="score", scope="model", cells="all", model="xlmr-en", source_language="en"
    )
    assert (english["n"], round(english["pearson"], 2), english["spearman"]) == (6, 0.79, pytest.approx(1))
    per_model = _correlations(published, measure="score", scope="model", cells="all")
    assert len(per_model) == 6
    rows = published.sql("select * from ccta_overall order by source_language").pl()
    printed = load().filter(
        pl.col("paper") == "ccta", pl.col("table") == "5", pl.col("language") == "overall"
    )
    for row in rows.to_dicts():
        overall = printed.filter(pl.col("source_language") == row["source_language"])["value"].item()
        assert row["score_with_self"] == pytest.approx(overall, abs=6e-4)
        assert row["score_without_self"] < overall


def test_the_views_over_a_real_warehouse(frame, tmp_path):
    warehouse = Warehouse(tmp_path / "warehouse", create=True)
    tables = _measured(CELLS)
    for target in ("en", "de", "es", "fr", "zh"):
        pairs = frame("ccta_pairs", [row for row in tables["ccta_pairs"] if row["target_language"] == target])
        rows = frame("predictions", [row for row in tables["predictions"] if row["language"] == target])
        warehouse.write({Slot("ccta_pairs", ("m", target), "d"): pairs}, "x")
        warehouse.write({Slot("predictions", ("m", target), "d"): rows}, "x")
    warehouse.build_catalogue()
    with warehouse.connect() as database:
        scores = database.sql("select target_language, n, score from ccta order by score").fetchall()
        assert [(row[0], row[1]) for row in scores] == [("zh", 2), ("es", 2), ("de", 2), ("fr", 2), ("en", 2)]
        pooled = database.sql(
            "select n, pearson from ccta_performance_correlation "
            "where scope = 'study' and cells = 'all' and measure = 'score'"
        ).fetchall()
        expected = stats.pearsonr(*np.array(list(CELLS.values())).T).statistic
        assert pooled == [(5, pytest.approx(expected))]
        assert database.sql("select count(*) from word_attributions").fetchall() == [(0,)]
    assert warehouse.scan("ccta_overall").collect()["num_targets"].to_list() == [4]
