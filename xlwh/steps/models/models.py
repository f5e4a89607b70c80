"""Say of every model what it is, exactly, and what its self-test found; make those that are made here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from xlwh.corpora import source_side
from xlwh.models.describe import describe, models_row, noted
from xlwh.models.made import Beginning, Training, begin, dev_languages, train, training_columns
from xlwh.selftest import self_tested, summary
from xlwh.selftest.stored import tested_with
from xlwh.steps.corpora.examples import content
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Entry, Slot
from xlwh.store.checkpoints import checkpoint_folder
from xlwh.store.files import remove_folder
from xlwh.study import Finetune, Scratch


@dataclass(frozen=True)
class _Params:
    kind: str
    source: str
    revision: str | None
    noted: dict[str, Any]
    """Columns that repeat what the study says."""
    options: Mapping[str, object]
    """Labels, and what else than the number format, which is noted, the self-test depends on."""
    self_tested_with: str
    making: Training | Beginning | None = None
    """How it is made, if it is made here."""


class _Models(Whole):
    version = "1"
    libraries = ("torch", "transformers")

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """One job; MissingDataError where what the model is made from is still to be made."""
        spec = partition.study.models[partition.model]
        if spec.finetune is not None:
            yield _trained(partition, spec.finetune)
        elif spec.scratch is not None:
            yield _begun(partition, spec.scratch)
        else:
            pin = partition.pin(partition.model)
            yield _job(partition, pin.kind, pin.source, pin.revision, files=pin.identity)

    def make(self, work: Work, job: Job) -> Frames:
        """The row of `models`, after loading the model once as everything later will."""
        params, folder, columns = job.params, job.folder, dict[str, Any]()
        if folder is not None and isinstance(params.making, Training):
            columns = training_columns(_training(work, job, folder))
        elif folder is not None:
            columns = {"seed": params.making.scratch.seed}
            if work.checkpoint(job.name, folder) is None:
                remove_folder(folder)
                unfinished = work.root / "staging" / f"scratch-{job.name}-{folder.name}"
                begin(job.name, params.making.scratch, _texts(work, job), job.tools, unfinished, folder)
        loaded, results = work.try_out(job.name, job.files, folder)
        work.provenance |= loaded.pin.provenance
        if folder is not None:
            work.keep_checkpoint(job.name, folder)
        row = describe(loaded, params.noted) | self_tested(results, params.self_tested_with) | columns
        for column in ("family", "task", "num_parameters", "vocab_size", "dtype", "weight_hash"):
            work.tell(column, row[column])
        work.tell("self-test", summary(results))
        return {"models": models_row(row)}


STEP = _Models()


def _job(
    partition: Partition,
    kind: str,
    source: str,
    revision: str | None = None,
    making: Training | Beginning | None = None,
    **made_from: Any,
) -> Job:
    """The job of a model, wherever it comes from."""
    name, spec = partition.model, partition.study.models[partition.model]
    said = noted(spec)
    if spec.finetune is not None:
        said |= {"translated_from": source_side(partition.study, spec.finetune.dataset)}
    options = partition.options(name, "labels", "attention")
    return Job(
        {"models": Slot("models", (name,))},
        _Params(kind, source, revision, said, options, tested_with(), making),
        folder=None if making is None else checkpoint_folder(partition.root, name, making.digest),
        name=name,
        **made_from,
    )


def _trained(partition: Partition, recipe: Finetune) -> Job:
    study, name = partition.study, partition.model
    dev_dataset = recipe.dev_dataset or recipe.dataset
    dev = dev_languages(name, recipe, study.dataset_languages(dev_dataset))
    reads = _examples(partition, recipe.dataset, recipe.languages) + _examples(partition, dev_dataset, dev)
    base = partition.pin(recipe.base).identity
    contents = [content(partition.file(entry)) for entry in reads]
    training = Training.of(study.models[name], dev, study.models[recipe.base].attention, base, contents)
    reads = list(dict.fromkeys(reads))
    return _job(partition, "finetuned", recipe.base, making=training, reads=tuple(reads), files=base)


def _begun(partition: Partition, scratch: Scratch) -> Job:
    if scratch.tokenizer_of is not None:
        base = partition.pin(scratch.tokenizer_of)
        source, inputs = scratch.tokenizer_of, [base.tokenizer_hash]
        made_from: dict[str, Any] = {"files": (base.tokenizer_hash,), "tools": base.folder}
    else:
        source = str(scratch.dataset)
        languages = scratch.languages or partition.study.dataset_languages(source)
        reads = _examples(partition, source, languages)
        inputs, made_from = (
            [content(partition.file(entry)) for entry in reads],
            {"reads": tuple(reads)},
        )
    return _job(partition, "scratch", source, making=Beginning.of(scratch, inputs), **made_from)


def _examples(partition: Partition, dataset: str, languages: Iterable[str]) -> list[Entry]:
    split = partition.study.datasets[dataset].split
    return [partition.required(Slot("examples", (dataset, language), split)) for language in languages]


def _training(work: Work, job: Job, folder: Path) -> Mapping[str, Any]:
    """The record of the training, which is done unless its checkpoint is there.

    A run that was interrupted goes on from its last checkpoint.
    """
    from xlwh.models.training_record import read_training

    def rows(dataset: str, languages: Iterable[str]) -> pl.DataFrame:
        # In the order of the languages and then of the ids, whatever the order of the files.
        scans = (work.scan(job, "examples", dataset=dataset, language=language) for language in languages)
        return pl.concat([scan.sort("split", "example_id").collect() for scan in scans])

    there = None if work.force else work.checkpoint(job.name, folder)
    if there is not None:
        record = read_training(folder)
        work.remark("its checkpoint was there")
    else:
        recipe = job.params.making.recipe
        record = train(
            job.name,
            job.params.making,
            rows,
            lambda labels, head: work.trainable(recipe.base, job.files, labels, recipe.seed, head),
            work.root / "staging" / "finetune" / f"{job.name}-{folder.name}",
            folder,
            partial(work.progress, f"fine-tune {job.name}"),
            repeat=work.force or folder.is_dir(),
        )
        work.examples += record["train_examples"]
        work.remark(
            f"development score {record['dev_score']:.3f} at step {record['best_step']:,} of "
            f"{record['train_steps']:,}{', stopped early' if record['stopped_early'] else ''}"
        )
    for name, value in {**record, "folder": str(folder)}.items():
        work.tell(name, value)
    work.provenance["xlwh.base_weight_hash"] = job.files[0]
    return record


def _texts(work: Work, job: Job) -> pl.LazyFrame | None:
    """Source and target texts of every language; None where no tokenizer is trained."""
    frames = [
        work.scan(job, "examples", language=entry.slot.keys[1]).select("example_id", text=side)
        for entry in job.reads
        for side in ("text", "text_pair")
    ]
    return pl.concat(frames) if frames else None
