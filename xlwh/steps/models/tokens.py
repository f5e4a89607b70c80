"""Tokenize what a model is evaluated on: sub-tokens, their words, and what was cut off.

Of questions and contexts all sub-tokens are stored, however long: a model sees them in windows, and positions of
answers and attributions count in the uncut input.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from xlwh.models.words import segmenter_name
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.models.evaluated import CLASSIFICATION, QUESTION_ANSWERING, TAGGING, corpora
from xlwh.steps.models.translations import TRANSLATION
from xlwh.store import Slot, fingerprint

CODE_VERSION = "1"


def run(context: Context, key: Key) -> StepResult:
    """Write `tokens` of one model in one language, a file per dataset."""
    model, language = str(key.model), str(key.language)
    applicable: tuple[str | None, ...] = (*CLASSIFICATION, TAGGING, QUESTION_ANSWERING, None)
    offered = corpora(context, model, language)
    if any(corpus.task == TRANSLATION for corpus in offered) and context.zoo.pin(model).task == TRANSLATION:
        applicable = (*applicable, TRANSLATION)
    found = [corpus for corpus in offered if corpus.task in applicable]
    if not found:
        return not_applicable(f"`{model}` is evaluated on nothing that is tokenized here in `{language}`.")
    pin = context.zoo.pin(model)
    parameters = {
        "max_length": context.study.models[model].max_length,
        "segmenter": segmenter_name(language),
    }
    stale = []
    for corpus in found:
        slot = Slot("tokens", (model, language), corpus.dataset)
        inputs = (*pin.token_identity, corpus.entry.fingerprint)
        current = fingerprint("tokens", CODE_VERSION, parameters, inputs)
        if context.force or not context.warehouse.is_fresh(slot, current):
            stale.append((corpus, slot, current))
    if not stale:
        return StepResult(status="fresh")

    from xlwh.models.answers import UNCUT
    from xlwh.models.tokenize import encode, tokens_frame
    from xlwh.models.translation import sources

    watch, loaded = Stopwatch(), context.load(model, "tokens")
    rows = examples = truncated = cut = 0
    for corpus, slot, current in stale:
        parts = []
        total = corpus.entry.rows
        for chunk in corpus.chunks():
            uncut = corpus.task == QUESTION_ANSWERING
            # What is written has no place in the input.
            chunk = sources(chunk) if corpus.task == TRANSLATION else chunk
            encoded = encode(replace(loaded, max_length=UNCUT) if uncut else loaded, chunk)
            parts.append(tokens_frame(loaded, encoded))
            examples += len(encoded)
            truncated += int((encoded.num_truncated > 0).sum())
            cut += int(encoded.num_truncated.sum())
            context.progress(f"{corpus.dataset}: tokens", min(examples, total), total)
        frame = pl.concat(parts)
        context.warehouse.write({slot: frame}, current, pin.provenance)
        rows += frame.height
    return StepResult(
        status="written",
        rows=rows,
        examples=examples,
        duration_s=watch.seconds,
        metadata={"truncated_examples": truncated, "truncated_tokens": cut},
    )
