"""Models that are made here, by fine-tuning or with random weights: what they depend on, and making them.

A checkpoint is named by the digest of its making: of the recipe and the content of all that it is made from. Whatever
else changes, such as the columns of `models`, it is found there. Nothing here imports torch before there is something
to make.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from xlwh import draws
from xlwh.errors import ModelError
from xlwh.models.pins import tokenizer_files
from xlwh.models.training_data import canonical_labels, gold_labels, objective_of
from xlwh.store import fingerprint
from xlwh.study import Finetune, Inputs, Model, Scratch

if TYPE_CHECKING:
    from xlwh.models.loaded import LoadedModel

CODE_VERSION = "1"
"""Raise it when the same study would give other weights."""
CONTRACT_VERSION = 1
"""In place of the contract's version: a new column of `models` is no reason to train again."""


@dataclass(frozen=True)
class Training:
    """How a model is fine-tuned."""

    digest: str
    """What the weights depend on: 32 hex digits."""
    recipe: Finetune
    labels: tuple[str, ...] | None
    dev_languages: tuple[str, ...]
    inputs: Inputs

    @classmethod
    def of(
        cls,
        spec: Model,
        dev_languages: tuple[str, ...],
        attention: str,
        base: Sequence[str],
        contents: Sequence[str],
    ) -> Training:
        """That of a model with a recipe.

        `attention` is the base's, `base` its identity; `contents` are those of the examples trained on and of the
        development examples.
        """
        assert spec.finetune is not None
        parameters = {
            # Which development examples there are is in `contents`.
            "recipe": spec.finetune.model_dump(mode="json", exclude={"dev_languages"}),
            "labels": spec.labels,
            "attention": attention,
            **spec.changed(),
        }
        inputs = Inputs.model_validate({option: getattr(spec, option) for option in Inputs.model_fields})
        return cls(_digest(parameters, [*base, *contents]), spec.finetune, spec.labels, dev_languages, inputs)


@dataclass(frozen=True)
class Beginning:
    """How a model with random weights begins."""

    digest: str
    """What the weights and the tokenizer depend on: 32 hex digits."""
    scratch: Scratch

    @classmethod
    def of(cls, scratch: Scratch, inputs: Sequence[str]) -> Beginning:
        """`inputs` are the contents of the tokenizer's texts, or the hash of the tokenizer that is taken."""
        return cls(_digest({"scratch": scratch.model_dump(mode="json")}, inputs), scratch)


def _digest(parameters: Mapping[str, object], inputs: Sequence[str]) -> str:
    return fingerprint("models", CODE_VERSION, parameters, inputs, contract_version=CONTRACT_VERSION)


def dev_languages(name: str, recipe: Finetune, offered: Sequence[str]) -> tuple[str, ...]:
    """Languages of the development examples: those that the recipe names, else those trained on, as far as their
    dataset has them (`offered`).
    """
    if recipe.dev_languages is not None:
        return recipe.dev_languages
    languages = tuple(language for language in recipe.languages if language in offered)
    if not languages:
        raise ModelError(
            f"models.{name}.finetune.dev_dataset: `{recipe.dev_dataset or recipe.dataset}` is read in none of the "
            f"languages trained on ({', '.join(recipe.languages)}). It is read in: {', '.join(offered)}."
        )
    return languages


def train(
    name: str,
    training: Training,
    rows: Callable[[str, Sequence[str]], pl.DataFrame],
    load_base: Callable[[tuple[str, ...], str], LoadedModel],
    workspace: Path,
    folder: Path,
    progress: Callable[[int, int], None],
    repeat: bool = False,
) -> dict[str, Any]:
    """Fine-tune into `folder`; the content of `training.json`, and how many examples had no gold.

    `rows` gives the examples of a dataset in some languages, in an order that is always the same, and `load_base` the
    base under a head for labels and of a kind. Raises what `xlwh.models.finetune.finetune` raises, and ModelError for
    examples that do not fit.
    """
    from xlwh.models.finetune import Job, finetune

    recipe = training.recipe
    examples = rows(recipe.dataset, recipe.languages)
    task = _task(name, recipe.dataset, examples)
    objective = objective_of(task, name)
    has_gold, dev_without_gold = pl.col(objective.gold).is_not_null(), 0
    usable = examples.filter(has_gold)
    if recipe.dev_dataset is None:
        trained, dev = hold_out(usable, recipe.dev_fraction, recipe.seed)
    else:
        offered = rows(recipe.dev_dataset, training.dev_languages)
        if offered.height and _task(name, recipe.dev_dataset, offered) != task:
            raise ModelError(
                f"models.{name}.finetune.dev_dataset: `{recipe.dev_dataset}` is no dataset of task `{task}` as "
                f"`{recipe.dataset}` is."
            )
        trained, dev = usable, offered.filter(has_gold)
        dev_without_gold = offered.height - dev.height
    labels = _labels(name, training, usable[objective.gold]) if objective.labelled else ()
    record = finetune(
        Job(name, recipe, task, labels, trained, dev, workspace, folder, training.inputs),
        lambda: load_base(labels, objective.head),
        progress=progress,
        repeat=repeat,
    )
    return {
        **record,
        "without_gold": examples.height - usable.height,
        "dev_without_gold": dev_without_gold,
        "dev_languages": list(training.dev_languages),
    }


def hold_out(examples: pl.DataFrame, fraction: float, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split examples into training and development rows by example id.

    The same ids are held out in every language: a translation of a development example is never trained on. At
    least one id is held out.
    """
    ids = examples["example_id"].unique().sort()
    held = ids[draws.chosen(ids.to_list(), max(1, round(fraction * len(ids))), seed)]
    chosen = pl.col("example_id").is_in(held.implode())
    return examples.filter(~chosen), examples.filter(chosen)


def _task(name: str, dataset: str, examples: pl.DataFrame) -> str:
    tasks = examples["task"].unique().sort().to_list()
    if len(tasks) != 1:
        raise ModelError(
            f"Model `{name}` cannot be fine-tuned: dataset `{dataset}` has "
            f"{'no examples' if not tasks else 'examples of several tasks: ' + ', '.join(tasks)}."
        )
    return str(tasks[0])


def _labels(name: str, training: Training, gold: pl.Series) -> tuple[str, ...]:
    """Labels in the order of the logits: the study's where it gives them, else the canonical order."""
    found, labels = canonical_labels(gold_labels(gold)), training.labels
    if labels is None:
        return found
    missing = [label for label in found if label not in labels]
    if missing:
        raise ModelError(
            f"models.{name}.labels: {', '.join(labels)} lacks {', '.join(missing)}, which "
            f"dataset `{training.recipe.dataset}` has."
        )
    return labels


def training_columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of `models` about a training."""
    recipe = record["recipe"]
    return {
        "finetuned_dataset": recipe["dataset"],
        "finetuned_languages": recipe["languages"],
        "seed": recipe["seed"],
        "recipe": json.dumps(recipe, sort_keys=True),
        **{name: record[name] for name in ("dev_score", "train_steps", "duration_s")},
    }


def begin(
    name: str,
    scratch: Scratch,
    texts: pl.LazyFrame | None,
    taken: Path | None,
    unfinished: Path,
    folder: Path,
) -> None:
    """Make a model with random weights; `folder` appears in one rename of `unfinished`.

    Its tokenizer is trained on `texts` (columns `example_id` and `text`), at most `max_texts` of them, drawn by the
    seed, or that of the checkpoint in `taken`. ModelError where the configuration makes no model.
    """
    from transformers import AutoTokenizer

    from xlwh.models.scratch import create, unigram

    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if texts is not None:
        known = texts.drop_nulls().unique("text").sort("example_id", "text").collect()["text"]
        chosen = known[draws.chosen(known.to_list(), scratch.max_texts, scratch.seed)]
        unigram(chosen.to_list(), scratch.vocab_size).save_pretrained(unfinished)
    elif taken is not None:
        for file in tokenizer_files(taken):
            copy = unfinished / (file.relative_to(taken) if file.is_relative_to(taken) else file.name)
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(file, copy)
    try:
        tokenizer = AutoTokenizer.from_pretrained(unfinished, local_files_only=True, trust_remote_code=False)
        create(scratch, tokenizer, unfinished)
    except ModelError as error:
        raise ModelError(f"models.{name}.{error}") from None
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished.rename(folder)
