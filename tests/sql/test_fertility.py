"""Fertility on a hand-counted sentence pair."""

from __future__ import annotations

import pytest

SENTENCE = [
    {"position": 0, "is_special": True},
    {"position": 1, "word_index": 0, "word": "unbelievable", "token": "un"},
    {"position": 2, "word_index": 0, "word": "unbelievable", "token": "##believ"},
    {"position": 3, "word_index": 0, "word": "unbelievable", "token": "##able"},
    {"position": 4, "token": "▁"},
    {"position": 5, "word_index": 1, "word": "né", "token": "[UNK]", "is_unknown": True},
    {"position": 6, "is_special": True},
    {"position": 7, "word_index": 2, "word": "go", "token": "go"},
    {"position": 8, "is_special": True, "is_unknown": True},
]


def test_special_tokens_and_lone_blanks_do_not_count(connect, frame):
    tokens = frame("tokens", SENTENCE, segmenter="icu")
    row = connect(tokens=tokens).sql("select * from fertility").pl().row(0, named=True)
    assert (row["examples"], row["words"], row["tokens"]) == (1, 3, 5)
    assert row["fertility"] == pytest.approx(5 / 3)
    assert row["splitting_ratio"] == pytest.approx(1 / 3)
    assert row["unknown_ratio"] == pytest.approx(1 / 5)
    assert row["characters_per_token"] == pytest.approx((12 + 2 + 2) / 5)
    assert row["segmenter"] == "icu"


def test_the_same_word_index_of_two_examples_is_two_words(connect):
    word = {"position": 0, "word_index": 0, "word": "go"}
    database = connect(tokens=[{**word, "example_id": "1"}, {**word, "example_id": "2"}])
    assert database.sql("select examples, words, fertility from fertility").fetchall() == [(2, 2, 1.0)]


def test_one_row_for_each_model_dataset_split_and_language(connect):
    word = {"position": 0, "word_index": 0, "word": "go"}
    rows = [
        {**word, "model": "a"},
        {**word, "model": "b"},
        {**word, "model": "b", "language": "de"},
        {**word, "model": "b", "dataset": "e"},
        {**word, "model": "b", "split": "test"},
    ]
    assert connect(tokens=rows).sql("select count(*) from fertility").fetchall() == [(5,)]


def test_mixed_segmenters_are_named(connect):
    word = {"word_index": 0, "word": "go"}
    rows = [
        {**word, "position": 0, "segmenter": "icu"},
        {**word, "position": 1, "word_index": 1, "segmenter": "given"},
    ]
    assert connect(tokens=rows).sql("select segmenter from fertility").fetchall() == [("given+icu",)]
