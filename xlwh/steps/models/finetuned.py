"""Models that are fine-tuned here: from a recipe of the study to a checkpoint in the warehouse and its row of `models`.

The checkpoint lies in `models/<key>/<fingerprint16>/` of the warehouse; the fingerprint is the row's, and covers
the recipe, the base's content and the examples. Nothing here imports torch before there is something to train.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from xlwh.corpora import sample
from xlwh.digests import HashCache
from xlwh.errors import MissingDataError, ModelError
from xlwh.models.describe import describe, models_row, noted
from xlwh.models.training_data import canonical_labels, gold_labels, objective_of
from xlwh.selftest import self_tested
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.models.selftests import require_base, results_of, tested_with
from xlwh.store import Entry, Slot, Warehouse, fingerprint, schema
from xlwh.study import Finetune, Model
from xlwh.tables import TABLES

if TYPE_CHECKING:
    from xlwh.models.pins import Pin

CODE_VERSION = "1"
"""Raise it when the same recipe, base and examples would give other weights."""
TRAINING_VERSION = 1
"""In place of the contract's version: a new column of `models` is no reason to train again."""


def run(context: Context, key: Key) -> StepResult:
    """Fine-tune a model of the study, unless it was, and write its row of `models` with the learning curve beside it.

    Raises `MissingDataError` where examples or the base are still to be made, and what
    `xlwh.models.finetune.finetune` raises. A run that was interrupted goes on from its last checkpoint.
    """
    name = str(key.model)
    spec, warehouse = context.study.models[name], context.warehouse
    recipe = spec.finetune
    if recipe is None:
        return not_applicable(f"model `{name}` is not fine-tuned here")
    watch = Stopwatch()
    dev_languages = _dev_languages(context, name, recipe)
    inputs = [
        *_entries(warehouse, name, recipe.dataset, recipe.languages),
        *_entries(warehouse, name, recipe.dev_dataset or recipe.dataset, dev_languages),
    ]
    base = context.zoo.pin(recipe.base)
    parameters = {
        "recipe": recipe.model_dump(mode="json"),
        "labels": spec.labels,
        "attention": context.study.models[recipe.base].attention,
        **spec.changed(),
    }
    mark = fingerprint(
        "models",
        CODE_VERSION,
        parameters,
        [*base.identity, *(entry.fingerprint for entry in inputs)],
        contract_version=TRAINING_VERSION,
    )
    slot = Slot("models", (name,))
    folder = Path(warehouse.root) / "models" / name / mark[:16]
    if not context.force and warehouse.is_fresh(slot, mark):
        if folder.is_dir():
            return refresh(context, name, slot, mark, spec, watch)
        warehouse.drop([slot])  # a row about a checkpoint that somebody removed
    require_base(context, recipe.base)
    record = _train(context, name, spec, recipe, dev_languages, folder)
    row, pin = _row(context, name, spec, recipe, folder, record)
    warehouse.write({slot: row}, mark, {**pin.provenance, "xlwh.base_weight_hash": base.weight_hash})
    return StepResult(
        status="written",
        rows=1,
        examples=record["train_examples"],
        duration_s=watch.seconds,
        reason=_remark(record),
        metadata={**record, "folder": str(folder)},
    )


def refresh(context: Context, name: str, slot: Slot, mark: str, spec: Model, watch: Stopwatch) -> StepResult:
    """The training is fresh; what the study says beside the recipe may have changed, and is only noted.

    A self-test by other versions is run again.
    """
    warehouse = context.warehouse
    row = pl.concat(
        [pl.DataFrame(schema=schema("models")), warehouse.scan("models", model=name).collect()],
        how="diagonal",
    )
    current = row.with_columns(
        pl.lit(value, pl.String).alias(column) for column, value in noted(spec).items()
    )
    entry = warehouse.current(slot)
    tested = row["self_tested_with"].item() == tested_with()
    if tested and current.equals(row) and entry is not None and entry.version == TABLES["models"].version:
        return StepResult(status="fresh", rows=1, duration_s=watch.seconds)
    if not tested:
        found = self_tested(results_of(context, context.zoo.load(name)), tested_with())
        current = models_row(current.row(0, named=True) | found)
    warehouse.write({slot: current}, mark)
    return StepResult(
        status="written", rows=1, duration_s=watch.seconds, reason="only its description changed"
    )


def _dev_languages(context: Context, name: str, recipe: Finetune) -> tuple[str, ...]:
    """Languages of the development examples: those trained on, as far as the development dataset has them."""
    dataset = recipe.dev_dataset or recipe.dataset
    offered = context.study.dataset_languages(dataset)
    languages = tuple(language for language in recipe.languages if language in offered)
    if not languages:
        raise ModelError(
            f"models.{name}.finetune.dev_dataset: `{dataset}` is read in none of the languages trained on "
            f"({', '.join(recipe.languages)}). It is read in: {', '.join(offered)}."
        )
    return languages


def _entries(warehouse: Warehouse, name: str, dataset: str, languages: Iterable[str]) -> list[Entry]:
    """The current files of a dataset's examples in some languages."""
    entries = [entry for entry in warehouse.entries("examples") if entry.slot.keys[0] == dataset]
    found: list[Entry] = []
    for language in languages:
        files = [entry for entry in entries if entry.slot.keys[1] == language]
        if not files:
            have = ", ".join(sorted({entry.slot.keys[1] for entry in entries})) or "none"
            raise MissingDataError(
                f"No examples of dataset `{dataset}`, language `{language}`, which model `{name}` is fine-tuned on. "
                f"Available: {have}. Run: xlwh materialize examples --language {language}"
            )
        found += files
    return found


def _train(
    context: Context, name: str, spec: Model, recipe: Finetune, dev_languages: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Fine-tune into `folder`, or take what an earlier run published there; the content of `training.json`."""
    from xlwh.models.finetune import Job, finetune

    examples = _examples(context.warehouse, recipe.dataset, recipe.languages)
    task = _task(name, recipe.dataset, examples)
    objective = objective_of(task, name)
    gold = objective.gold
    usable = examples.filter(pl.col(gold).is_not_null())
    if recipe.dev_dataset is None:
        train, dev = hold_out(usable, recipe.dev_fraction, recipe.seed)
        dev_excluded = 0
    else:
        offered = _examples(context.warehouse, recipe.dev_dataset, dev_languages)
        if offered.height and _task(name, recipe.dev_dataset, offered) != task:
            raise ModelError(
                f"models.{name}.finetune.dev_dataset: `{recipe.dev_dataset}` is no dataset of task `{task}` as "
                f"`{recipe.dataset}` is."
            )
        train, dev = usable, offered.filter(pl.col(gold).is_not_null())
        dev_excluded = offered.height - dev.height
    labels = _labels(name, spec, recipe, usable[gold]) if objective.labelled else ()
    record = finetune(
        Job(
            key=name,
            recipe=recipe,
            task=task,
            labels=labels,
            train=train,
            dev=dev,
            workspace=Path(context.warehouse.root) / "staging" / "finetune" / f"{name}-{folder.name}",
            destination=folder,
            inputs=spec,
        ),
        lambda: context.zoo.load_base(recipe.base, len(labels), labels, recipe.seed, objective.head),
        progress=lambda step, total: context.progress(f"fine-tune {name}", step, total),
        repeat=context.force,
    )
    return {
        **record,
        "without_gold": examples.height - usable.height,
        "dev_without_gold": dev_excluded,
        "dev_languages": list(dev_languages),
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


def _examples(warehouse: Warehouse, dataset: str, languages: Iterable[str]) -> pl.DataFrame:
    """Rows of a dataset in the order of the languages and then of the ids, whatever the order of the files."""
    return pl.concat(
        [
            warehouse.scan("examples", dataset=dataset, language=language)
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


def _labels(name: str, spec: Model, recipe: Finetune, gold: pl.Series) -> tuple[str, ...]:
    """Labels in the order of the logits: the study's where it gives them, else the canonical order."""
    found = canonical_labels(gold_labels(gold))
    if spec.labels is None:
        return found
    missing = [label for label in found if label not in spec.labels]
    if missing:
        raise ModelError(
            f"models.{name}.labels: {', '.join(spec.labels)} lacks {', '.join(missing)}, which "
            f"dataset `{recipe.dataset}` has."
        )
    return spec.labels


def _row(
    context: Context, name: str, spec: Model, recipe: Finetune, folder: Path, record: Mapping[str, Any]
) -> tuple[pl.DataFrame, Pin]:
    """The row of `models`, after loading the checkpoint once as everything later will."""
    from xlwh.models.loading import load_checkpoint
    from xlwh.models.pins import pin_folder

    hashes = HashCache.of(context.warehouse.root)
    pin = pin_folder(name, "finetuned", recipe.base, None, folder, hashes)
    loaded = load_checkpoint(pin, spec, context.zoo.device())
    described = describe(pin, loaded, spec)
    described |= self_tested(results_of(context, loaded, again=context.force), tested_with())
    described |= {
        "finetuned_dataset": recipe.dataset,
        "finetuned_languages": list(recipe.languages),
        "seed": recipe.seed,
        "recipe": json.dumps(recipe.model_dump(mode="json"), sort_keys=True),
        "dev_score": record["dev_score"],
        "train_steps": record["train_steps"],
        "duration_s": record["duration_s"],
    }
    return models_row(described), pin


def _remark(record: Mapping[str, Any]) -> str:
    stopped = ", stopped early" if record["stopped_early"] else ""
    return (
        f"development score {record['dev_score']:.3f} at step {record['best_step']:,} of "
        f"{record['train_steps']:,}{stopped}"
    )
