"""Store what every head attends to on a few short examples, the same ones in every language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from xlwh.corpora import sample
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.corpora.parallelism import refuse_differing
from xlwh.steps.heads.game import fitting, head_settings, input_parameters, valued_examples
from xlwh.steps.models.evaluated import Corpus
from xlwh.steps.models.selftests import load
from xlwh.steps.upstream import identity
from xlwh.store import Slot, fingerprint, schema
from xlwh.study import Heads

if TYPE_CHECKING:
    from xlwh.models import LoadedModel

CODE_VERSION = "1"
MAX_CHARACTERS = 100
"""Of an example, both texts together, in any language: a picture of more tokens cannot be read.

It bounds the size: a model of 72 heads takes at most 4.3 MB a language for 3 examples (100 x 100 half-precision
numbers a head, in scripts of one token a character), and usually some 0.3 MB.
"""


def run(context: Context, key: Key) -> StepResult:
    """Write `attention_maps` of one model in one language, a file per dataset."""
    model, language = str(key.model), str(key.language)
    heads = head_settings(context, model)
    if isinstance(heads, StepResult):
        return heads
    if not heads.attention_examples:
        return not_applicable("The study shows no examples' attention.")
    found = fitting(context, model, language)
    datasets = [dataset for dataset in heads.datasets if dataset in found]
    if not datasets:
        return not_applicable(f"`{model}` has no dataset that heads are valued on in `{language}`.")
    pin, stale = context.zoo.pin(model), []
    for dataset in datasets:
        parallel = _in_all_languages(context, model, dataset)
        refuse_differing(context, dataset, [corpus.language for corpus in parallel])
        slot = Slot("attention_maps", (model, language), dataset)
        parameters = {
            **input_parameters(context, model),
            "max_examples": heads.max_examples,
            "attention_examples": heads.attention_examples,
        }
        inputs = (*pin.identity, *(identity(corpus.entry) for corpus in parallel))
        current = fingerprint("attention_maps", CODE_VERSION, parameters, inputs)
        if context.force or not context.warehouse.is_fresh(slot, current):
            stale.append((found[dataset], parallel, slot, current))
    if not stale:
        return StepResult(status="fresh")
    watch, loaded = Stopwatch(), load(context, model, "attention_weights")
    rows = examples = 0
    for number, (own, parallel, slot, current) in enumerate(stale):
        context.progress(f"{own.dataset}: attention", number, len(stale))
        chosen = _shown(context, heads, own, parallel)
        frame = _maps(loaded, own, chosen)
        context.warehouse.write({slot: frame}, current, pin.provenance)
        rows += frame.height
        examples += chosen.height
    return StepResult("written", rows, examples, watch.seconds)


def _in_all_languages(context: Context, model: str, dataset: str) -> list[Corpus]:
    """The dataset in every language that the model is evaluated in."""
    found = (fitting(context, model, language) for language in context.study.all_languages())
    return [corpora[dataset] for corpora in found if dataset in corpora]


def _shown(context: Context, heads: Heads, own: Corpus, parallel: list[Corpus]) -> pl.DataFrame:
    """Some of the examples that heads are valued on, short in all languages; one that shares none has no say."""

    def short(corpus: Corpus) -> pl.DataFrame:
        characters = pl.col("text").str.len_chars() + pl.col("text_pair").str.len_chars().fill_null(0)
        return valued_examples(context, heads, corpus).filter(characters <= MAX_CHARACTERS)

    candidates = short(own)
    others = [corpus for corpus in parallel if corpus.language != own.language]
    for corpus in others:
        valued = valued_examples(context, heads, corpus)
        if valued.join(candidates, on="example_id", how="semi").height:
            candidates = candidates.join(short(corpus), on="example_id", how="semi", maintain_order="left")
    return sample(candidates, heads.attention_examples, context.study.seed)


def _maps(loaded: LoadedModel, corpus: Corpus, examples: pl.DataFrame) -> pl.DataFrame:
    types = schema("attention_maps")
    frame = pl.DataFrame(list(_rows(loaded, examples)), schema=types)
    constant = {"model": loaded.key, "dataset": corpus.dataset, "language": corpus.language}
    return frame.with_columns(pl.lit(value).alias(name) for name, value in constant.items()).sort(
        "split", "example_id", "layer", "head"
    )


def _rows(loaded: LoadedModel, examples: pl.DataFrame) -> Iterator[dict[str, object]]:
    from xlwh.heads.attention import attention_maps
    from xlwh.models.tokenize import encode

    if examples.is_empty():
        return
    encoded = encode(loaded, examples)
    for found in attention_maps(loaded, encoded):
        for head, weights in enumerate(found.weights.astype(np.float16)):
            yield {
                "split": examples["split"][found.row],
                "example_id": examples["example_id"][found.row],
                "layer": found.site,
                "head": head,
                "tokens": found.tokens,
                "is_special": found.special,
                "weights": pl.Series(weights.ravel()),
            }
