"""Task scores against hand values, and their intervals against the bootstrap and by simulation."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

# Gold against predicted: a 3 right, 1 taken for b; b 2 right; c 1 right, 1 taken for a.
OUTCOMES = ["aa", "aa", "aa", "ab", "bb", "bb", "cc", "ca"]


def _rows(outcomes, classes=3, **common):
    return [
        {"example_id": str(i), "label": y, "predicted": p, "logits": [0.0] * classes, **common}
        for i, (y, p) in enumerate(outcomes)
    ]


def _scores(database) -> dict[str, dict]:
    table = database.sql("select * from task_scores").pl()
    return {row["metric"]: row for row in table.rows(named=True)}


def test_hand_values(connect):
    scores = _scores(connect(predictions=_rows(OUTCOMES)))
    assert scores["accuracy"]["value"] == pytest.approx(6 / 8)
    # F1: a 2*3/(4+4), b 2*2/(2+3), c 2*1/(2+1).
    assert scores["macro_f1"]["value"] == pytest.approx((6 / 8 + 4 / 5 + 2 / 3) / 3)
    assert scores["accuracy"]["chance"] == pytest.approx(1 / 3)
    # Expected F1 of uniform guessing: 2r/(3r+1) at the classes' shares 4/8, 2/8, 2/8.
    assert scores["macro_f1"]["chance"] == pytest.approx((1 / 2.5 + 0.5 / 1.75 + 0.5 / 1.75) / 3)
    assert {row["n"] for row in scores.values()} == {8}
    assert {row["variant"] for row in scores.values()} == {"strict"}


def test_a_class_that_is_only_predicted_counts_as_zero(connect):
    scores = _scores(connect(predictions=_rows(["aa", "ab", "ac"], classes=4)))
    assert scores["macro_f1"]["value"] == pytest.approx((2 / 4) / 3)
    assert scores["accuracy"]["num_classes"] == 4


def test_withheld_labels_are_left_out_and_truncated_inputs_counted(connect):
    rows = _rows(["aa", "ab", "ab"])
    rows[0]["num_truncated"] = 7
    rows[1]["label"] = None
    scores = _scores(connect(predictions=rows))
    assert scores["accuracy"]["value"] == pytest.approx(1 / 2)
    assert (scores["accuracy"]["n"], scores["accuracy"]["num_truncated"]) == (2, 1)


def test_nothing_right_and_all_right_still_have_an_interval(connect):
    wrong = _scores(connect(predictions=_rows(["ab", "ba", "ab"] * 4)))
    right = _scores(connect(predictions=_rows(["aa", "bb", "aa"] * 4)))
    for metric in ("accuracy", "macro_f1"):
        assert (wrong[metric]["value"], wrong[metric]["ci_low"]) == (0, 0)
        assert 0.2 < wrong[metric]["ci_high"] < 0.3
        assert (right[metric]["value"], right[metric]["ci_high"]) == (1, 1)
        assert 0.7 < right[metric]["ci_low"] < 0.8


def test_evaluations_do_not_mix(connect):
    rows = _rows(["aa", "bb"]) + _rows(["ab", "ba"], language="de") + _rows(["aa", "ba"], model="other")
    found = connect(predictions=rows).sql(
        "select model, language, value from task_scores where metric = 'accuracy' order by all"
    )
    assert found.fetchall() == [("m", "de", 0.0), ("m", "en", 1.0), ("other", "en", 0.5)]


def test_standard_errors_agree_with_the_bootstrap(connect, frame):
    rng = np.random.default_rng(5)
    label, predicted = _draw(rng, 2000)
    database = connect(predictions=frame("predictions", _rows(zip(label, predicted, strict=True))))
    scores = _scores(database)
    samples = rng.integers(0, 2000, (1500, 2000))
    f1 = np.array([_macro_f1(label[i], predicted[i]) for i in samples])
    assert scores["macro_f1"]["value"] == pytest.approx(_macro_f1(label, predicted), abs=1e-12)
    assert scores["macro_f1"]["standard_error"] == pytest.approx(f1.std(), rel=0.06)
    assert scores["macro_f1"]["ci_low"] == pytest.approx(np.quantile(f1, 0.025), abs=0.003)
    assert scores["macro_f1"]["ci_high"] == pytest.approx(np.quantile(f1, 0.975), abs=0.003)
    accuracy = np.mean(label == predicted)
    assert scores["accuracy"]["standard_error"] == pytest.approx(np.sqrt(accuracy * (1 - accuracy) / 1999))


def test_intervals_cover_the_truth(connect, frame):
    """Six hundred test sets of 150 examples from one known model: 95 % of the intervals hold its true score."""
    rng = np.random.default_rng(11)
    sets, size = 600, 150
    label, predicted = _draw(rng, sets * size)
    one = frame("predictions", [{"logits": [0.0] * 3}])
    outcomes = (
        pl.DataFrame({"label": label, "predicted": predicted})
        .with_row_index()
        .with_columns(
            split=pl.format("set{}", pl.col("index") // size), example_id=pl.col("index").cast(pl.String)
        )
    )
    predictions = outcomes.join(one.drop("split", "example_id", "label", "predicted"), how="cross")
    large_label, large_predicted = _draw(rng, 2_000_000)
    truth = {
        "accuracy": np.mean(large_label == large_predicted),
        "macro_f1": _macro_f1(large_label, large_predicted),
    }
    database = connect(predictions=predictions.select(one.columns))
    for metric, value in truth.items():
        covered = database.sql(
            f"select avg((ci_low <= {value} and {value} <= ci_high)::int) from task_scores where metric = '{metric}'"
        ).fetchall()[0][0]
        assert 0.925 < covered < 0.975, metric


def _draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Gold and predicted labels of an uneven three-class problem."""
    classes = np.array(["a", "b", "c"])
    label = rng.choice(classes, n, p=[0.6, 0.3, 0.1])
    guess = rng.choice(classes, n, p=[0.5, 0.3, 0.2])
    return label, np.where(rng.random(n) < 0.6, label, guess)


def _macro_f1(label: np.ndarray, predicted: np.ndarray) -> float:
    """The textbook definition, class by class."""
    scores = []
    for name in np.union1d(label, predicted):
        hit = np.sum((label == name) & (predicted == name))
        scores.append(2 * hit / (np.sum(label == name) + np.sum(predicted == name)))
    return float(np.mean(scores))
