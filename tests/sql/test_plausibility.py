"""Agreement with people's rationales, worked out by hand and against scikit-learn's definitions."""

from __future__ import annotations

import numpy as np
import pytest


def tables(scores, rationale, example="1"):
    common = {"example_id": example}
    return {
        "examples": [
            {
                **common,
                "task": "sequence_classification",
                "text": " ".join(f"w{i}" for i in range(len(scores))),
                "words": [f"w{i}" for i in range(len(scores))],
                "word_spans": [{"start": 3 * i, "end": 3 * i + 2} for i in range(len(scores))],
                "word_labels": ["rationale" if mark else "O" for mark in rationale],
            }
        ],
        "predictions": [{**common, "predicted": "yes"}],
        "tokens": [
            {**common, "position": i, "word_index": i, "word": f"w{i}", "segment": 0}
            for i in range(len(scores))
        ],
        "token_attributions": [
            {**common, "position": i, "target": target, "attribution": sign * score}
            for target, sign in (("yes", 1), ("no", -1))
            for i, score in enumerate(scores)
        ],
    }


def merged(*many):
    return {name: [row for one in many for row in one[name]] for name in many[0]}


def row(connect, *many):
    found = connect(**merged(*many)).sql("select * from plausibility").pl()
    assert found.height == 1
    return found.row(0, named=True)


def test_one_example_by_hand(connect):
    # Words 2 and 3 are the rationale: a third of six, so the two best words are taken, 3 and 0.
    found = row(connect, tables([0.8, 0.1, 0.3, 0.9, -0.5, 0.0], [0, 0, 1, 1, 0, 0]))
    assert (found["n"], found["rationale_share"]) == (1, pytest.approx(1 / 3))
    assert (found["token_precision"], found["token_recall"], found["token_f1"]) == (0.5, 0.5, 0.5)
    # Word 3 comes first (precision 1), word 2 third (precision 2 / 3).
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    # Points (recall, precision): (0, 1), (.5, 1), (.5, .5), (1, 2 / 3).
    assert found["auprc"] == pytest.approx(0.5 * 1 + 0.5 * (1 / 2 + 2 / 3) / 2)
    # Spans {0} and {3} against {2, 3}: the second overlaps by one of two words, which is just enough.
    assert found["iou_f1"] == found["mean_iou_f1"] == pytest.approx(2 * 1 / (2 + 1))


def test_the_share_is_the_datasets_and_examples_are_averaged(connect):
    # Shares of rationale words: 1 of 4 and 3 of 4, so half of the words are taken in both.
    one = tables([0.9, 0.8, 0.1, 0.0], [1, 0, 0, 0], "1")
    two = tables([0.0, 0.5, 0.6, 0.7], [0, 1, 1, 1], "2")
    found = row(connect, one, two)
    assert found["n"] == 2
    assert found["token_precision"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["token_recall"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["token_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["average_precision"] == found["auprc"] == pytest.approx(1.0)


def test_average_precision_is_scikit_learns_with_ties(connect):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is only an oracle here")
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, 30) / 4
    rationale = rng.integers(0, 2, 30)
    found = row(connect, tables(scores.tolist(), rationale.tolist()))
    precision, recall, _ = metrics.precision_recall_curve(rationale, scores)
    assert found["auprc"] == pytest.approx(metrics.auc(recall, precision), abs=1e-6)
    assert found["average_precision"] == pytest.approx(
        metrics.average_precision_score(rationale, scores), abs=1e-6
    )


def test_texts_without_a_rationale_or_attributions_of_the_prediction_do_not_count(connect):
    none = tables([0.1, 0.2], [0, 0], "1")
    other = tables([0.3, 0.2], [1, 0], "2")
    other["predictions"][0]["predicted"] = "maybe"
    counted = tables([0.3, 0.2], [1, 0], "3")
    assert row(connect, none, other, counted)["n"] == 1
