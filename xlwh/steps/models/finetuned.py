"""Models that are fine-tuned here: from a recipe of the study to a checkpoint in the warehouse.

The checkpoint is named by the digest of its training: of the recipe, the base's content and what the examples were
read from. Whatever else changes, such as the columns of `models`, it is found there. Nothing here imports torch before
there is something to train.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from xlwh.corpora import sample
from xlwh.errors import ModelError
from xlwh.models.training_data import canonical_labels, gold_labels, objective_of
from xlwh.steps.corpora.examples import content
from xlwh.steps.job import Job
from xlwh.steps.planning import Partition
from xlwh.steps.work import Work
from xlwh.store import Entry, Slot, fingerprint
from xlwh.study import Finetune, Inputs, Model, Study

CODE_VERSION = "1"
"""Raise it when the same recipe, base and examples would give other weights."""
TRAINING_VERSION = 1
"""In place of the contract's version: a new column of `models` is no reason to train again."""


@dataclass(frozen=True)
class Training:
    """How a model is fine-tuned."""

    digest: str
    recipe: Finetune
    labels: tuple[str, ...] | None
    dev_languages: tuple[str, ...]
    inputs: Inputs


@dataclass(frozen=True)
class Plan:
    """What a model that is made here is made from."""

    making: Any
    source: str
    reads: tuple[Entry, ...]
    files: tuple[str, ...]
    tools: Any = None


def planned(partition: Partition) -> Plan:
    """MissingDataError where examples or the base are still to be made."""
    study, name = partition.study, partition.model
    spec = study.models[name]
    recipe = spec.finetune
    assert recipe is not None
    dev_languages = _dev_languages(study, name, recipe)
    reads = [
        partition.required(Slot("examples", (dataset, language), study.datasets[dataset].split))
        for dataset, languages in (
            (recipe.dataset, recipe.languages),
            (recipe.dev_dataset or recipe.dataset, dev_languages),
        )
        for language in languages
    ]
    base = partition.pin(recipe.base)
    contents = [content(partition.root, entry) for entry in reads]
    attention = study.models[recipe.base].attention
    training = Training(
        digest=training_digest(recipe, spec, attention, base.identity, contents),
        recipe=recipe,
        labels=spec.labels,
        dev_languages=dev_languages,
        inputs=Inputs.model_validate({option: getattr(spec, option) for option in Inputs.model_fields}),
    )
    return Plan(training, recipe.base, tuple(dict.fromkeys(reads)), base.identity)


def training_digest(
    recipe: Finetune, spec: Model, attention: str, base: Sequence[str], contents: Sequence[str]
) -> str:
    """What the weights depend on: 32 hex digits.

    `attention` is the base's, `base` its identity; `contents` are those of the examples trained on and of the
    development examples.
    """
    parameters = {
        "recipe": recipe.model_dump(mode="json"),
        "labels": spec.labels,
        "attention": attention,
        **spec.changed(),
    }
    return fingerprint(
        "models", CODE_VERSION, parameters, [*base, *contents], contract_version=TRAINING_VERSION
    )


def made(work: Work, job: Job) -> dict[str, Any]:
    """The columns of `models` about the training, which is done unless its checkpoint is there.

    A run that was interrupted goes on from its last checkpoint. Raises what `xlwh.models.finetune.finetune` raises.
    """
    from xlwh.models.finetune import read_training

    assert job.folder is not None
    if job.folder.is_dir() and not work.force:
        record = read_training(job.folder)
        work.remark("its checkpoint was there")
    else:
        record = _train(work, job, job.folder)
        work.examples += record["train_examples"]
        work.remark(_remark(record))
    for name, value in {**record, "folder": str(job.folder)}.items():
        work.tell(name, value)
    work.provenance["xlwh.base_weight_hash"] = job.files[0]
    recipe = record["recipe"]
    return {
        "finetuned_dataset": recipe["dataset"],
        "finetuned_languages": recipe["languages"],
        "seed": recipe["seed"],
        "recipe": json.dumps(recipe, sort_keys=True),
        **{name: record[name] for name in ("dev_score", "train_steps", "duration_s")},
    }


def _dev_languages(study: Study, name: str, recipe: Finetune) -> tuple[str, ...]:
    """Languages of the development examples: those trained on, as far as the development dataset has them."""
    dataset = recipe.dev_dataset or recipe.dataset
    offered = study.dataset_languages(dataset)
    languages = tuple(language for language in recipe.languages if language in offered)
    if not languages:
        raise ModelError(
            f"models.{name}.finetune.dev_dataset: `{dataset}` is read in none of the languages trained on "
            f"({', '.join(recipe.languages)}). It is read in: {', '.join(offered)}."
        )
    return languages


def _train(work: Work, job: Job, folder: Path) -> dict[str, Any]:
    """Fine-tune into `folder`; the content of `training.json`, and how many examples had no gold."""
    from xlwh.models.finetune import Job as Run
    from xlwh.models.finetune import finetune

    name, training = job.name, job.params.making
    recipe = training.recipe
    examples = _examples(work, job, recipe.dataset, recipe.languages)
    task = _task(name, recipe.dataset, examples)
    objective = objective_of(task, name)
    gold = objective.gold
    usable = examples.filter(pl.col(gold).is_not_null())
    if recipe.dev_dataset is None:
        train, dev = hold_out(usable, recipe.dev_fraction, recipe.seed)
        dev_excluded = 0
    else:
        offered = _examples(work, job, recipe.dev_dataset, training.dev_languages)
        if offered.height and _task(name, recipe.dev_dataset, offered) != task:
            raise ModelError(
                f"models.{name}.finetune.dev_dataset: `{recipe.dev_dataset}` is no dataset of task `{task}` as "
                f"`{recipe.dataset}` is."
            )
        train, dev = usable, offered.filter(pl.col(gold).is_not_null())
        dev_excluded = offered.height - dev.height
    labels = _labels(name, training.labels, recipe, usable[gold]) if objective.labelled else ()
    record = finetune(
        Run(
            key=name,
            recipe=recipe,
            task=task,
            labels=labels,
            train=train,
            dev=dev,
            workspace=work.root / "staging" / "finetune" / f"{name}-{folder.name}",
            destination=folder,
            inputs=training.inputs,
        ),
        lambda: work.trainable(recipe.base, job.files, labels, recipe.seed, objective.head),
        progress=lambda step, total: work.progress(f"fine-tune {name}", step, total),
        repeat=work.force,
    )
    return {
        **record,
        "without_gold": examples.height - usable.height,
        "dev_without_gold": dev_excluded,
        "dev_languages": list(training.dev_languages),
    }


def hold_out(examples: pl.DataFrame, fraction: float, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split examples into training and development rows by example id.

    The same ids are held out in every language: a translation of a development example is never trained on. At
    least one id is held out.
    """
    ids = examples.select(pl.col("example_id").unique().sort())
    held = sample(ids, max(1, round(fraction * ids.height)), seed)["example_id"]
    chosen = pl.col("example_id").is_in(held.implode())
    return examples.filter(~chosen), examples.filter(chosen)


def _examples(work: Work, job: Job, dataset: str, languages: Iterable[str]) -> pl.DataFrame:
    """Rows of a dataset in the order of the languages and then of the ids, whatever the order of the files."""
    return pl.concat(
        [
            work.scan(job, "examples", dataset=dataset, language=language)
            .sort("split", "example_id")
            .collect()
            for language in languages
        ]
    )


def _task(name: str, dataset: str, examples: pl.DataFrame) -> str:
    tasks = examples["task"].unique().sort().to_list()
    if len(tasks) != 1:
        raise ModelError(
            f"Model `{name}` cannot be fine-tuned: dataset `{dataset}` has "
            f"{'no examples' if not tasks else 'examples of several tasks: ' + ', '.join(tasks)}."
        )
    return str(tasks[0])


def _labels(name: str, labels: tuple[str, ...] | None, recipe: Finetune, gold: pl.Series) -> tuple[str, ...]:
    """Labels in the order of the logits: the study's where it gives them, else the canonical order."""
    found = canonical_labels(gold_labels(gold))
    if labels is None:
        return found
    missing = [label for label in found if label not in labels]
    if missing:
        raise ModelError(
            f"models.{name}.labels: {', '.join(labels)} lacks {', '.join(missing)}, which "
            f"dataset `{recipe.dataset}` has."
        )
    return labels


def _remark(record: Mapping[str, Any]) -> str:
    stopped = ", stopped early" if record["stopped_early"] else ""
    return (
        f"development score {record['dev_score']:.3f} at step {record['best_step']:,} of "
        f"{record['train_steps']:,}{stopped}"
    )
