"""Let a text-to-text model translate what it is evaluated on, and store what it writes beside the references."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from xlwh.models.words import segmenter_name
from xlwh.steps.base import Context, Key, StepResult, Stopwatch
from xlwh.steps.models.evaluated import Corpus
from xlwh.store import Slot, fingerprint, schema

if TYPE_CHECKING:
    from xlwh.models import LoadedModel

CODE_VERSION = "2"
TRANSLATION = "translation"
"""The task, and the name of its head."""
TABLES = ("predictions", "translations")
"""What is written of each text."""
CHECKPOINT = 512
"""Texts between two checkpoints: what a kill can cost, and what is sorted by length together."""


def run(context: Context, key: Key, found: list[Corpus]) -> StepResult:
    """Write the `predictions` and `translations` of a model, a file per dataset; a killed run goes on where it stopped.

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
        slots = {table: Slot(table, (model, language), corpus.dataset) for table in TABLES}
        inputs = (*pin.identity, corpus.entry.fingerprint)
        current = fingerprint("predictions", CODE_VERSION, parameters, inputs)
        if context.force or not all(context.warehouse.is_fresh(slot, current) for slot in slots.values()):
            stale.append((corpus, slots, current))
    if not stale:
        return StepResult(status="fresh")
    watch, loaded = Stopwatch(), context.load(model, "predictions")
    rows, metadata = 0, dict[str, object]()
    for corpus, slots, current in stale:
        examples = corpus.frame.collect()
        with context.warehouse.staging(list(slots.values()), current) as staging:
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

                frames = _translated(loaded, context, part, report)
                staging.append({slots[table]: frame for table, frame in frames.items()})
            written = staging.frames()
            staging.finish(provenance=pin.provenance)
        rows += written["predictions"].height
        metadata[f"{corpus.dataset}: empty outputs"] = written["predictions"].filter(predicted="").height
        metadata[f"{corpus.dataset}: outputs cut at max_tokens"] = (
            written["translations"].filter("is_cut").height
        )
    return StepResult("written", rows, rows, watch.seconds, metadata=metadata)


def _translated(
    loaded: LoadedModel, context: Context, examples: pl.DataFrame, progress: Callable[[int, int], None]
) -> dict[str, pl.DataFrame]:
    """Rows of `predictions` and of `translations`, in the order of the examples."""
    from xlwh.models.tokenize import KEYS, encode
    from xlwh.models.translation import encode_translations, sources, translate, written_logits

    encoded = encode(loaded, sources(examples))
    generation = context.study.models[loaded.key].generation
    outputs = translate(loaded, encoded, generation, progress=progress)
    written = pl.Series([output.text for output in outputs], dtype=pl.String)
    logits, probabilities = written_logits(
        loaded, encode_translations(loaded, examples.with_columns(text_pair=written))
    )
    keys = {
        "model": pl.repeat(loaded.key, examples.height, dtype=pl.String, eager=True),
        **{name: examples[name] for name in KEYS},
    }
    predictions = {
        **keys,
        "task": examples["task"],
        "label": examples["text_pair"],
        "predicted": written,
        "logits": logits,
        "probabilities": probabilities,
        "num_tokens": encoded.lengths,
        "num_truncated": encoded.num_truncated,
    }
    translations = {
        **keys,
        "num_written": [output.num_tokens for output in outputs],
        "max_tokens": pl.repeat(generation.max_tokens, examples.height, dtype=pl.Int32, eager=True),
        "is_cut": [output.is_cut for output in outputs],
    }
    return {
        "predictions": pl.DataFrame(predictions, schema=schema("predictions")),
        "translations": pl.DataFrame(translations, schema=schema("translations")),
    }
