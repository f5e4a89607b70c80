"""Run a model over the examples it is evaluated on, and store what it says of each: a class, an answer, a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from xlwh.models.words import segmenter_name
from xlwh.steps.job import Frames, Job, Stored, options, options_of
from xlwh.steps.models.evaluated import CHUNK, CLASSIFICATION, QUESTION_ANSWERING, TRANSLATION, evaluated
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot, schema
from xlwh.study import Generation, Inputs

if TYPE_CHECKING:
    from xlwh.models import LoadedModel

TEXTS_AT_ONCE = 512
"""Texts written between two checkpoints: what a kill can cost, and what is sorted by length together."""


@dataclass(frozen=True)
class _Head:
    """What a kind of head is asked: for which tasks, into which tables, under which options of the model."""

    what: str
    tasks: tuple[str, ...]
    tables: tuple[str, ...]
    options: tuple[str, ...]
    predict: Callable[[Work, LoadedModel, Job, pl.DataFrame], Iterator[Frames]]
    summary: Callable[[Stored], Any]


@dataclass(frozen=True)
class _Params:
    head: str
    segmenter: str


class _Predictions(Pieced):
    version = "3"
    libraries = ("torch", "transformers", "tokenizers")
    at_once = CHUNK

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset."""
        model, language = partition.model, partition.language
        offered = [
            corpus
            for corpus in evaluated(partition)
            if corpus.task is None or any(corpus.task in head.tasks for head in HEADS.values())
        ]
        if not offered:
            raise NotApplicable(
                f"`{model}` is evaluated on no classes, questions or translations in `{language}`."
            )
        head = HEADS.get(partition.pin(model).task or "")
        found = [corpus for corpus in offered if head is not None and corpus.task in (*head.tasks, None)]
        if head is None or not found:
            lacking = next(h.what for h in HEADS.values() if any(c.task in (*h.tasks, None) for c in offered))
            raise NotApplicable(f"`{model}` has no {lacking} head.")
        use = partition.use(model, "max_length", "dtype", "attention", *head.options)
        for corpus in found:
            yield Job(
                {table: Slot(table, (model, language), corpus.dataset) for table in head.tables},
                _Params(str(use.pin.task), segmenter_name(language)),
                (corpus.entry,),
                use,
                name=corpus.dataset,
                together=f"{corpus.dataset}: predictions",
            )

    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """The examples."""
        return work.scan(jobs[0], "examples").select("example_id").collect()

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """What the head says of some examples."""
        (job,) = jobs
        loaded = work.load(job, "predictions")
        examples = work.pieces_of(job, "examples", pieces)
        for frames in HEADS[job.params.head].predict(work, loaded, job, examples):
            yield [frames]

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """Accuracy, or what became of questions and translations."""
        return {job.name: HEADS[job.params.head].summary(rows)}


STEP = _Predictions()


def _classes(work: Work, loaded: LoadedModel, job: Job, examples: pl.DataFrame) -> Iterator[Frames]:
    """Rows of `predictions` of a classifier."""
    import numpy as np

    from xlwh.models.labels import require_known
    from xlwh.models.predict import predict, softmax
    from xlwh.models.tokenize import encode

    # Of the whole dataset: some examples may have few of the labels.
    gold = work.scan(job, "examples").select(pl.col("label").drop_nulls().unique()).collect()["label"]
    require_known(loaded.key, loaded.labels or (), gold, f"dataset `{job.name}`")
    labels = np.array(loaded.labels, dtype=object)
    encoded = encode(loaded, examples)
    logits = predict(loaded, encoded, progress=work.within)
    columns = {
        **_keys(loaded, examples),
        "predicted": labels[logits.argmax(axis=1)].tolist(),
        "logits": logits.tolist(),
        "probabilities": softmax(logits).tolist(),
        "num_tokens": encoded.lengths,
        "num_truncated": encoded.num_truncated,
    }
    yield {"predictions": pl.DataFrame(columns, schema=schema("predictions"))}


def _accuracy(rows: Stored) -> float | None:
    right = rows["predictions"].select((pl.col("predicted") == pl.col("label")).mean()).collect().item()
    return None if right is None else round(right, 4)


def _answers(work: Work, loaded: LoadedModel, job: Job, examples: pl.DataFrame) -> Iterator[Frames]:
    """Rows of `predictions` and `answer_spans`."""
    import numpy as np

    from xlwh.models.answers import best_answers, window_of, windows
    from xlwh.models.predict import predict_tokens
    from xlwh.models.tokenize import KEYS

    inputs = options_of(job, Inputs)
    cut = windows(loaded, examples, inputs)
    starts, ends = predict_tokens(loaded, cut, ("start_logits", "end_logits"), progress=work.within)
    answers = best_answers(cut, examples["text_pair"].to_list(), starts, ends, inputs.max_answer)
    counts = np.bincount(cut.example, minlength=examples.height)
    columns = {
        **_keys(loaded, examples),
        "predicted": ["" if a is None else a.text for a in answers],
        "logits": [[] if a is None else list(a.logits) for a in answers],
        "probabilities": [[] if a is None else list(a.probabilities) for a in answers],
        "num_tokens": cut.whole.lengths - cut.whole.num_truncated,
        "num_truncated": cut.whole.num_truncated,
    }
    rows = []
    for index, answer in enumerate(answers):
        if answer is None:
            continue
        positions = cut.position[cut.row(answer.window)]
        first, last = window_of(cut, answer.window)
        rows.append(
            {
                "model": loaded.key,
                **dict(zip(KEYS, cut.whole.keys.row(index), strict=True)),
                "num_windows": int(counts[index]),
                "window": answer.window - cut.of(index).start,
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
    yield {
        "predictions": pl.DataFrame(columns, schema=schema("predictions")),
        "answer_spans": pl.DataFrame(rows, schema=schema("answer_spans"), orient="row"),
    }


def _windows_counted(rows: Stored) -> dict[str, object]:
    """How many contexts did not fit, questions that were cut, and questions without any answer."""
    spans, predicted = rows["answer_spans"].collect(), rows["predictions"].collect()
    return {
        "questions": predicted.height,
        "without_answer": predicted.height - spans.height,
        "overlong_contexts": spans.filter(pl.col("num_windows") > 1).height,
        "cut_questions": predicted.filter(pl.col("num_truncated") > 0).height,
    }


def _written(work: Work, loaded: LoadedModel, job: Job, examples: pl.DataFrame) -> Iterator[Frames]:
    """Rows of `predictions` and `translations`, some texts at a time."""
    from xlwh.steps.models.translations import written

    generation = Generation.model_validate(options(job)["generation"])
    for start in range(0, examples.height, TEXTS_AT_ONCE):
        part = examples[start : start + TEXTS_AT_ONCE]
        yield written(loaded, part, generation, partial(_further, work, start, examples.height))


def _further(work: Work, before: int, of: int, done: int, _: int) -> None:
    work.within(before + done, of)


def _translations_counted(rows: Stored) -> dict[str, object]:
    return {
        "empty outputs": rows["predictions"].filter(predicted="").collect().height,
        "outputs cut at max_tokens": rows["translations"].filter("is_cut").collect().height,
    }


def _keys(loaded: LoadedModel, examples: pl.DataFrame) -> dict[str, pl.Series]:
    """The columns that say what a prediction is of."""
    from xlwh.models.tokenize import KEYS

    model = pl.repeat(loaded.key, examples.height, dtype=pl.String, eager=True)
    return {"model": model, **{name: examples[name] for name in (*KEYS, "task", "label")}}


HEADS: dict[str, _Head] = {
    "sequence_classification": _Head(
        what="sequence classification",
        tasks=CLASSIFICATION,
        tables=("predictions",),
        options=("labels",),
        predict=_classes,
        summary=_accuracy,
    ),
    QUESTION_ANSWERING: _Head(
        what="question answering",
        tasks=(QUESTION_ANSWERING,),
        tables=("predictions", "answer_spans"),
        options=("labels", "doc_stride", "max_question", "max_answer"),
        predict=_answers,
        summary=_windows_counted,
    ),
    TRANSLATION: _Head(
        what="translation",
        tasks=(TRANSLATION,),
        tables=("predictions", "translations"),
        options=("generation",),
        predict=_written,
        summary=_translations_counted,
    ),
}
"""Heads whose predictions are one per example, by `models.task`."""
