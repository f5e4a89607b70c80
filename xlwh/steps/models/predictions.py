"""Run a model over the examples it is evaluated on, and store what it says of each: a class, or an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from xlwh.models.words import segmenter_name
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.models.evaluated import CLASSIFICATION, QUESTION_ANSWERING, Corpus, corpora
from xlwh.steps.models.translations import TRANSLATION
from xlwh.steps.models.translations import run as translate
from xlwh.store import Slot, fingerprint, schema

if TYPE_CHECKING:
    from xlwh.models import LoadedModel
    from xlwh.study import Model

CODE_VERSION = "2"

Frames = dict[str, pl.DataFrame]
"""Rows by table."""


@dataclass(frozen=True)
class _Head:
    """What a kind of head is asked: for which tasks, into which tables, and with which further settings."""

    what: str
    tasks: tuple[str, ...]
    tables: tuple[str, ...]
    predict: Callable[[Context, LoadedModel, Corpus], Frames]
    settings: Callable[[Model], dict[str, object]]
    summary: Callable[[Frames], Any]


def run(context: Context, key: Key) -> StepResult:
    """Write `predictions` of one model in one language, a file per dataset; `answer_spans` too where it answers."""
    model, language = str(key.model), str(key.language)
    offered = corpora(context, model, language)
    translated = [corpus for corpus in offered if corpus.task == TRANSLATION]
    if translated and context.zoo.pin(model).task == TRANSLATION:
        return translate(context, key, translated)
    tasks = (*CLASSIFICATION, QUESTION_ANSWERING, None)
    if not any(corpus.task in tasks for corpus in offered):
        return not_applicable(f"`{model}` is evaluated on no classes or questions in `{language}`.")
    pin = context.zoo.pin(model)
    head = HEADS.get(pin.task or "")
    found = [corpus for corpus in offered if head is not None and corpus.task in (*head.tasks, None)]
    if head is None or not found:
        lacking = next(h.what for h in HEADS.values() if any(c.task in (*h.tasks, None) for c in offered))
        return not_applicable(f"`{model}` has no {lacking} head.")
    options = context.study.models[model]
    parameters = {
        "max_length": options.max_length,
        "labels": options.labels,
        "dtype": options.dtype,
        "attention": options.attention,
        "segmenter": segmenter_name(language),
        **head.settings(options),
    }
    stale = []
    for corpus in found:
        slots = {table: Slot(table, (model, language), corpus.dataset) for table in head.tables}
        inputs = (*pin.identity, corpus.entry.fingerprint)
        current = fingerprint("predictions", CODE_VERSION, parameters, inputs)
        if context.force or not all(context.warehouse.is_fresh(slot, current) for slot in slots.values()):
            stale.append((corpus, slots, current))
    if not stale:
        return StepResult(status="fresh")
    watch, loaded = Stopwatch(), context.load(model, "predictions")
    rows, summaries = 0, dict[str, Any]()
    for corpus, slots, current in stale:
        frames = head.predict(context, loaded, corpus)
        context.warehouse.write(
            {slots[table]: frame for table, frame in frames.items()}, current, pin.provenance
        )
        rows += frames["predictions"].height
        summaries[corpus.dataset] = head.summary(frames)
    return StepResult(
        status="written",
        rows=rows,
        examples=rows,
        duration_s=watch.seconds,
        metadata={"accuracy" if head.what == "sequence classification" else "answers": summaries},
    )


def _classes(context: Context, loaded: LoadedModel, corpus: Corpus) -> Frames:
    """Rows of `predictions` of a classifier, in the order of the examples."""
    import numpy as np

    from xlwh.models.labels import require_known
    from xlwh.models.predict import predict, softmax
    from xlwh.models.tokenize import KEYS, encode

    gold = corpus.frame.select(pl.col("label").drop_nulls().unique()).collect()["label"]
    require_known(loaded.key, loaded.labels or (), gold, f"dataset `{corpus.dataset}`")
    labels = np.array(loaded.labels, dtype=object)
    parts, before, total = [], 0, corpus.entry.rows
    for chunk in corpus.chunks():
        encoded = encode(loaded, chunk)

        def report(done: int, _: int, before: int = before) -> None:
            context.progress(f"{corpus.dataset}: predictions", before + done, total)

        logits = predict(loaded, encoded, progress=report)
        before += len(encoded)
        columns = {
            "model": pl.repeat(loaded.key, chunk.height, dtype=pl.String, eager=True),
            **{name: chunk[name] for name in (*KEYS, "task", "label")},
            "predicted": labels[logits.argmax(axis=1)].tolist(),
            "logits": logits.tolist(),
            "probabilities": softmax(logits).tolist(),
            "num_tokens": encoded.lengths,
            "num_truncated": encoded.num_truncated,
        }
        parts.append(pl.DataFrame(columns, schema=schema("predictions")))
    return {"predictions": pl.concat(parts)}


def _accuracy(frames: Frames) -> float | None:
    right = frames["predictions"].select((pl.col("predicted") == pl.col("label")).mean()).item()
    return None if right is None else round(right, 4)


def _answers(context: Context, loaded: LoadedModel, corpus: Corpus) -> Frames:
    """Rows of `predictions` and `answer_spans`, in the order of the examples."""
    import numpy as np

    from xlwh.models.answers import best_answers, window_of, windows
    from xlwh.models.predict import predict_tokens
    from xlwh.models.tokenize import KEYS

    inputs = context.study.models[loaded.key]
    predicted, spans, before, total = [], [], 0, corpus.entry.rows
    for chunk in corpus.chunks():
        cut = windows(loaded, chunk, inputs)

        def report(done: int, of: int, before: int = before, here: int = chunk.height) -> None:
            context.progress(f"{corpus.dataset}: answers", before + done * here // max(1, of), total)

        starts, ends = predict_tokens(loaded, cut, ("start_logits", "end_logits"), progress=report)
        before += chunk.height
        answers = best_answers(cut, chunk["text_pair"].to_list(), starts, ends, inputs.max_answer)
        counts = np.bincount(cut.example, minlength=chunk.height)
        columns = {
            "model": pl.repeat(loaded.key, chunk.height, dtype=pl.String, eager=True),
            **{name: chunk[name] for name in (*KEYS, "task", "label")},
            "predicted": ["" if a is None else a.text for a in answers],
            "logits": [[] if a is None else list(a.logits) for a in answers],
            "probabilities": [[] if a is None else list(a.probabilities) for a in answers],
            "num_tokens": cut.whole.lengths - cut.whole.num_truncated,
            "num_truncated": cut.whole.num_truncated,
        }
        predicted.append(pl.DataFrame(columns, schema=schema("predictions")))
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
        spans.append(pl.DataFrame(rows, schema=schema("answer_spans"), orient="row"))
    return {"predictions": pl.concat(predicted), "answer_spans": pl.concat(spans)}


def _windows_counted(frames: Frames) -> dict[str, object]:
    """How many contexts did not fit, questions that were cut, and questions without any answer."""
    spans, predicted = frames["answer_spans"], frames["predictions"]
    return {
        "questions": predicted.height,
        "without_answer": predicted.height - spans.height,
        "overlong_contexts": spans.filter(pl.col("num_windows") > 1).height,
        "cut_questions": predicted.filter(pl.col("num_truncated") > 0).height,
    }


HEADS: dict[str, _Head] = {
    "sequence_classification": _Head(
        what="sequence classification",
        tasks=CLASSIFICATION,
        tables=("predictions",),
        predict=_classes,
        settings=lambda options: {},
        summary=_accuracy,
    ),
    QUESTION_ANSWERING: _Head(
        what="question answering",
        tasks=(QUESTION_ANSWERING,),
        tables=("predictions", "answer_spans"),
        predict=_answers,
        settings=lambda options: {
            name: getattr(options, name) for name in ("doc_stride", "max_question", "max_answer")
        },
        summary=_windows_counted,
    ),
}
"""Heads whose predictions are one per example, by `models.task`."""
