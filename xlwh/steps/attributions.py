"""Attribute predictions to sub-tokens, for every method and every target that the study compares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from xlwh.corpora import sample
from xlwh.errors import MissingDataError
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.evaluation import CLASSIFICATION, Corpus, corpora
from xlwh.store import Slot, Staging, fingerprint, schema

if TYPE_CHECKING:
    from xlwh.attribution.base import Attribution, Item, Method
    from xlwh.models import LoadedModel
    from xlwh.models.tokenize import Encoded

CODE_VERSION = "1"
METHOD_VERSIONS = {"lig": "1", "random": "1"}
"""Raise a method's version when its numbers change: what was stored before is then stale."""

EXAMPLES_AT_ONCE = 2048
"""Examples tokenized and worked on together: the bound on memory beside the rows that are written."""

CHECKPOINT = 64
"""Attributions between two checkpoints: what a kill can cost."""


@dataclass(frozen=True)
class _Job:
    """One method on one dataset: the two slots it fills."""

    corpus: Corpus
    method: str
    parameters: Any
    fingerprint: str

    def slots(self, model: str) -> tuple[Slot, Slot]:
        """Slots of `attribution_runs` and `token_attributions`."""
        part = f"{self.corpus.dataset}.{self.method}"
        keys = (model, self.corpus.language)
        return Slot("attribution_runs", keys, part), Slot("token_attributions", keys, part)


def run(context: Context, key: Key) -> StepResult:
    """Write `attribution_runs` and `token_attributions` of one model in one language, a file per dataset and method.

    Finished examples are staged, so a killed run goes on where it stopped.
    """
    model, language = str(key.model), str(key.language)
    found = [corpus for corpus in corpora(context, model, language) if corpus.task in CLASSIFICATION]
    if not found:
        return not_applicable(f"`{model}` is evaluated on no classification dataset in `{language}`.")
    if context.zoo.pin(model).task != "sequence_classification":
        return not_applicable(f"`{model}` has no sequence classification head.")
    jobs = [job for corpus in found for job in _jobs(context, model, corpus)]
    if not context.force:
        jobs = [
            job
            for job in jobs
            if not all(context.warehouse.is_fresh(slot, job.fingerprint) for slot in job.slots(model))
        ]
    if not jobs:
        return StepResult(status="fresh")
    watch, loaded = Stopwatch(), context.zoo.load(model)
    metadata: dict[str, object] = {}
    rows = examples = 0
    for job in jobs:
        frames = _finished(context, loaded, job)
        rows += frames["token_attributions"].height
        examples += frames["attribution_runs"].height
        metadata.update(_summary(job, frames["attribution_runs"]))
    return StepResult("written", rows, examples, watch.seconds, metadata=metadata)


def _jobs(context: Context, model: str, corpus: Corpus) -> Iterator[_Job]:
    """Every method of the study on one dataset, with the fingerprint of what it depends on."""
    settings = context.study.attribution
    languages = _sources(context, model, corpus)
    inputs = [*context.zoo.pin(model).identity, corpus.entry.fingerprint]
    for language in dict.fromkeys((*languages, corpus.language)):
        entry = context.warehouse.current(Slot("predictions", (model, language), corpus.dataset))
        if entry is None:
            raise MissingDataError(
                f"No predictions of `{model}` on `{corpus.dataset}` in `{language}`. "
                f"Run: xlwh materialize predictions --model {model} --language {language}"
            )
        inputs.append(entry.fingerprint)
    for name, parameters in settings.methods:
        if parameters is None:
            continue
        described = {
            "method": name,
            "method_version": METHOD_VERSIONS[name],
            "parameters": parameters.model_dump(mode="json"),
            "target": settings.target,
            "sources": languages,
            "max_examples": settings.max_examples,
            "seed": context.study.seed,
        }
        print_ = fingerprint("token_attributions", CODE_VERSION, described, inputs)
        yield _Job(corpus, name, parameters, print_)


def _sources(context: Context, model: str, corpus: Corpus) -> list[str]:
    """Languages whose predictions choose the targets: the sources that the dataset has, or its own language."""
    if context.study.attribution.target != "source_prediction":
        return [corpus.language]
    available = context.study.dataset_languages(corpus.dataset)
    return [language for language in context.study.source_languages(model) if language in available]


def _targets(context: Context, model: str, corpus: Corpus) -> pl.DataFrame:
    """(example_id, target, f_input): what is to be explained. The same examples in every language."""
    settings, study = context.study.attribution, context.study

    def predicted(language: str) -> pl.DataFrame:
        frame = context.warehouse.scan("predictions", model=model, language=language, dataset=corpus.dataset)
        return frame.select("example_id", "predicted", "label", "logits").collect()

    sources = [predicted(language) for language in _sources(context, model, corpus)]
    column = "label" if settings.target == "gold" else "predicted"
    chosen = [
        sample(frame, settings.max_examples, study.seed) if settings.max_examples is not None else frame
        for frame in sources
    ]
    targets = pl.concat(frame.select("example_id", target=column) for frame in chosen)
    own = predicted(corpus.language).select("example_id", "logits")
    return targets.drop_nulls().unique(maintain_order=True).join(own, on="example_id")


def _finished(context: Context, loaded: LoadedModel, job: _Job) -> dict[str, pl.DataFrame]:
    """Do what is left of a job, commit it, and return its rows by table."""
    slots = job.slots(loaded.key)
    targets = _targets(context, loaded.key, job.corpus)
    with context.warehouse.staging(slots, job.fingerprint) as staging:
        staged = staging.frames()["attribution_runs"].select("example_id", "target")
        left = targets.join(staged, on=("example_id", "target"), how="anti")
        done, total = targets.height - left.height, targets.height
        what = f"{job.corpus.dataset}: {job.method}"
        context.progress(what, done, total)
        examples = job.corpus.frame.collect()
        for start in range(0, left.height, EXAMPLES_AT_ONCE):
            part = left[start : start + EXAMPLES_AT_ONCE]
            for finished in _attribute(context, loaded, job, examples, part, staging):
                done += finished
                context.progress(what, done, total)
        frames = staging.frames()
        staging.finish(provenance=context.zoo.pin(loaded.key).provenance)
    return frames


def _attribute(
    context: Context,
    loaded: LoadedModel,
    job: _Job,
    examples: pl.DataFrame,
    targets: pl.DataFrame,
    staging: Staging,
) -> Iterator[int]:
    """Attribute some targets and stage them checkpoint by checkpoint; yields how many were added."""
    from xlwh.attribution.base import Item
    from xlwh.attribution.methods import METHODS
    from xlwh.models.tokenize import encode

    method: Method = METHODS[job.method]
    needed = examples.join(targets.select("example_id").unique(), on="example_id", how="semi")
    encoded = encode(loaded, needed)
    position = {str(name): index for index, name in enumerate(needed["example_id"])}
    classes = {label: index for index, label in enumerate(loaded.labels or ())}
    wanted = targets.rows(named=True)
    items = [Item(position[row["example_id"]], classes[row["target"]]) for row in wanted]
    results: list[tuple[dict[str, Any], Item, Attribution]] = []
    for index, attribution in method(
        loaded, encoded, items, job.parameters, context.study.attribution.batch_tokens
    ):
        results.append((wanted[index], items[index], attribution))
        if len(results) == CHECKPOINT:
            staging.append(_frames(loaded, job, encoded, results))
            yield len(results)
            results = []
    if results:
        staging.append(_frames(loaded, job, encoded, results))
        yield len(results)


def _frames(
    loaded: LoadedModel,
    job: _Job,
    encoded: Encoded,
    results: list[tuple[dict[str, Any], Item, Attribution]],
) -> dict[Slot, pl.DataFrame]:
    """Rows of both tables for some finished attributions."""
    keys = encoded.keys[[item.example for _, item, _ in results]]
    shared = keys.with_columns(
        model=pl.lit(loaded.key),
        method=pl.lit(job.method),
        target=pl.Series([row["target"] for row, *_ in results]),
    )
    tolerance = getattr(job.parameters, "tolerance", None)
    relative = [attribution.relative_delta for *_, attribution in results]
    columns: dict[str, list[Any]] = {
        "f_input": [
            row["logits"][item.target] if attribution.f_input is None else attribution.f_input
            for row, item, attribution in results
        ],
        "f_baseline": [attribution.f_baseline for *_, attribution in results],
        "convergence_delta": [attribution.delta for *_, attribution in results],
        "relative_delta": relative,
        "converged": [
            None if value is None or tolerance is None else value <= tolerance for value in relative
        ],
        "num_gradient_rows": [attribution.num_gradient_rows for *_, attribution in results],
        "num_forward_rows": [attribution.num_forward_rows for *_, attribution in results],
        "parameters": [json.dumps(job.parameters.model_dump(mode="json"), sort_keys=True)] * len(results),
    }
    runs = shared.with_columns(pl.Series(name, values) for name, values in columns.items())
    lengths = [len(attribution.values) for *_, attribution in results]
    tokens = shared[np.repeat(np.arange(len(results)), lengths).tolist()].with_columns(
        position=pl.Series(np.concatenate([np.arange(length) for length in lengths])),
        attribution=pl.Series(np.concatenate([attribution.values for *_, attribution in results])),
    )
    runs_slot, tokens_slot = job.slots(loaded.key)
    return {runs_slot: _typed(runs, "attribution_runs"), tokens_slot: _typed(tokens, "token_attributions")}


def _typed(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    types = schema(table)
    return frame.select(pl.col(name).cast(dtype) for name, dtype in types.items())


def _summary(job: _Job, runs: pl.DataFrame) -> dict[str, object]:
    """What the run's metadata says of one job."""
    name = f"{job.corpus.dataset}.{job.method}"
    summary: dict[str, object] = {f"{name}: attributions": runs.height}
    if runs["converged"].null_count() < runs.height:
        summary[f"{name}: converged"] = runs["converged"].mean()
        summary[f"{name}: median relative delta"] = runs["relative_delta"].median()
        summary[f"{name}: median gradient rows"] = runs["num_gradient_rows"].median()
    return summary
