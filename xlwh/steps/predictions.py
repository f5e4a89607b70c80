"""Run a classifier over what it is evaluated on, and store its logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from xlwh.errors import ModelError
from xlwh.models.words import segmenter_name
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.evaluation import CLASSIFICATION, Corpus, corpora
from xlwh.store import Slot, fingerprint, schema

if TYPE_CHECKING:
    from xlwh.models import LoadedModel

CODE_VERSION = "1"


def run(context: Context, key: Key) -> StepResult:
    """Write `predictions` of one model in one language, a file per dataset."""
    model, language = str(key.model), str(key.language)
    found = [corpus for corpus in corpora(context, model, language) if corpus.task in (*CLASSIFICATION, None)]
    if not found:
        return not_applicable(f"`{model}` is evaluated on no classification dataset in `{language}`.")
    pin = context.zoo.pin(model)
    if pin.task != "sequence_classification":
        return not_applicable(f"`{model}` has no sequence classification head.")
    options = context.study.models[model]
    parameters = {
        "max_length": options.max_length,
        "labels": options.labels,
        "dtype": options.dtype,
        "attention": options.attention,
        "segmenter": segmenter_name(language),
    }
    stale = []
    for corpus in found:
        slot = Slot("predictions", (model, language), corpus.dataset)
        current = fingerprint(
            "predictions", CODE_VERSION, parameters, (*pin.identity, corpus.entry.fingerprint)
        )
        if context.force or not context.warehouse.is_fresh(slot, current):
            stale.append((corpus, slot, current))
    if not stale:
        return StepResult(status="fresh")
    watch, loaded = Stopwatch(), context.zoo.load(model)
    rows, accuracy = 0, dict[str, float]()
    for corpus, slot, current in stale:
        frame = _predicted(context, loaded, corpus)
        context.warehouse.write({slot: frame}, current, pin.provenance)
        rows += frame.height
        right = frame.select((pl.col("predicted") == pl.col("label")).mean()).item()
        if right is not None:
            accuracy[corpus.dataset] = round(right, 4)
    return StepResult(
        status="written",
        rows=rows,
        examples=rows,
        duration_s=watch.seconds,
        metadata={"accuracy": accuracy},
    )


def _predicted(context: Context, loaded: LoadedModel, corpus: Corpus) -> pl.DataFrame:
    """Rows of `predictions`, in the order of the examples."""
    import numpy as np

    from xlwh.models.predict import predict, softmax
    from xlwh.models.tokenize import KEYS, encode

    labels = np.array(loaded.labels, dtype=object)
    parts, before, total = [], 0, corpus.entry.rows
    for chunk in corpus.chunks():
        _same_labels(loaded, corpus, chunk)
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
    return pl.concat(parts)


def _same_labels(loaded: LoadedModel, corpus: Corpus, chunk: pl.DataFrame) -> None:
    """ModelError if the dataset has labels that the model does not know."""
    gold = set(chunk["label"].drop_nulls().unique())
    if not gold <= set(loaded.labels or ()):
        raise ModelError(
            f"Model `{loaded.key}` has the labels {', '.join(loaded.labels or ())}; dataset `{corpus.dataset}` "
            f"has {', '.join(sorted(gold))}. Name the model's classes, in the order of its logits, as the "
            f"dataset names them: `labels = [...]` under `[models.{loaded.key}]`."
        )
