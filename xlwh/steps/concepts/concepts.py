"""Clusters of one model's word vectors: concepts of one language, and of languages taken together."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.concepts.places import Place, places_of
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.concepts.sentences import sentences
from xlwh.steps.upstream import identity, keep_only, required
from xlwh.store import Entry, Slot, fingerprint, schema

if TYPE_CHECKING:
    from xlwh.concepts.kmeans import Fit
    from xlwh.study import Concepts

CODE_VERSION = "1"
TABLES = ("clusterings", "concepts", "concept_members")

WORD = (
    "dataset",
    "split",
    "language",
    "example_id",
    "word_index",
    "word",
    "segment",
    "char_start",
    "char_end",
)


@dataclass(frozen=True)
class Job:
    """The words of some languages of a corpus at one place, which are clustered together, once per seed."""

    model: str
    corpus: str
    place: Place
    languages: tuple[str, ...]
    entries: tuple[Entry, ...]
    """Files of `activations`."""

    @property
    def scope(self) -> str:
        """`monolingual:<language>` or `mixed:<language>+<language>`."""
        return f"{'monolingual' if len(self.languages) == 1 else 'mixed'}:{'+'.join(self.languages)}"

    @property
    def part(self) -> str:
        return f"{self.corpus}.{self.place}.{self.scope.replace(':', '-')}"

    def slots(self) -> dict[str, Slot]:
        """Table -> the file that this job writes."""
        return {table: Slot(table, (self.model,), self.part) for table in TABLES}

    def clustering(self, settings: Concepts, seed: int) -> str:
        """Name of one of its clusterings."""
        return f"{self.part}.k{settings.clusters}.s{seed}"


def run(context: Context, key: Key) -> StepResult:
    """Write `clusterings`, `concepts` and `concept_members`, a file of each per corpus, layer and scope.

    Every such job is committed when it is done, so a killed run goes on with the next one.
    """
    model, settings = str(key.model), context.study.concepts
    if settings is None or model not in (settings.models or context.study.models):
        return not_applicable(f"The study asks for no concepts of `{model}`.")
    found = jobs(context, model, settings)
    if not found:
        return not_applicable(f"There is nothing to cluster of `{model}`.")
    stale = []
    for job in found:
        current = _fingerprint(settings, job)
        fresh = all(context.warehouse.is_fresh(slot, current) for slot in job.slots().values())
        if context.force or not fresh:
            stale.append((job, current))
    keep_only(context, TABLES, (model,), {slot for job in found for slot in job.slots().values()})
    if not stale:
        return StepResult(status="fresh")
    watch, rows, summaries = Stopwatch(), 0, []
    for number, (job, current) in enumerate(stale):
        context.progress(f"clustering {job.part}", number, len(stale))
        frames = _clustered(context, settings, job)
        rows += frames["concept_members"].height
        summaries.append(frames["clusterings"])
        slots = job.slots()
        context.warehouse.write({slots[table]: frames[table] for table in TABLES}, current)
    context.progress("clustering", len(stale), len(stale))
    return StepResult("written", rows, 0, watch.seconds, metadata=_summary(pl.concat(summaries)))


def jobs(context: Context, model: str, settings: Concepts) -> list[Job]:
    """Everything that is to be clustered, with the files of activations that it is made from.

    Languages that none of the concepts' datasets is read in have no job; MissingDataError for activations that are
    still to be computed.
    """
    languages = settings.needed_languages(context.study.languages)
    present = {language: [texts.dataset for texts in sentences(context, language)] for language in languages}
    found = []
    for group, place, scope in _asked(context, model, settings):
        slots = [
            (language, f"{dataset}.{place}")
            for language in scope
            for dataset in group
            if dataset in present[language]
        ]
        if {language for language, _ in slots} == set(scope):
            entries = tuple(
                required(context, Slot("activations", (model, language), part), Key(model, None, language))
                for language, part in slots
            )
            found.append(Job(model, "+".join(group), place, scope, entries))
    return found


def stored_clusterings(context: Context, model: str, settings: Concepts, table: str) -> list[Entry]:
    """Files of one of the tables of concepts that are stored and that the study still asks for."""
    parts = {
        Job(model, "+".join(group), place, scope, ()).part
        for group, place, scope in _asked(context, model, settings)
    }
    entries = context.warehouse.entries(table)
    return [entry for entry in entries if entry.slot.keys == (model,) and entry.slot.part in parts]


def _asked(
    context: Context, model: str, settings: Concepts
) -> Iterator[tuple[tuple[str, ...], Place, tuple[str, ...]]]:
    """(datasets, place, languages) of everything that the study asks to be clustered."""
    scopes = [(language,) for language in settings.monolingual_languages(context.study.languages)]
    groups = [settings.datasets] if settings.pool else [(dataset,) for dataset in settings.datasets]
    for group in groups:
        for place in places_of(context.zoo.pin(model), settings):
            for scope in (*scopes, *settings.mixed):
                yield group, place, scope


def _fingerprint(settings: Concepts, job: Job) -> str:
    parameters = {
        "scope": job.scope,
        "clusters": settings.clusters,
        "algorithm": settings.algorithm,
        "seeds": settings.seeds,
        "restarts": settings.restarts,
        "max_iterations": settings.max_iterations,
    }
    return fingerprint("concept_members", CODE_VERSION, parameters, map(identity, job.entries))


def _clustered(context: Context, settings: Concepts, job: Job) -> dict[str, pl.DataFrame]:
    """Rows of the three tables, of all seeds."""
    from xlwh.concepts.kmeans import adjusted_rand, cluster
    from xlwh.concepts.points import gather

    paths = [context.warehouse.root / entry.file for entry in job.entries]
    rows = pl.scan_parquet(paths, glob=False)
    kept = rows.filter(pl.col("vector").is_not_null())
    words = kept.select(*WORD, "aggregation").collect()
    left_out = rows.filter(pl.col("reason").is_not_null()).select(pl.len()).collect().item()
    width = kept.select(pl.col("vector").list.len()).head(1).collect()
    device = context.zoo.device() if settings.algorithm == "torch" else "cpu"
    with tempfile.TemporaryDirectory(dir=context.warehouse.root, prefix=".tmp-points-") as folder:
        size = width.item() if width.height else 1
        points = gather(_vectors(kept, size), words.height, size, Path(folder) / "points")
        fits: list[tuple[int, Fit, float]] = []
        for seed in settings.seeds:
            watch = Stopwatch()
            fit = cluster(
                points,
                settings.clusters,
                seed,
                settings.algorithm,
                settings.restarts,
                settings.max_iterations,
                device,
            )
            fits.append((seed, fit, watch.seconds))
        total = sum(float((block.astype(np.float64) ** 2).sum()) for _, block in points.blocks())
    agreement = {
        (a, b): adjusted_rand(fits[a][1].labels, fits[b][1].labels)
        for b in range(len(fits))
        for a in range(b)
    }
    parts: dict[str, list[pl.DataFrame]] = {table: [] for table in TABLES}
    for number, (seed, fit, seconds) in enumerate(fits):
        name = job.clustering(settings, seed)
        scores = [value for pair, value in agreement.items() if number in pair]
        members = _members(job, name, words, fit)
        concepts = _concepts(job, name, members, fit)
        parts["concept_members"].append(members)
        parts["concepts"].append(concepts)
        facts = {
            **_identity(job, name),
            "languages": [list(job.languages)],
            "convention": job.place.convention,
            "aggregation": words["aggregation"][0],
            "num_clusters": settings.clusters,
            "algorithm": settings.algorithm,
            "seed": seed,
            "restarts": settings.restarts,
            "width": size,
            "num_points": words.height,
            "num_left_out": left_out,
            "num_types": words.select("language", "word").n_unique(),
            "num_empty": int((fit.sizes == 0).sum()),
            "inertia": fit.inertia,
            "total_inertia": total,
            "iterations": fit.iterations,
            "converged": fit.converged,
            "stability": float(np.mean(scores)) if scores else None,
            "duration_s": seconds,
        }
        parts["clusterings"].append(_typed(pl.DataFrame(facts, strict=False), "clusterings"))
    return {table: pl.concat(frames) for table, frames in parts.items()}


def _vectors(kept: pl.LazyFrame, width: int) -> Iterator[NDArray[np.float16]]:
    """Vectors in the order of the rows, some at a time."""
    batches = kept.select("vector").collect_batches(chunk_size=16_384, maintain_order=True, lazy=True)
    for batch in batches:
        if batch.height:
            yield batch["vector"].cast(pl.Array(pl.Float16, width)).to_numpy()


def _identity(job: Job, name: str) -> dict[str, object]:
    return {
        "model": job.model,
        "clustering": name,
        "corpus": job.corpus,
        "scope": job.scope,
        "stack": job.place.stack,
        "layer": job.place.layer,
    }


def _members(job: Job, name: str, words: pl.DataFrame, fit: Fit) -> pl.DataFrame:
    """Rows of `concept_members` of one clustering."""
    frame = words.with_columns(
        **{column: pl.lit(value) for column, value in _identity(job, name).items()},
        concept=pl.Series(fit.labels),
        distance=pl.Series(fit.distances),
    )
    return _typed(frame, "concept_members").sort("concept", "distance", maintain_order=True)


def _concepts(job: Job, name: str, members: pl.DataFrame, fit: Fit) -> pl.DataFrame:
    """Rows of `concepts` of one clustering."""
    inertia = pl.col("distance").cast(pl.Float64).pow(2).sum()
    filled = members.group_by("concept").agg(
        num_tokens=pl.len(), num_types=pl.struct("language", "word").n_unique(), inertia=inertia
    )
    centroids = pl.DataFrame(
        {"concept": np.arange(len(fit.centroids), dtype=np.int32), "centroid": fit.centroids}
    )
    frame = centroids.join(filled, on="concept", how="left", maintain_order="left").with_columns(
        pl.col("num_tokens", "num_types").fill_null(0), pl.col("inertia").fill_null(0.0)
    )
    total = frame["inertia"].sum()
    share = pl.col("inertia") / total if total > 0 else pl.lit(0.0)
    frame = frame.with_columns(
        model=pl.lit(job.model),
        clustering=pl.lit(name),
        is_empty=pl.col("num_tokens") == 0,
        inertia_share=share,
    )
    return _typed(frame, "concepts")


def _typed(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(dtype) for name, dtype in schema(table).items())


def _summary(clusterings: pl.DataFrame) -> dict[str, object]:
    """What the run's metadata says of its clusterings."""
    shown = clusterings.select(
        "clustering",
        "num_points",
        "num_empty",
        "iterations",
        "converged",
        explained=(1 - pl.col("inertia") / pl.col("total_inertia")).round(4),
        stability=pl.col("stability").round(3),
        seconds=pl.col("duration_s").round(2),
    )
    return {
        "clusterings": clusterings.height,
        "empty clusters": int(clusterings["num_empty"].sum()),
        "not converged": int((~clusterings["converged"]).sum()),
        "by clustering": shown.head(50),
    }
