"""Token accuracy and span F1 against hand values and seqeval, their intervals against a plain bootstrap."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def _words(gold, predicted, example="1", **common):
    return [
        {
            "example_id": example,
            "word_index": i,
            "word": "w",
            "status": "tagged" if p is not None else "dropped",
            "label": g,
            "predicted": p,
            "logits": [0.0] * 5 if p is not None else None,
            **common,
        }
        for i, (g, p) in enumerate(zip(gold, predicted, strict=True))
    ]


def _scores(database) -> dict[str, dict]:
    table = database.sql("select * from task_scores").pl()
    return {row["metric"]: row for row in table.rows(named=True)}


def test_hand_values(connect):
    rows = [
        *_words(["B-PER", "I-PER", "O", "B-LOC"], ["B-PER", "I-PER", "O", "B-PER"]),
        *_words(["O", "O"], ["O", None], example="2"),
    ]
    scores = _scores(connect(token_predictions=rows))
    # Four right of six words: a wrong type, and a word that the tokenizer dropped.
    assert scores["token_accuracy"]["value"] == pytest.approx(4 / 6)
    assert scores["token_accuracy"]["chance"] == pytest.approx(1 / 5)
    assert (scores["token_accuracy"]["n"], scores["token_accuracy"]["num_units"]) == (2, 6)
    # One entity of two is right, of two predicted.
    assert scores["span_f1"]["value"] == pytest.approx(2 * 1 / (2 + 2))
    assert (scores["span_f1"]["n"], scores["span_f1"]["num_units"]) == (2, 4)
    assert scores["span_f1"]["chance"] is None
    # One sentence has no entity, so that leaving out the other one leaves no span F1: by its sentences then, as a share.
    assert {name: row["interval"] for name, row in scores.items()} == {
        "token_accuracy": "jackknife",
        "span_f1": "wilson",
    }
    assert scores["span_f1"]["ci_low"] is scores["token_accuracy"]["ci_low"] is None, "of two sentences"
    assert scores["span_f1"]["standard_error"] is None
    assert {row["task"] for row in scores.values()} == {"token_classification"}


def test_parts_of_speech_have_no_entities(connect):
    scores = _scores(connect(token_predictions=_words(["NOUN", "VERB"], ["NOUN", "NOUN"])))
    assert set(scores) == {"token_accuracy"}


def test_withheld_tags_are_left_out_and_truncated_sentences_counted(connect):
    rows = _words(["O", "B-PER", None], ["O", None, "O"])
    rows[1]["status"] = "truncated"
    scores = _scores(connect(token_predictions=rows))
    assert scores["token_accuracy"]["value"] == pytest.approx(1 / 2)
    assert scores["token_accuracy"]["num_truncated"] == 1
    assert scores["span_f1"]["value"] == 0


def _random_corpus(sentences: int, seed: int):
    generator = random.Random(seed)
    gold, predicted = [], []
    for _ in range(sentences):
        row = generator.choices(TAGS, weights=[6, 1, 1, 1, 1], k=generator.randint(1, 12))
        gold.append(row)
        predicted.append([generator.choice([tag, tag, tag, "O", "I-PER", "B-LOC"]) for tag in row])
    return gold, predicted


def _frame(frame, gold, predicted) -> pl.DataFrame:
    one = frame("token_predictions", _words(["O"], ["O"]))
    lengths = [len(row) for row in gold]
    flat = pl.DataFrame(
        {
            "example_id": np.repeat([str(i) for i in range(len(gold))], lengths).tolist(),
            "word_index": np.concatenate([np.arange(n) for n in lengths]).astype(np.int32),
            "label": [tag for row in gold for tag in row],
            "predicted": [tag for row in predicted for tag in row],
        }
    )
    return flat.join(one.drop(flat.columns), how="cross").select(one.columns)


def test_span_f1_is_seqevals(connect, frame):
    seqeval = pytest.importorskip("seqeval.metrics")
    gold, predicted = _random_corpus(300, seed=1)
    scores = _scores(connect(token_predictions=_frame(frame, gold, predicted)))
    assert scores["span_f1"]["value"] == pytest.approx(seqeval.f1_score(gold, predicted), abs=1e-12)
    assert scores["token_accuracy"]["value"] == pytest.approx(
        seqeval.accuracy_score(gold, predicted), abs=1e-12
    )


@pytest.mark.parametrize("sentences", [120, 900])
def test_intervals_agree_with_a_plain_bootstrap_over_sentences(connect, frame, sentences):
    from xlwh.models.entities import entities

    gold, predicted = _random_corpus(sentences, seed=2)
    scores = _scores(connect(token_predictions=_frame(frame, gold, predicted)))
    pairs = [(entities(g), entities(p)) for g, p in zip(gold, predicted, strict=True)]
    parts = {
        "span_f1": ([2 * len(g & p) for g, p in pairs], [len(g) + len(p) for g, p in pairs]),
        "token_accuracy": (
            [sum(a == b for a, b in zip(g, p, strict=True)) for g, p in zip(gold, predicted, strict=True)],
            [len(g) for g in gold],
        ),
    }
    drawn = np.random.default_rng(0).integers(0, sentences, (3000, sentences))
    for metric, (top, bottom) in parts.items():
        resampled = np.array(top)[drawn].sum(axis=1) / np.array(bottom)[drawn].sum(axis=1)
        error = resampled.std()
        assert scores[metric]["standard_error"] == pytest.approx(error, rel=0.12)
        assert scores[metric]["ci_low"] == pytest.approx(np.quantile(resampled, 0.025), abs=0.3 * error)
        assert scores[metric]["ci_high"] == pytest.approx(np.quantile(resampled, 0.975), abs=0.3 * error)


def test_the_same_select_gives_the_same_interval_twice(connect, frame):
    gold, predicted = _random_corpus(50, seed=3)
    database = connect(token_predictions=_frame(frame, gold, predicted))
    assert _scores(database) == _scores(database)


def test_weights_are_independent_and_exponential(catalogue):
    weights = np.array([row[0] for row in catalogue.sql("select weights from bootstrap_weights").fetchall()])
    assert weights.shape == (1000, 400)
    assert weights.mean() == pytest.approx(1, abs=0.01)
    assert weights.var() == pytest.approx(1, abs=0.02)
    # Sums over blocks and over resamples vary as those of independent numbers do.
    assert weights.sum(axis=1).std() == pytest.approx(20, rel=0.1)
    assert weights.sum(axis=0).std() == pytest.approx(np.sqrt(1000), rel=0.15)
