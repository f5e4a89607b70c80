"""What a model says of examples, as rows: `predictions`, the tables beside it, and `token_predictions`.

A kind of head is asked about whole examples (`HEADS`), or about their words (`tags`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from pydantic import Field

from xlwh.models.answers import best_answers, window_of, windows
from xlwh.models.predict import predict, predict_tokens, softmax
from xlwh.models.tagging import TAGGED, word_places
from xlwh.models.tokenize import encode
from xlwh.models.translation import encode_translations, sources, translate, written_logits
from xlwh.store import schema
from xlwh.study import Generation
from xlwh.study.models import Inputs

if TYPE_CHECKING:
    from xlwh.models.loaded import LoadedModel

Rows = Mapping[str, pl.DataFrame]
"""Rows by table."""
Progress = Callable[[int, int], None]
"""Called with (inputs done, inputs)."""


class Options(Inputs):
    """Options of a model that what it says depends on, beside those it is loaded with."""

    generation: Generation = Field(default_factory=Generation)


@dataclass(frozen=True)
class Head:
    """A kind of head whose predictions are one per example."""

    tasks: tuple[str, ...]
    """`examples.task` of what it is asked."""
    options: tuple[str, ...]
    """Options of the study's models that its rows depend on."""
    rows: Callable[[LoadedModel, pl.DataFrame, Options, Progress], Rows]
    """Rows of its tables about some examples."""
    summary: Callable[[Mapping[str, pl.LazyFrame]], Any]
    """What is to be said of all its rows."""
    beside: tuple[str, ...] = ()
    """Tables beside `predictions`."""
    at_once: int = 10_000
    """Examples asked about at a time, sorted by length together."""


def classes(loaded: LoadedModel, examples: pl.DataFrame, options: Options, progress: Progress) -> Rows:
    """Rows of `predictions` of a classifier."""
    encoded = encode(loaded, examples)
    logits = predict(loaded, encoded, progress=progress)
    said = {
        "predicted": _named(loaded, logits.argmax(axis=1).tolist()),
        "logits": logits.tolist(),
        "probabilities": softmax(logits).tolist(),
        "num_tokens": encoded.lengths,
        "num_truncated": encoded.num_truncated,
    }
    return {"predictions": _rows("predictions", loaded, examples, said)}


def answers(loaded: LoadedModel, examples: pl.DataFrame, options: Options, progress: Progress) -> Rows:
    """Rows of `predictions` and of `answer_spans`; none of the latter where a context has no sub-token."""
    cut = windows(loaded, examples, options)
    starts, ends = predict_tokens(loaded, cut, ("start_logits", "end_logits"), progress=progress)
    found = best_answers(cut, examples["text_pair"].to_list(), starts, ends, options.max_answer)
    said = {
        "predicted": ["" if answer is None else answer.text for answer in found],
        "logits": [[] if answer is None else list(answer.logits) for answer in found],
        "probabilities": [[] if answer is None else list(answer.probabilities) for answer in found],
        "num_tokens": cut.whole.lengths - cut.whole.num_truncated,
        "num_truncated": cut.whole.num_truncated,
    }
    spans = []
    for index, answer in enumerate(found):
        if answer is None:
            continue
        positions, own = cut.position[cut.row(answer.window)], cut.of(index)
        first, last = window_of(cut, answer.window)
        spans.append(
            {
                "num_windows": len(own),
                "window": answer.window - own.start,
                "window_start": first,
                "window_end": last,
                "start_position": int(positions[answer.start]),
                "end_position": int(positions[answer.end]),
                "segment": 1,
                "char_start": answer.char_start,
                "char_end": answer.char_end,
                "start_logit": answer.logits[0],
                "end_logit": answer.logits[1],
            }
        )
    answered = examples.filter(pl.Series([answer is not None for answer in found]))
    return {
        "predictions": _rows("predictions", loaded, examples, said),
        "answer_spans": _rows("answer_spans", loaded, answered, spans),
    }


def translations(loaded: LoadedModel, examples: pl.DataFrame, options: Options, progress: Progress) -> Rows:
    """Rows of `predictions` and of `translations`.

    `predicted` is what the model writes and `label` the reference; the logits are those of the written text's
    sub-tokens.
    """
    encoded, generation = encode(loaded, sources(examples)), options.generation
    outputs = translate(loaded, encoded, generation, progress=progress)
    texts = pl.Series([output.text for output in outputs], dtype=pl.String)
    logits, probabilities = written_logits(
        loaded, encode_translations(loaded, examples.with_columns(text_pair=texts))
    )
    said = {
        "predicted": texts,
        "logits": logits,
        "probabilities": probabilities,
        "num_tokens": encoded.lengths,
        "num_truncated": encoded.num_truncated,
    }
    written = {
        "num_written": [output.num_tokens for output in outputs],
        "max_tokens": [generation.max_tokens] * len(outputs),
        "is_cut": [output.is_cut for output in outputs],
    }
    referred = examples.with_columns(label=pl.col("text_pair"))
    return {
        "predictions": _rows("predictions", loaded, referred, said),
        "translations": _rows("translations", loaded, examples, written),
    }


def tags(loaded: LoadedModel, examples: pl.DataFrame, piece: str, progress: Progress) -> pl.DataFrame:
    """Rows of `token_predictions`, in the order of the examples and their words.

    `piece` is the sub-token that speaks for a word, `first` or `last`. A word that the tokenizer drops or that is cut
    off has a row that says so, without a prediction.
    """
    encoded = encode(loaded, examples)
    places = word_places(encoded, piece)
    (logits,) = predict_tokens(loaded, encoded, progress=progress)
    sizes = np.diff(places.bounds)
    example = np.repeat(np.arange(len(encoded)), sizes)
    tagged = places.status == TAGGED
    chosen = logits[encoded.bounds[:-1][example[tagged]] + places.position[tagged]]

    def said(values: Sequence[Any]) -> list[Any]:
        following = iter(values)
        return [next(following) if is_tagged else None for is_tagged in tagged]

    words = [word for occurrences in encoded.occurrences for word in occurrences]
    columns = {
        "word_index": np.arange(len(example)) - np.repeat(places.bounds[:-1], sizes),
        "word": [place.word for place in words],
        "segment": [place.segment for place in words],
        "char_start": [place.start for place in words],
        "char_end": [place.end for place in words],
        "status": places.status.tolist(),
        "position": said(places.position[tagged].tolist()),
        "label": _gold_tags(examples),
        "predicted": said(_named(loaded, chosen.argmax(axis=1).tolist())),
        "logits": said(chosen.tolist()),
        "probabilities": said(softmax(chosen).tolist()),
    }
    return _rows("token_predictions", loaded, encoded.keys[example], columns)


def _gold_tags(examples: pl.DataFrame) -> list[str | None]:
    """The gold tag of every word; None for all words of an example without tags."""
    gold: list[str | None] = []
    for words, known in examples.select("words", "word_labels").iter_rows():
        gold += [None] * len(words) if known is None else known
    return gold


def _named(loaded: LoadedModel, indices: Sequence[int]) -> list[str]:
    labels = loaded.labels or ()
    return [labels[index] for index in indices]


def _rows(table: str, loaded: LoadedModel, examples: pl.DataFrame, said: Any) -> pl.DataFrame:
    """Rows of a table: the model, the columns that examples have too, and what is said of each."""
    types = schema(table)
    known = examples.select(pl.lit(loaded.key).alias("model"), *(x for x in types if x in examples.columns))
    own = {name: dtype for name, dtype in types.items() if name not in known.columns}
    return known.hstack(pl.DataFrame(said, schema=own)).select(*types)


def _accuracy(rows: Mapping[str, pl.LazyFrame]) -> float | None:
    right = rows["predictions"].select((pl.col("predicted") == pl.col("label")).mean()).collect().item()
    return None if right is None else round(right, 4)


def _answered(rows: Mapping[str, pl.LazyFrame]) -> dict[str, object]:
    """How many contexts did not fit, questions that were cut, and questions without any answer."""
    spans, predicted = rows["answer_spans"].collect(), rows["predictions"].collect()
    return {
        "questions": predicted.height,
        "without_answer": predicted.height - spans.height,
        "overlong_contexts": spans.filter(pl.col("num_windows") > 1).height,
        "cut_questions": predicted.filter(pl.col("num_truncated") > 0).height,
    }


def _written(rows: Mapping[str, pl.LazyFrame]) -> dict[str, object]:
    return {
        "empty outputs": rows["predictions"].filter(predicted="").collect().height,
        "outputs cut at max_tokens": rows["translations"].filter("is_cut").collect().height,
    }


def tagged(rows: pl.LazyFrame) -> dict[str, object]:
    """Words of `token_predictions`, what became of them, and their accuracy."""
    frame = rows.collect()
    known = frame.filter(pl.col("label").is_not_null())
    right = known.select((pl.col("predicted") == pl.col("label")).fill_null(value=False).mean()).item()
    return {
        "words": frame.height,
        **dict(frame.group_by("status").len().sort("status").iter_rows()),
        "token_accuracy": None if right is None else round(right, 4),
    }


HEADS: dict[str, Head] = {
    "sequence_classification": Head(
        ("sequence_classification", "sentence_pair"), ("labels",), classes, _accuracy
    ),
    "question_answering": Head(
        ("question_answering",),
        ("labels", "doc_stride", "max_question", "max_answer"),
        answers,
        _answered,
        beside=("answer_spans",),
    ),
    "translation": Head(
        ("translation",),
        ("generation",),
        translations,
        _written,
        beside=("translations",),
        # What a kill can cost: writing takes long.
        at_once=512,
    ),
}
"""Heads whose predictions are one per example, by `models.task`."""
