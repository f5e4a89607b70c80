"""How the concepts of one language match those of another, in one model, through each lexicon of the study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.concepts.concepts import Job, jobs
from xlwh.steps.concepts.lexicon import slot_of
from xlwh.steps.upstream import identity, keep_only, required
from xlwh.store import Entry, Slot, fingerprint, schema

if TYPE_CHECKING:
    from xlwh.concepts.alignment_matches import Types
    from xlwh.study import ConceptAlignment, Concepts

CODE_VERSION = "1"
TABLES = ("concept_pairings", "concept_matches")


@dataclass(frozen=True)
class _Pairing:
    """A corpus in two languages and a lexicon between them: every layer's clusterings of both, side by side."""

    lexicon: str
    source: str
    target: str
    sides: tuple[tuple[Job, Job], ...]
    translations: Entry
    slots: dict[str, Slot]
    fingerprint: str


def run(context: Context, key: Key) -> StepResult:
    """Write `concept_pairings` and `concept_matches`, a file of each per lexicon, corpus and direction."""
    model = str(key.model)
    settings, concepts = context.study.concept_alignment, context.study.concepts
    if settings is None or concepts is None or model not in (concepts.models or context.study.models):
        return not_applicable(f"The study aligns no concepts of `{model}`.")
    found = list(_pairings(context, model, settings, concepts))
    if not found:
        return not_applicable(
            "No lexicon of the study is between two languages that are clustered by themselves."
        )
    keep_only(context, TABLES, (model,), {slot for pairing in found for slot in pairing.slots.values()})
    stale = [
        pairing
        for pairing in found
        if context.force
        or not all(context.warehouse.is_fresh(slot, pairing.fingerprint) for slot in pairing.slots.values())
    ]
    if not stale:
        return StepResult(status="fresh")
    watch, rows = Stopwatch(), 0
    summaries: list[pl.DataFrame] = []
    for number, pairing in enumerate(stale):
        what = f"matching {pairing.lexicon} {pairing.source}-{pairing.target}"
        context.progress(what, number, len(stale))
        frames = _matched(context, model, settings, concepts, pairing)
        rows += frames["concept_matches"].height
        summaries.append(frames["concept_pairings"])
        context.warehouse.write(
            {pairing.slots[table]: frames[table] for table in TABLES}, pairing.fingerprint
        )
        context.progress(what, number + 1, len(stale))
    return StepResult("written", rows, 0, watch.seconds, metadata=_summary(pl.concat(summaries)))


def _pairings(
    context: Context, model: str, settings: ConceptAlignment, concepts: Concepts
) -> Iterator[_Pairing]:
    """What there is to match; MissingDataError for clusterings and lexica that are still to be made."""
    study = context.study
    alone = {
        (job.corpus, job.place, job.languages[0]): job
        for job in jobs(context, model, concepts)
        if len(job.languages) == 1
    }
    for name in settings.lexica or study.lexica:
        for source, target in study.lexica[name].directions():
            for corpus in dict.fromkeys(job.corpus for job in alone.values()):
                sides = tuple(
                    (job, alone[corpus, place, target])
                    for (at, place, language), job in alone.items()
                    if (at, language) == (corpus, source) and (corpus, place, target) in alone
                )
                if not sides:
                    continue
                translations = required(context, slot_of(name, source, target), Key(language=target))
                entries = [
                    required(context, job.slots()["concept_members"], Key(model))
                    for job in dict.fromkeys(job for pair in sides for job in pair)
                ]
                parameters = {
                    "floor": settings.floor,
                    "draws": settings.draws,
                    "seed": study.seed,
                    "depth": study.lexica[name].n_best,
                }
                mark = fingerprint(
                    "concept_matches", CODE_VERSION, parameters, map(identity, [translations, *entries])
                )
                part = f"{name}.{corpus}.{source}-{target}"
                slots = {table: Slot(table, (model,), part) for table in TABLES}
                yield _Pairing(name, source, target, sides, translations, slots, mark)


def _matched(
    context: Context, model: str, settings: ConceptAlignment, concepts: Concepts, pairing: _Pairing
) -> dict[str, pl.DataFrame]:
    """Rows of the two tables: every layer and seed, one after the other."""
    from xlwh.concepts.alignment_matches import covered, matches, translations_of

    lexicon = pl.read_parquet(
        context.warehouse.root / pairing.translations.file,
        columns=["source_word", "target_word", "rank", "file_rank"],
    )
    depth = context.study.lexica[pairing.lexicon].n_best
    parts: dict[str, list[pl.DataFrame]] = {table: [] for table in TABLES}
    for source_job, target_job in pairing.sides:
        for seed in concepts.seeds:
            names = [job.clustering(concepts, seed) for job in (source_job, target_job)]
            source, target = (
                _types(context, job, name, concepts.clusters)
                for job, name in zip((source_job, target_job), names, strict=True)
            )
            translations = translations_of(lexicon, source, target, depth)
            found = matches(
                source,
                target,
                translations,
                floor=settings.floor,
                draws=settings.draws,
                seed=(context.study.seed, pairing.lexicon, *names),
            )
            shared = {
                "model": model,
                "lexicon": pairing.lexicon,
                "source_clustering": names[0],
                "target_clustering": names[1],
            }
            facts = {
                **shared,
                "source_language": pairing.source,
                "target_language": pairing.target,
                "max_rank": depth,
                "floor": settings.floor,
                "num_draws": settings.draws,
                "source_concepts": concepts.clusters,
                "source_types": len(source.vocabulary),
                "source_types_covered": covered(translations),
            }
            parts["concept_pairings"].append(_typed(pl.DataFrame([facts]), "concept_pairings"))
            literals = [pl.lit(value, dtype=pl.String).alias(column) for column, value in shared.items()]
            parts["concept_matches"].append(_typed(found.with_columns(literals), "concept_matches"))
    return {table: pl.concat(frames) for table, frames in parts.items()}


def _types(context: Context, job: Job, clustering: str, clusters: int) -> Types:
    from xlwh.concepts.alignment_matches import types_of

    entry = required(context, job.slots()["concept_members"], Key(job.model))
    members = pl.scan_parquet(context.warehouse.root / entry.file, glob=False)
    members = members.filter(pl.col("clustering") == clustering).select("concept", "word")
    return types_of(members.collect(), clusters)


def _typed(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(dtype) for name, dtype in schema(table).items())


def _summary(pairings: pl.DataFrame) -> dict[str, object]:
    """What the run's metadata says: how much of the source words each lexicon covers."""
    by_lexicon = pairings.group_by("lexicon", "source_language", "target_language", maintain_order=True).agg(
        pairings=pl.len(),
        coverage=(pl.col("source_types_covered").sum() / pl.col("source_types").sum()).round(3),
    )
    return {"pairings": pairings.height, "coverage of source types": by_lexicon}
