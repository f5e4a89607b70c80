"""The model randomisation check, worked out by hand."""

from __future__ import annotations

import pytest
from scipy import stats

ONE, TWIN = [0.1, -0.9, 0.5, 0.5, 0.0], [0.3, 0.2, -0.8, 0.1, 0.1]


def rows(model, values, example="1", target="yes"):
    return [
        {"model": model, "example_id": example, "target": target, "position": i, "attribution": value}
        for i, value in enumerate(values)
    ]


def test_ranks_are_correlated_by_example_for_the_same_class(connect):
    tokens = [
        {"model": "m", "example_id": example, "position": i, "is_special": i == 5, "segment": 0}
        for example in ("1", "2", "3")
        for i in range(6)
    ]
    # The last position is special; example 2 is explained for other classes, example 3 is its own reverse.
    database = connect(
        models=[{"model": "m"}, {"model": "t", "weights_of": "m", "randomized": "all"}],
        tokens=tokens,
        token_attributions=[
            *rows("m", [*ONE, 9.0]),
            *rows("t", [*TWIN, -9.0]),
            *rows("m", ONE, "2"),
            *rows("t", TWIN, "2", "no"),
            *rows("m", [1.0, 2.0, 3.0], "3"),
            *rows("t", [-1.0, -2.0, -3.0], "3"),
        ],
    )
    (row,) = database.sql("select * from attribution_similarity").pl().to_dicts()
    expected = stats.spearmanr(ONE, TWIN).statistic
    assert (row["model"], row["weights_of"], row["randomized"], row["n"]) == ("t", "m", "all", 2)
    assert row["spearman"] == pytest.approx((expected - 1) / 2, abs=1e-6)
    by_size = stats.spearmanr([abs(x) for x in ONE], [abs(x) for x in TWIN]).statistic
    assert row["spearman_abs"] == pytest.approx((by_size + 1) / 2, abs=1e-6)


def test_it_says_from_which_baselines_the_paths_begin(connect):
    key = {"example_id": "1", "target": "yes"}
    database = connect(
        models=[{"model": "m"}, {"model": "t", "weights_of": "m", "randomized": "all"}],
        tokens=[
            {"model": "m", "example_id": "1", "position": i, "is_special": False, "segment": 0}
            for i in range(3)
        ],
        token_attributions=[
            {"model": model, "method": method, **key, "position": i, "attribution": value}
            for model in "mt"
            for method in ("lig", "random")
            for i, value in enumerate([1.0, 3.0, 2.0])
        ],
        attribution_runs=[
            {"model": "m", "method": "lig", **key, "parameters": '{"baseline": "mean", "steps": 50}'},
            {"model": "t", "method": "lig", **key, "parameters": '{"baseline": "pad", "steps": 50}'},
            {"model": "m", "method": "random", **key, "parameters": '{"draws": 10}'},
        ],
    )
    found = database.sql(
        "select method, n, path_baseline, twin_path_baseline from attribution_similarity order by method"
    ).fetchall()
    assert found == [("lig", 1, "mean", "pad"), ("random", 1, None, None)]
