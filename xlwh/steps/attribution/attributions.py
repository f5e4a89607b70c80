"""Attribute predictions to sub-tokens, for every method and every target that the study compares."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from xlwh.attribution.methods import registered, shared_pass
from xlwh.steps.attribution.stored import MethodJob, passes
from xlwh.steps.attribution.targets import EXPLAINED, explains_own, num_explained_own, sources
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.models.evaluated import TAGGING, Corpus, corpora
from xlwh.steps.models.selftests import forget_refused, refused_methods, require_some, without
from xlwh.steps.models.translations import TRANSLATION
from xlwh.store import Slot, Staging, fingerprint, schema

if TYPE_CHECKING:
    from xlwh.attribution.base import Attribution, Item
    from xlwh.models import LoadedModel
    from xlwh.models.tokenize import Encoded

CODE_VERSION = "1"

EXAMPLES_AT_ONCE = 2048
"""Examples tokenized and worked on together: the bound on memory beside the rows that are written."""

CHECKPOINT = 64
"""Attributions between two checkpoints: what a kill can cost."""

ROWS_FINGERPRINT = "xlwh.rows_fingerprint"
"""Metadata of a file of attributions: `_Job.rows_fingerprint`."""


@dataclass(frozen=True)
class _Job(MethodJob):
    """One method on one dataset, and the two slots it fills."""

    rows_fingerprint: str
    """Of what each row depends on, whatever other rows there are."""

    def slots(self, model: str) -> tuple[Slot, Slot]:
        """Slots of `attribution_runs` and `token_attributions`."""
        part = f"{self.corpus.dataset}.{self.method}"
        keys = (model, self.corpus.language)
        return Slot("attribution_runs", keys, part), Slot("token_attributions", keys, part)


def run(context: Context, key: Key) -> StepResult:
    """Write `attribution_runs` and `token_attributions` of one model in one language, a file per dataset and method.

    Finished examples are staged, so a killed run goes on where it stopped. Where the study asks for more targets than
    it did, or for others, the rows that are there already are taken over.
    """
    model, language = str(key.model), str(key.language)
    offered = [corpus for corpus in corpora(context, model, language) if corpus.task in EXPLAINED]
    if not offered:
        return not_applicable(f"`{model}` is evaluated on nothing that is attributed in `{language}`.")
    head = context.zoo.pin(model).task
    found = [corpus for corpus in offered if EXPLAINED[str(corpus.task)].head == head]
    if not found:
        wanted = EXPLAINED[str(offered[0].task)].head.replace("_", " ")
        return not_applicable(f"`{model}` has no {wanted} head.")
    jobs = [job for corpus in found for job in _jobs(context, model, corpus)]
    methods = list(dict.fromkeys(job.method for job in jobs))
    if not context.force:
        jobs = [
            job
            for job in jobs
            if not all(context.warehouse.is_fresh(slot, job.fingerprint) for slot in job.slots(model))
        ]
    if not jobs:
        return StepResult(status="fresh")
    watch, loaded = Stopwatch(), context.zoo.load(model)
    refused = refused_methods(context, model, methods, loaded)
    require_some(refused, methods)
    forget_refused(context, (slot for job in jobs if job.method in refused for slot in job.slots(model)))
    jobs = [job for job in jobs if job.method not in refused]
    if not jobs:
        return StepResult(status="fresh", reason=without(model, refused))
    metadata: dict[str, object] = {}
    rows = examples = 0
    for together in passes(jobs):
        for job, frames in zip(together, _finished(context, loaded, together), strict=True):
            rows += frames["token_attributions"].height
            examples += frames["attribution_runs"].height
            metadata.update(_summary(job, frames["attribution_runs"]))
    return StepResult(
        "written", rows, examples, watch.seconds, reason=without(model, refused), metadata=metadata
    )


def _jobs(context: Context, model: str, corpus: Corpus) -> Iterator[_Job]:
    """Every method of the study on one dataset, with the fingerprint of what it depends on."""
    settings = context.study.attribution
    needed = EXPLAINED[str(corpus.task)].needs(context, model, corpus)
    inputs = [
        *context.zoo.pin(model).identity,
        corpus.entry.fingerprint,
        *(entry.fingerprint for entry in needed),
    ]
    for name, parameters in settings.methods:
        if parameters is None:
            continue
        method = registered(name, parameters, context.study.folder)
        how = {
            "method": name,
            "method_version": method.version,
            "parameters": parameters.model_dump(mode="json"),
        }
        which = {
            "target": settings.target,
            "sources": sources(context, model, corpus),
            "max_examples": settings.max_examples,
            "seed": context.study.seed,
        }
        if explains_own(context, corpus):
            which["own_prediction"] = num_explained_own(context)
        if corpus.task in (TAGGING, TRANSLATION):
            which["words_per_example"] = settings.words_per_example
        rows = fingerprint("token_attributions", CODE_VERSION, how, inputs)
        whole = fingerprint("token_attributions", CODE_VERSION, {**how, **which}, inputs)
        yield _Job(corpus, name, method, parameters, whole, rows)


def _finished(context: Context, loaded: LoadedModel, jobs: Sequence[_Job]) -> list[dict[str, pl.DataFrame]]:
    """Do what is left of the jobs of one pass, commit it, and return each job's rows by table."""
    corpus = jobs[0].corpus
    targets = EXPLAINED[str(corpus.task)].targets(context, loaded.key, corpus)
    with ExitStack() as held:
        stagings = [
            held.enter_context(context.warehouse.staging(job.slots(loaded.key), job.fingerprint))
            for job in jobs
        ]
        if not context.force:
            for job, staging in zip(jobs, stagings, strict=True):
                _take_over(context, job, job.slots(loaded.key), _left(targets, staging), staging)
        left = [_left(targets, staging) for staging in stagings]
        # A kill can leave one method ahead of the others: what it has is computed with them, and not stored twice.
        needed = targets.join(pl.concat(left), on=("example_id", "target"), how="semi")
        done, total = targets.height - needed.height, targets.height
        what = f"{corpus.dataset}: {', '.join(job.method for job in jobs)}"
        context.progress(what, done, total)
        examples = corpus.frame.collect()
        for start in range(0, needed.height, EXAMPLES_AT_ONCE):
            part = needed[start : start + EXAMPLES_AT_ONCE]
            for frames in _attribute(context, loaded, jobs, examples, part):
                for staging, missing, made in zip(stagings, left, frames, strict=True):
                    wanted = {
                        slot: frame.join(missing, on=("example_id", "target"), how="semi")
                        for slot, frame in made.items()
                    }
                    staging.append(wanted)
                done += next(iter(frames[0].values())).height
                context.progress(what, done, total)
        finished = [staging.frames() for staging in stagings]
        for job, staging in zip(jobs, stagings, strict=True):
            provenance = context.zoo.pin(loaded.key).provenance
            staging.finish(provenance={**provenance, ROWS_FINGERPRINT: job.rows_fingerprint})
    return finished


def _take_over(
    context: Context, job: _Job, slots: tuple[Slot, Slot], targets: pl.DataFrame, staging: Staging
) -> None:
    """Stage what the current files have of the targets, if it was made from the same inputs in the same way."""
    entries = [entry for slot in slots if (entry := context.warehouse.current(slot)) is not None]
    files = [context.warehouse.root / entry.file for entry in entries]
    if len(files) < len(slots) or not all(_made_so(file, job.rows_fingerprint) for file in files):
        return
    for start in range(0, targets.height, EXAMPLES_AT_ONCE):
        part = targets[start : start + EXAMPLES_AT_ONCE].lazy()
        scans = (pl.scan_parquet(file, hive_partitioning=False, glob=False) for file in files)
        frames = [scan.join(part, on=("example_id", "target"), how="semi").collect() for scan in scans]
        if frames[0].height:
            staging.append(dict(zip(slots, frames, strict=True)))


def _made_so(file: Path, rows_fingerprint: str) -> bool:
    return file.is_file() and pl.read_parquet_metadata(file).get(ROWS_FINGERPRINT) == rows_fingerprint


def _left(targets: pl.DataFrame, staging: Staging) -> pl.DataFrame:
    staged = staging.frames()["attribution_runs"].select("example_id", "target")
    return targets.select("example_id", "target").join(staged, on=("example_id", "target"), how="anti")


def _attribute(
    context: Context,
    loaded: LoadedModel,
    jobs: Sequence[_Job],
    examples: pl.DataFrame,
    targets: pl.DataFrame,
) -> Iterator[list[dict[Slot, pl.DataFrame]]]:
    """Attribute some targets by the methods of one pass; yields each job's frames checkpoint by checkpoint.

    The first frame of a job has a row per attribution.
    """
    make = shared_pass(jobs[0].registered, [job.method for job in jobs], context.study.folder)
    needed = examples.join(targets.select("example_id").unique(), on="example_id", how="semi")
    task = EXPLAINED[str(jobs[0].corpus.task)]
    encoded, items, positions = task.place(context, loaded, needed, targets)
    wanted = targets.rows(named=True)
    results: list[tuple[int, dict[str, Attribution]]] = []

    def frames() -> list[dict[Slot, pl.DataFrame]]:
        return [
            _frames(
                loaded,
                job,
                encoded,
                [(wanted[i], items[i], positions[i], made[job.method]) for i, made in results],
            )
            for job in jobs
        ]

    parameters = {job.method: job.parameters for job in jobs}
    for index, made in make(loaded, encoded, items, parameters, context.study.attribution.batch_tokens):
        results.append((index, made))
        if len(results) == CHECKPOINT:
            yield frames()
            results = []
    if results:
        yield frames()


def _frames(
    loaded: LoadedModel,
    job: _Job,
    encoded: Encoded,
    results: list[tuple[dict[str, Any], Item, Sequence[int], Attribution]],
) -> dict[Slot, pl.DataFrame]:
    """Rows of both tables for some finished attributions."""
    keys = encoded.keys[[item.example for _, item, *_ in results]]
    shared = keys.with_columns(
        model=pl.lit(loaded.key),
        method=pl.lit(job.method),
        target=pl.Series([row["target"] for row, *_ in results]),
    )
    tolerance = getattr(job.parameters, "tolerance", None)
    relative = [attribution.relative_delta for *_, attribution in results]
    described = job.parameters.model_dump(mode="json")
    columns: dict[str, list[Any]] = {
        "f_input": [
            row["logits"][item.target if len(row["logits"]) > 1 else 0]
            if attribution.f_input is None
            else attribution.f_input
            for row, item, _, attribution in results
        ],
        "f_baseline": [attribution.f_baseline for *_, attribution in results],
        "convergence_delta": [attribution.delta for *_, attribution in results],
        "relative_delta": relative,
        "converged": [
            None if value is None or tolerance is None else value <= tolerance for value in relative
        ],
        "num_gradient_rows": [attribution.num_gradient_rows for *_, attribution in results],
        "num_forward_rows": [attribution.num_forward_rows for *_, attribution in results],
        "parameters": [
            json.dumps({**described, **attribution.details}, sort_keys=True) for *_, attribution in results
        ],
    }
    runs = shared.with_columns(pl.Series(name, values) for name, values in columns.items())
    lengths = [len(attribution.values) for *_, attribution in results]
    tokens = shared[np.repeat(np.arange(len(results)), lengths).tolist()].with_columns(
        position=pl.Series(np.concatenate([positions for *_, positions, _ in results])),
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
    used = {json.loads(text).get("baseline") for text in runs["parameters"].unique()} - {None}
    if used:
        summary[f"{name}: baseline"] = ", ".join(sorted(used))
    return summary
