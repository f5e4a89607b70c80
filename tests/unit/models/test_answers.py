"""Windows over long contexts, gold positions, best spans and the development score, over every family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from xlwh.models import LoadedModel, Zoo
from xlwh.models.answers import (
    NO_ANSWER,
    UNCUT,
    AnswerScorer,
    Windows,
    answer_loss,
    answer_targets,
    answer_words,
    best_answers,
    window_counts,
    window_of,
    windows,
    words_f1,
)
from xlwh.models.batches import collate
from xlwh.models.predict import predict_tokens
from xlwh.models.tokenize import encode
from xlwh.models.training_data import OBJECTIVES, prepare
from xlwh.study.models import Inputs

FAMILIES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
CONTEXT = "The cat doesn't sit on the mat. It's well-known, isn't it? Der Hund schläft auf dem Sofa; die Katze nicht!"
QUESTIONS = [
    ("Where?", CONTEXT, [("mat", CONTEXT.index("mat"))]),
    ("Wer?", CONTEXT, [("Der Hund", CONTEXT.index("Der Hund")), ("Hund", CONTEXT.index("Hund"))]),
    ("谁？", "他说，妈妈，我回来了。", [("妈妈", 3)]),
    ("Who is it that never answers? " * 3, "the cat", []),
]
Load = Callable[..., LoadedModel]


@pytest.fixture
def load(checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]) -> Load:
    def loaded(model_type: str, head: str = "ForQuestionAnswering", **options: object) -> LoadedModel:
        return zoo_of(m={"path": str(checkpoint(model_type, head)), **options}).load("m")

    return loaded


@pytest.fixture
def examples(frame: Callable[..., pl.DataFrame]) -> pl.DataFrame:
    answers = [[{"text": text, "start": start} for text, start in gold] for *_, gold in QUESTIONS]
    rows = frame([(question, context) for question, context, _ in QUESTIONS])
    return rows.with_columns(
        task=pl.lit("question_answering"),
        label=pl.lit(None, pl.String),
        answers=pl.Series(answers, dtype=rows.schema["answers"]),
    )


@pytest.mark.parametrize("model_type", FAMILIES)
def test_windows_cover_the_context_and_keep_the_question(
    model_type: str, load: Load, examples: pl.DataFrame
) -> None:
    loaded = replace(load(model_type), max_length=22)
    inputs = Inputs(doc_stride=6, max_question=8)
    cut = windows(loaded, examples, inputs)
    whole = encode(replace(loaded, max_length=UNCUT), examples)
    assert (cut.lengths <= 22).all()
    assert np.array_equal(cut.whole.input_ids, whole.input_ids)
    assert cut.whole.num_truncated.sum() > 0
    for index in range(len(examples)):
        uncut = whole.row(index)
        seen = set()
        mine = cut.of(index)
        first_question = None
        for window in mine:
            row = cut.row(window)
            positions = cut.position[row]
            assert np.array_equal(cut.input_ids[row], whole.input_ids[uncut][positions])
            assert (np.diff(positions) > 0).all()
            seen |= set(positions.tolist())
            question = positions[cut.segment[row] == 0].tolist()
            assert first_question is None or question == first_question
            first_question = question
        context = np.flatnonzero(whole.segment[uncut] == 1)
        assert set(context.tolist()) <= seen
        for one, other in pairwise(mine):
            assert 1 <= window_of(cut, one)[1] - window_of(cut, other)[0] + 1 <= 6
    assert max(len(cut.of(i)) for i in range(len(examples))) > 1


@pytest.mark.parametrize("model_type", FAMILIES)
def test_gold_positions_cover_the_answer_and_come_back_as_its_text(
    model_type: str, load: Load, examples: pl.DataFrame
) -> None:
    loaded = replace(load(model_type), max_length=60)
    inputs = Inputs(doc_stride=20, max_question=10, max_answer=30)
    cut = windows(loaded, examples, inputs)
    gold = answer_targets(cut, examples, (), inputs)
    logits = np.zeros((2, len(cut.input_ids)), np.float32)
    for window in range(len(cut)):
        start, end = gold["start_positions"][window], gold["end_positions"][window]
        if end != NO_ANSWER:
            logits[0, cut.row(window).start + start] = logits[1, cut.row(window).start + end] = 9
    found = best_answers(cut, examples["text_pair"].to_list(), logits[0], logits[1], inputs.max_answer)
    for (_, context, wanted), answer in zip(QUESTIONS[:3], found, strict=False):
        assert answer is not None
        assert context[answer.char_start : answer.char_end] == answer.text
        # A token can be coarser than the answer, in Chinese above all.
        assert wanted[0][0] in answer.text
        assert answer.char_start <= wanted[0][1]
        if model_type == "bert":
            assert answer.text == wanted[0][0]
        assert answer.logits == (9, 9)
        assert answer.probabilities[0] > 0.9
    counted = window_counts(cut, gold, inputs)
    assert counted["windows"] == len(cut)
    assert counted["windows_without_answer"] == (gold["end_positions"] == NO_ANSWER).sum() >= 1
    assert counted["overlong_contexts"] == sum(len(cut.of(i)) > 1 for i in range(len(examples)))


def test_a_share_of_the_windows_without_the_answer_is_trained_on(load: Load, examples: pl.DataFrame) -> None:
    loaded = replace(load("bert"), max_length=48)
    objective = OBJECTIVES["question_answering"]
    inputs = Inputs(doc_stride=8, max_question=10)
    whole = prepare(loaded, objective, examples, (), inputs)
    ends = whole.gold["end_positions"]
    assert isinstance(ends, np.ndarray)
    empty = np.flatnonzero(ends == NO_ANSWER)
    assert len(empty) >= 3
    assert whole.counts["inputs_left_out"] == 0
    for share, chosen in ((0.0, empty[:0]), (0.5, empty[1::2]), (1.0, empty)):
        some = prepare(loaded, objective, examples, (), inputs.model_copy(update={"empty_windows": share}))
        kept = np.union1d(np.flatnonzero(ends != NO_ANSWER), chosen)
        assert some.counts["inputs_left_out"] == len(whole) - len(kept)
        assert some.counts["windows"] == len(whole)
        one, other = (
            data.batch(loaded, rows) for data, rows in ((some, np.arange(len(some))), (whole, kept))
        )
        for given, wanted in zip(one, other, strict=True):
            assert given.keys() == wanted.keys()
            assert all(torch.equal(given[name], wanted[name]) for name in given)
        assert some.encoded.keys.equals(whole.encoded.keys[kept.tolist()])


@pytest.mark.parametrize("model_type", FAMILIES)
def test_logits_are_the_models_own_and_trainable_whatever_the_padding(
    model_type: str, load: Load, examples: pl.DataFrame
) -> None:
    loaded = replace(load(model_type), max_length=48)
    inputs = Inputs(doc_stride=8, max_question=10)
    cut = windows(loaded, examples, inputs)
    starts, ends = predict_tokens(loaded, cut, ("start_logits", "end_logits"))
    assert starts.shape == ends.shape == cut.input_ids.shape
    for window in (0, len(cut) - 1):
        batch = collate(loaded, cut, np.array([window]), int(cut.lengths[window]))
        with torch.inference_mode():
            alone = loaded.model(**batch.inputs(loaded))
        np.testing.assert_allclose(starts[cut.row(window)], alone.start_logits[0].numpy(), atol=1e-4)
    # The loss of a batch is the mean of the windows' own losses, so gold moves with the padding.
    data = prepare(loaded, OBJECTIVES["question_answering"], examples, (), inputs)
    losses = []
    for rows in (np.arange(len(data)), *(np.array([i]) for i in range(len(data)))):
        model_inputs, gold = data.batch(loaded, rows)
        with torch.inference_mode():
            output = loaded.model(**model_inputs)
            losses.append(float(answer_loss(output, gold, model_inputs["attention_mask"])))
    assert losses[0] == pytest.approx(np.mean(losses[1:]), abs=1e-3)


def test_the_best_span_is_the_best_of_all(load: Load, examples: pl.DataFrame) -> None:
    loaded = replace(load("bert"), max_length=48)
    cut = windows(loaded, examples, Inputs(doc_stride=8, max_question=10))
    logits = np.random.default_rng(0).normal(size=(2, len(cut.input_ids))).astype(np.float32)
    for longest in (1, 5, 200):
        found = best_answers(cut, examples["text_pair"].to_list(), logits[0], logits[1], longest)
        for index, answer in enumerate(found):
            best = -np.inf
            for window in cut.of(index):
                row = cut.row(window)
                inside = np.flatnonzero(cut.segment[row] == 1)
                for a in inside:
                    for b in inside[(inside >= a) & (inside < a + longest)]:
                        best = max(best, logits[0][row][a] + logits[1][row][b])
            assert answer is not None
            assert sum(answer.logits) == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_development_score_is_the_f1_of_the_closest_answer(
    model_type: str, load: Load, examples: pl.DataFrame
) -> None:
    loaded = replace(load(model_type), max_length=56)
    inputs = Inputs(doc_stride=8, max_question=10)
    objective = OBJECTIVES["question_answering"]
    data = prepare(loaded, objective, examples[:3], (), inputs)
    cut = windows(loaded, examples[:3], inputs)
    scorer = AnswerScorer(cut, examples[:3], (), inputs)
    assert scorer.scores() == {"f1": 0.0, "exact_match": 0.0}
    for rows in np.array_split(np.arange(len(data)), 2):
        model_inputs, gold = data.batch(loaded, rows)
        length = model_inputs["input_ids"].shape[1]
        # Sure of the gold answer, and of nothing in windows without it.
        sure = [torch.nn.functional.one_hot(gold[n], length).float() * 9 for n in gold]
        output = SimpleNamespace(start_logits=sure[0], end_logits=sure[1])
        real = model_inputs["attention_mask"].bool().numpy()
        assert scorer.add(rows, output, gold, real) == len(rows)
    # One piece of this byte-level vocabulary is longer than the Chinese answer.
    assert scorer.scores()["f1"] == (1.0 if model_type == "bert" else pytest.approx((2 + 4 / 7) / 3))
    assert scorer.scores()["exact_match"] == (1.0 if model_type == "bert" else pytest.approx(2 / 3))


def test_questions_without_a_context_have_no_answer(load: Load, examples: pl.DataFrame) -> None:
    loaded = load("bert")
    empty = examples[:1].with_columns(
        text_pair=pl.lit("\u200b"), answers=pl.lit([], examples.schema["answers"])
    )
    cut = windows(loaded, empty, Inputs())
    assert isinstance(cut, Windows)
    assert len(cut) == 1
    logits = np.zeros(len(cut.input_ids), np.float32)
    assert best_answers(cut, ["\u200b"], logits, logits, 30) == [None]
    assert len(windows(loaded, examples[:0], Inputs())) == 0


def test_words_of_answers() -> None:
    assert answer_words("The U.S. — a country!", "en") == ["us", "country"]
    assert answer_words("Der Hund", "de-AT") == ["hund"]
    assert answer_words("القاهرة", "ar") == ["قاهرة"]
    assert answer_words("北京 2008年", "zh") == ["北", "京", "2008", "年"]
    assert words_f1(["a", "b", "b"], ["b", "b", "c"]) == pytest.approx(2 * 2 / 6)
    assert (words_f1([], []), words_f1([], ["a"])) == (1.0, 0.0)
