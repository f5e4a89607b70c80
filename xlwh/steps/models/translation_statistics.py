"""Count what BLEU and chrF are made from, sentence by sentence."""

from __future__ import annotations

import polars as pl

from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.models.evaluated import corpora
from xlwh.steps.models.translations import TRANSLATION
from xlwh.steps.upstream import required
from xlwh.store import Slot, fingerprint, schema

CODE_VERSION = "1"


def run(context: Context, key: Key) -> StepResult:
    """Write `translation_statistics` of one model into one language, a file per dataset."""
    model, language = str(key.model), str(key.language)
    found = [corpus for corpus in corpora(context, model, language) if corpus.task == TRANSLATION]
    if not found:
        return not_applicable(f"`{model}` is evaluated on no translations into `{language}`.")
    if context.zoo.pin(model).task != TRANSLATION:
        return not_applicable(f"`{model}` writes no text.")
    from xlwh.models.translation_statistics import statistics, version

    watch, rows, metadata = Stopwatch(), 0, dict[str, object]()
    for corpus in found:
        outputs = required(context, Slot("predictions", (model, language), corpus.dataset), key)
        slot = Slot("translation_statistics", (model, language), corpus.dataset)
        current = fingerprint(
            "translation_statistics", CODE_VERSION, {"sacrebleu": version()}, [outputs.fingerprint]
        )
        if not context.force and context.warehouse.is_fresh(slot, current):
            continue
        frame = context.warehouse.scan(
            "predictions", model=model, language=language, dataset=corpus.dataset
        ).collect()
        known = frame.filter(pl.col("label").is_not_null())
        types = schema("translation_statistics")
        keys = known.select(name for name in types if name not in ("metric", "signature", "statistics"))
        made = statistics(keys, known["predicted"].to_list(), known["label"].to_list())
        context.warehouse.write(
            {slot: made.select(pl.col(name).cast(dtype) for name, dtype in types.items())}, current
        )
        rows += made.height
        metadata[corpus.dataset] = dict(
            made.select("metric", "signature").unique().sort("metric").iter_rows()
        )
    if not rows and not metadata:
        return StepResult(status="fresh")
    return StepResult("written", rows, rows // 2, watch.seconds, metadata=metadata)
