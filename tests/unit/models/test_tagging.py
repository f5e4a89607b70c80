"""One sub-token per word, over every family; gold, what is dropped or cut, and the development score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from xlwh.errors import ModelError
from xlwh.models import LoadedModel, Zoo
from xlwh.models.batches import collate
from xlwh.models.predict import predict_tokens
from xlwh.models.tagging import DROPPED, IGNORED, TAGGED, TRUNCATED, TagScorer, tag_targets, word_places
from xlwh.models.tokenize import NONE, encode
from xlwh.models.training_data import OBJECTIVES, gold_labels, prepare
from xlwh.study.models import Inputs

TAGS = ("B-PER", "I-PER", "O")
SENTENCES = [
    (["The", "cat", "doesn't", "sit", "."], ["O", "B-PER", "I-PER", "O", "O"]),
    (["Hund", "und", "Katze"], ["B-PER", "O", "O"]),
    (["他", "说", "，", "妈妈"], ["B-PER", "O", "O", "I-PER"]),
]
FAMILIES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
Load = Callable[..., LoadedModel]


@pytest.fixture
def load(checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]) -> Load:
    def loaded(model_type: str, **options: object) -> LoadedModel:
        return zoo_of(m={"path": str(checkpoint(model_type, "ForTokenClassification")), **options}).load("m")

    return loaded


def examples(
    frame: Callable[..., pl.DataFrame], sentences: list[tuple[list[str], list[str]]] = SENTENCES
) -> pl.DataFrame:
    rows = frame([(" ".join(words), None) for words, _ in sentences], words=[w for w, _ in sentences])
    return rows.with_columns(
        task=pl.lit("token_classification"),
        label=pl.lit(None, pl.String),
        word_labels=pl.Series([tags for _, tags in sentences], dtype=pl.List(pl.String)),
    )


@pytest.mark.parametrize("model_type", FAMILIES)
def test_logits_of_a_word_are_those_of_its_sub_token_whatever_the_batch(
    model_type: str, load: Load, frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = load(model_type)
    assert (loaded.task, loaded.labels) == ("token_classification", TAGS)
    encoded = encode(loaded, examples(frame))
    (logits,) = predict_tokens(loaded, encoded)
    assert logits.shape == (len(encoded.input_ids), 3)
    for index in range(len(encoded)):
        batch = collate(loaded, encoded, np.array([index]), int(encoded.lengths[index]))
        with torch.inference_mode():
            alone = loaded.model(**batch.inputs(loaded)).logits[0].numpy()
        np.testing.assert_allclose(logits[encoded.row(index)], alone, atol=1e-4)


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta", "llama", "xlm"])
def test_gold_lies_on_one_sub_token_of_each_word(
    model_type: str, load: Load, frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = load(model_type)
    data = examples(frame)
    encoded = encode(loaded, data)
    for piece in ("first", "last"):
        gold = tag_targets(encoded, data, TAGS, Inputs(tagged_piece=piece))["labels"]
        for row, (words, tags) in enumerate(SENTENCES):
            own = encoded.word_index[encoded.row(row)]
            assert len(gold[row]) == len(own)
            for word, tag in enumerate(tags):
                places = np.flatnonzero(own == word)
                speaks = int(places[0] if piece == "first" else places[-1])
                assert [gold[row][p] for p in places if p != speaks] == [IGNORED] * (len(places) - 1)
                assert TAGS[gold[row][speaks]] == tag
            assert sum(value != IGNORED for value in gold[row]) == len(words)


def test_words_that_vanish_or_are_cut_off_are_counted(load: Load, frame: Callable[..., pl.DataFrame]) -> None:
    loaded = replace(load("bert"), max_length=10)
    sentences = [(["cat", "\u200b", "und"], ["O"] * 3), (["the"] * 20, ["O"] * 20)]
    encoded = encode(loaded, examples(frame, sentences))
    places = word_places(encoded, "first")
    assert places.status[places.of(0)].tolist() == [TAGGED, DROPPED, TAGGED]
    assert places.position[places.of(0)].tolist() == [1, NONE, 2]
    assert places.status[places.of(1)].tolist() == [TAGGED] * 8 + [TRUNCATED] * 12
    assert places.counts() == {"words": 23, "dropped_words": 1, "truncated_words": 12}
    data = prepare(loaded, OBJECTIVES["token_classification"], examples(frame, sentences), TAGS, Inputs())
    assert data.counts == places.counts()


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_development_score_is_over_all_words_and_entities(
    model_type: str, load: Load, frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = load(model_type)
    data = examples(frame)
    objective = OBJECTIVES["token_classification"]
    prepared = prepare(loaded, objective, data, TAGS, Inputs())
    scorer = TagScorer(encode(loaded, data), data, TAGS, Inputs())
    rows = np.arange(len(data))
    inputs, gold = prepared.batch(loaded, rows)
    exact = torch.nn.functional.one_hot(gold["labels"].clamp(min=0), 3).float()
    real = inputs["attention_mask"].bool().numpy()
    assert scorer.add(rows, SimpleNamespace(logits=exact), gold, real) == 12
    assert scorer.scores() == {"span_f1": 1.0, "token_accuracy": 1.0}
    wrong = exact.roll(1, dims=-1)
    scorer.add(rows, SimpleNamespace(logits=wrong), gold, real)
    assert scorer.scores()["token_accuracy"] == 0.0


def test_unknown_tags_are_refused(load: Load, frame: Callable[..., pl.DataFrame]) -> None:
    loaded = load("bert")
    data = examples(frame, [(["cat"], ["VERB"])])
    with pytest.raises(ModelError, match="Label `VERB` is not one of the labels trained on: B-PER"):
        tag_targets(encode(loaded, data), data, TAGS, Inputs())


def test_labels_are_found_in_words(frame: Callable[..., pl.DataFrame]) -> None:
    assert sorted(gold_labels(examples(frame)["word_labels"])) == sorted(TAGS)
    assert gold_labels(pl.Series(["b", None, "a", "b"])) == ["b", "a"]
