"""How much of each concept of a model's mixed clusterings is of which language, and how much would be by chance."""

from __future__ import annotations

import polars as pl

from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.concepts.concepts import Job, jobs
from xlwh.steps.upstream import identity, required
from xlwh.store import Slot, fingerprint, schema

CODE_VERSION = "1"


def run(context: Context, key: Key) -> StepResult:
    """Write `concept_languages`, a file per corpus, layer and mixed scope."""
    model = str(key.model)
    settings, concepts = context.study.concept_alignment, context.study.concepts
    if settings is None or concepts is None or model not in (concepts.models or context.study.models):
        return not_applicable(f"The study aligns no concepts of `{model}`.")
    found = {
        Slot("concept_languages", (model,), job.part): job
        for job in jobs(context, model, concepts)
        if len(job.languages) > 1
    }
    others = [
        entry.slot
        for entry in context.warehouse.entries("concept_languages")
        if entry.slot.keys == (model,) and entry.slot not in found
    ]
    if others:
        context.warehouse.drop(others)
    if not found:
        return not_applicable("The study clusters no languages together.")
    parameters = {"draws": settings.draws, "seed": context.study.seed}
    stale = {}
    for slot, job in found.items():
        entry = required(context, job.slots()["concept_members"], Key(model))
        mark = fingerprint("concept_languages", CODE_VERSION, parameters, [identity(entry)])
        if context.force or not context.warehouse.is_fresh(slot, mark):
            stale[slot] = job, mark
    if not stale:
        return StepResult(status="fresh")
    watch, rows = Stopwatch(), 0
    for number, (slot, (job, mark)) in enumerate(stale.items()):
        context.progress("languages of concepts", number, len(stale))
        frame = _counted(context, job)
        context.warehouse.write({slot: frame}, mark)
        rows += frame.height
    context.progress("languages of concepts", len(stale), len(stale))
    return StepResult("written", rows, 0, watch.seconds, metadata={"mixed clusterings": len(stale)})


def _counted(context: Context, job: Job) -> pl.DataFrame:
    """Rows of one file: every seed's clustering."""
    from xlwh.concepts.alignment_matches import languages

    settings = context.study.concept_alignment
    assert settings is not None
    entry = required(context, job.slots()["concept_members"], Key(job.model))
    members = pl.read_parquet(
        context.warehouse.root / entry.file, columns=["clustering", "concept", "language", "word"]
    )
    frames = []
    for (name,), part in members.partition_by("clustering", as_dict=True, maintain_order=True).items():
        counted = languages(part.drop("clustering"), draws=settings.draws, seed=(context.study.seed, name))
        frames.append(counted.with_columns(model=pl.lit(job.model), clustering=pl.lit(name)))
    columns = schema("concept_languages")
    return pl.concat(frames).select(pl.col(name).cast(dtype) for name, dtype in columns.items())
