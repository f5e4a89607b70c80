"""Models that begin here: random weights, and a tokenizer trained on a dataset or taken from another model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from xlwh.corpora import sample
from xlwh.errors import ModelError
from xlwh.models.pins import tokenizer_files
from xlwh.steps.corpora.examples import content
from xlwh.steps.job import Job
from xlwh.steps.models.finetuned import Plan
from xlwh.steps.planning import Partition
from xlwh.steps.work import Work
from xlwh.store import Slot, fingerprint
from xlwh.study import Scratch

CODE_VERSION = "1"
"""Raise it when the same study would give other weights or another tokenizer."""
CONTRACT_VERSION = 1
"""In place of the contract's version: a new column of `models` is no reason for other weights."""


@dataclass(frozen=True)
class Beginning:
    """How a model begins."""

    digest: str
    scratch: Scratch


def planned(partition: Partition) -> Plan:
    """MissingDataError where the tokenizer's texts or model are still to be made."""
    study = partition.study
    scratch = study.models[partition.model].scratch
    assert scratch is not None
    if scratch.tokenizer_of is not None:
        base = partition.pin(scratch.tokenizer_of)
        files = (base.tokenizer_hash,)
        return Plan(Beginning(digest(scratch, files), scratch), scratch.tokenizer_of, (), files, base.folder)
    assert scratch.dataset is not None
    split = study.datasets[scratch.dataset].split
    languages = scratch.languages or study.dataset_languages(scratch.dataset)
    reads = tuple(
        partition.required(Slot("examples", (scratch.dataset, language), split)) for language in languages
    )
    contents = [content(partition.root, entry) for entry in reads]
    return Plan(Beginning(digest(scratch, contents), scratch), scratch.dataset, reads, ())


def digest(scratch: Scratch, inputs: Sequence[str]) -> str:
    """What the weights and the tokenizer depend on: 32 hex digits.

    `inputs` are the contents of the tokenizer's texts, or the hash of the tokenizer that is taken.
    """
    parameters = {"scratch": scratch.model_dump(mode="json")}
    return fingerprint("models", CODE_VERSION, parameters, inputs, contract_version=CONTRACT_VERSION)


def made(work: Work, job: Job) -> dict[str, Any]:
    """The column of `models` about how it began; its folder appears in one rename, unless it is there.

    ModelError where the configuration makes no model.
    """
    assert job.folder is not None
    if not job.folder.is_dir():
        _make(work, job, job.folder)
    return {"seed": job.params.making.scratch.seed}


def _make(work: Work, job: Job, folder: Path) -> None:
    from transformers import AutoTokenizer

    from xlwh.models.scratch import create, unigram

    scratch = job.params.making.scratch
    unfinished = work.root / "staging" / f"scratch-{job.name}-{folder.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if scratch.tokenizer_of is None:
        unigram(_texts(work, job, scratch), scratch.vocab_size).save_pretrained(unfinished)
    else:
        for file in tokenizer_files(job.tools):
            copy = unfinished / (file.relative_to(job.tools) if file.is_relative_to(job.tools) else file.name)
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(file, copy)
    try:
        tokenizer = AutoTokenizer.from_pretrained(unfinished, local_files_only=True, trust_remote_code=False)
        create(scratch, tokenizer, unfinished)
    except ModelError as error:
        raise ModelError(f"models.{job.name}.{error}") from None
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished.rename(folder)


def _texts(work: Work, job: Job, scratch: Scratch) -> list[str]:
    """Source and target texts of every language, at most `max_texts` of them, drawn by the seed."""
    both = pl.concat(
        work.scan(job, "examples", language=entry.slot.keys[1]).select(
            "example_id", pl.col(column).alias("text")
        )
        for entry in job.reads
        for column in ("text", "text_pair")
    )
    texts = both.drop_nulls().unique("text").sort("example_id", "text").collect()
    if texts.height > scratch.max_texts:
        texts = sample(texts.with_columns(example_id=pl.col("text")), scratch.max_texts, scratch.seed)
    return texts["text"].to_list()
