"""Let a text-to-text model translate what it is evaluated on, and store what it writes beside the references."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from xlwh.models.words import segmenter_name
from xlwh.steps.base import Context, Key, StepResult, Stopwatch
from xlwh.steps.evaluation import Corpus
from xlwh.store import Slot, fingerprint, schema

if TYPE_CHECKING:
    from xlwh.models import LoadedModel

CODE_VERSION = "1"
TRANSLATION = "translation"
"""The task, and the name of its head."""
CHECKPOINT = 512
"""Texts between two checkpoints: what a kill can cost, and what is sorted by length together."""


def run(context: Context, key: Key, found: list[Corpus]) -> StepResult:
    """Write the `predictions` of a model that translates, a file per dataset; a killed run goes on where it stopped.

    `predicted` is what the model writes and `label` the reference; the logits are those of the written text's
    sub-tokens.
    """
    model, language = str(key.model), str(key.language)
    pin, options = context.zoo.pin(model), context.study.models[model]
    parameters = {
        "max_length": options.max_length,
        "dtype": options.dtype,
        "attention": options.attention,
        "generation": options.generation.model_dump(mode="json"),
        "segmenter": segmenter_name(language),
    }
    stale = []
    for corpus in found:
        slot = Slot("predictions", (model, language), corpus.dataset)
        inputs = (*pin.identity, corpus.entry.fingerprint)
        current = fingerprint("predictions", CODE_VERSION, parameters, inputs)
        if context.force or not context.warehouse.is_fresh(slot, current):
            stale.append((corpus, slot, current))
    if not stale:
        return StepResult(status="fresh")
    watch, loaded = Stopwatch(), context.zoo.load(model)
    rows, metadata = 0, dict[str, object]()
    for corpus, slot, current in stale:
        examples = corpus.frame.collect()
        with context.warehouse.staging([slot], current) as staging:
            done = staging.done()
            left = examples.filter(~pl.col("example_id").is_in(list(done)))
            for start in range(0, left.height, CHECKPOINT):
                part = left[start : start + CHECKPOINT]
                before = len(done) + start

                def report(
                    finished: int,
                    _: int,
                    corpus: Corpus = corpus,
                    before: int = before,
                    total: int = examples.height,
                ) -> None:
                    context.progress(f"{corpus.dataset}: translations", before + finished, total)

                staging.append({slot: _translated(loaded, context, part, report)})
            written = staging.frames()["predictions"]
            staging.finish(provenance=pin.provenance)
        rows += written.height
        metadata[f"{corpus.dataset}: empty outputs"] = written.filter(predicted="").height
    return StepResult("written", rows, rows, watch.seconds, metadata=metadata)


def _translated(
    loaded: LoadedModel, context: Context, examples: pl.DataFrame, progress: Callable[[int, int], None]
) -> pl.DataFrame:
    """Rows of `predictions`, in the order of the examples."""
    from xlwh.models.tokenize import KEYS, encode
    from xlwh.models.translation import encode_translations, sources, translate, written_logits

    encoded = encode(loaded, sources(examples))
    generation = context.study.models[loaded.key].generation
    written = pl.Series(translate(loaded, encoded, generation, progress=progress), dtype=pl.String)
    logits, probabilities = written_logits(
        loaded, encode_translations(loaded, examples.with_columns(text_pair=written))
    )
    columns = {
        "model": pl.repeat(loaded.key, examples.height, dtype=pl.String, eager=True),
        **{name: examples[name] for name in (*KEYS, "task")},
        "label": examples["text_pair"],
        "predicted": written,
        "logits": logits,
        "probabilities": probabilities,
        "num_tokens": encoded.lengths,
        "num_truncated": encoded.num_truncated,
    }
    return pl.DataFrame(columns, schema=schema("predictions"))
