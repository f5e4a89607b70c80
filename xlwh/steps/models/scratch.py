"""Models that begin here: random weights, and a tokenizer trained on a dataset or taken from another model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from xlwh.corpora import sample
from xlwh.digests import HashCache
from xlwh.errors import ModelError
from xlwh.models.describe import describe, models_row
from xlwh.models.pins import tokenizer_files
from xlwh.selftest import self_tested
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.models.finetuned import refresh
from xlwh.steps.models.selftests import results_of, tested_with
from xlwh.steps.upstream import required
from xlwh.store import Entry, Slot, fingerprint
from xlwh.study import Scratch

CODE_VERSION = "1"
"""Raise it when the same study would give other weights or another tokenizer."""
CONTRACT_VERSION = 1
"""In place of the contract's version: a new column of `models` is no reason for other weights."""


def run(context: Context, key: Key) -> StepResult:
    """Make a model with random weights, unless it was, and write its row of `models`.

    Raises MissingDataError where the tokenizer's texts or model are still to be made, ModelError where the
    configuration makes no model. The folder appears in one rename.
    """
    name = str(key.model)
    spec, warehouse = context.study.models[name], context.warehouse
    scratch = spec.scratch
    if scratch is None:
        return not_applicable(f"model `{name}` does not begin here")
    watch = Stopwatch()
    entries = _entries(context, scratch)
    base = None if scratch.tokenizer_of is None else context.zoo.pin(scratch.tokenizer_of)
    inputs = [entry.fingerprint for entry in entries] + ([] if base is None else [base.tokenizer_hash])
    parameters = {"scratch": scratch.model_dump(mode="json")}
    mark = fingerprint("models", CODE_VERSION, parameters, inputs, contract_version=CONTRACT_VERSION)
    slot = Slot("models", (name,))
    folder = Path(warehouse.root) / "models" / name / mark[:16]
    if not context.force and folder.is_dir() and warehouse.is_fresh(slot, mark):
        return refresh(context, name, slot, mark, spec, watch)
    if not folder.is_dir():
        _make(context, name, scratch, entries, folder)
    from xlwh.models.loading import load_checkpoint
    from xlwh.models.pins import pin_folder

    hashes = HashCache.of(warehouse.root)
    source = str(scratch.tokenizer_of or scratch.dataset)
    pin = pin_folder(name, "scratch", source, None, folder, hashes)
    loaded = load_checkpoint(pin, spec, context.zoo.device())
    described = describe(pin, loaded, spec) | {"seed": scratch.seed}
    described |= self_tested(results_of(context, loaded, again=context.force), tested_with())
    warehouse.write({slot: models_row(described)}, mark, pin.provenance)
    return StepResult(
        "written",
        1,
        duration_s=watch.seconds,
        metadata={x: described[x] for x in ("family", "num_parameters", "vocab_size", "weight_hash")},
    )


def _entries(context: Context, scratch: Scratch) -> list[Entry]:
    """The examples that the tokenizer is trained on."""
    if scratch.dataset is None:
        return []
    split = context.study.datasets[scratch.dataset].split
    languages = scratch.languages or context.study.dataset_languages(scratch.dataset)
    return [
        required(
            context,
            Slot("examples", (scratch.dataset, language), split),
            Key(dataset=scratch.dataset, language=language),
        )
        for language in languages
    ]


def _make(context: Context, name: str, scratch: Scratch, entries: Sequence[Entry], folder: Path) -> None:
    from transformers import AutoTokenizer

    from xlwh.models.scratch import create, unigram

    unfinished = Path(context.warehouse.root) / "staging" / f"scratch-{name}-{folder.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if scratch.tokenizer_of is None:
        unigram(_texts(context, scratch, entries), scratch.vocab_size).save_pretrained(unfinished)
    else:
        source = context.zoo.pin(scratch.tokenizer_of).folder
        for file in tokenizer_files(source):
            copy = unfinished / (file.relative_to(source) if file.is_relative_to(source) else file.name)
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(file, copy)
    try:
        tokenizer = AutoTokenizer.from_pretrained(unfinished, local_files_only=True, trust_remote_code=False)
        create(scratch, tokenizer, unfinished)
    except ModelError as error:
        raise ModelError(f"models.{name}.{error}") from None
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished.rename(folder)


def _texts(context: Context, scratch: Scratch, entries: Sequence[Entry]) -> list[str]:
    """Source and target texts of every language, at most `max_texts` of them, drawn by the seed."""
    frames = []
    for entry in entries:
        dataset, language = entry.slot.keys
        frame = context.warehouse.scan("examples", dataset=dataset, language=language)
        frames.append(frame.filter(split=entry.slot.part).select("example_id", "text", "text_pair").collect())
    both = pl.concat(
        frame.select("example_id", pl.col(column).alias("text"))
        for frame in frames
        for column in ("text", "text_pair")
    )
    texts = both.drop_nulls().unique("text").sort("example_id", "text")
    if texts.height > scratch.max_texts:
        texts = sample(texts.with_columns(example_id=pl.col("text")), scratch.max_texts, scratch.seed)
    return texts["text"].to_list()
