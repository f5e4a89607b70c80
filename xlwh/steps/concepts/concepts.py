"""Clusters of one model's word vectors: concepts of one language, and of languages taken together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.steps.base import Stopwatch
from xlwh.steps.concepts.clusterings import Clustering, clusterings, texts
from xlwh.steps.concepts.sentences import settings_of
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot

if TYPE_CHECKING:
    from xlwh.concepts.kmeans import Fit

_WORD = (
    "dataset", "split", "language", "example_id", "word_index", "word", "segment", "char_start", "char_end",
)  # fmt: skip


@dataclass(frozen=True)
class _Params:
    clustering: Clustering
    clusters: int
    algorithm: str
    seeds: tuple[int, ...]
    restarts: int
    max_iterations: int


class _Concepts(Whole):
    version = "2"
    libraries = ("scipy",)
    counted = ("concept_members",)

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per corpus, layer and group of languages."""
        settings, model = settings_of(partition), partition.model
        for clustering in clusterings(partition):
            vectors = [
                partition.required(Slot("activations", (model, language), f"{dataset}.{clustering.place}"))
                for dataset, language in texts(partition.study, clustering)
            ]
            yield Job(
                {table: clustering.slot(table) for table in ("clusterings", "concepts", "concept_members")},
                _Params(
                    clustering,
                    settings.clusters,
                    settings.algorithm,
                    settings.seeds,
                    settings.restarts,
                    settings.max_iterations,
                ),
                tuple(vectors),
                libraries=(LIBRARIES[settings.algorithm],),
                name=clustering.part,
                together="clustering",
            )

    def make(self, work: Work, job: Job) -> Frames:
        """Rows of the three tables, of all seeds."""
        from xlwh.concepts.kmeans import adjusted_rand, cluster
        from xlwh.concepts.points import gather

        params: _Params = job.params
        rows = work.scan(job, "activations")
        kept = rows.filter(pl.col("vector").is_not_null())
        words = kept.select(*_WORD, "aggregation").collect()
        width = kept.select(pl.col("vector").list.len()).head(1).collect()
        size = width.item() if width.height else 1
        device = work.device() if params.algorithm == "torch" else "cpu"
        fits: list[tuple[Fit, float]] = []
        with work.folder() as folder:
            points = gather(_vectors(kept, size), words.height, size, folder / "points")
            for number, seed in enumerate(params.seeds):
                work.within(number, len(params.seeds))
                watch = Stopwatch()
                fit = cluster(
                    points,
                    params.clusters,
                    seed,
                    params.algorithm,
                    params.restarts,
                    params.max_iterations,
                    device,
                )
                fits.append((fit, watch.seconds))
            total = sum(float((block.astype(np.float64) ** 2).sum()) for _, block in points.blocks())
        shared = {
            "languages": [list(params.clustering.languages)],
            "convention": params.clustering.place.convention,
            "aggregation": words["aggregation"][0],
            "num_clusters": params.clusters,
            "algorithm": params.algorithm,
            "restarts": params.restarts,
            "width": size,
            "num_points": words.height,
            "num_left_out": rows.filter(pl.col("reason").is_not_null()).select(pl.len()).collect().item(),
            "num_types": words.select("language", "word").n_unique(),
            "total_inertia": total,
        }
        runs, concepts, members = [], [], []
        for seed, (fit, seconds) in zip(params.seeds, fits, strict=True):
            identity = _identity(params.clustering, params.clustering.name(params.clusters, seed))
            scores = [adjusted_rand(fit.labels, other.labels) for other, _ in fits if other is not fit]
            runs.append(
                {
                    **identity,
                    **shared,
                    "seed": seed,
                    "num_empty": int((fit.sizes == 0).sum()),
                    "inertia": fit.inertia,
                    "iterations": fit.iterations,
                    "converged": fit.converged,
                    "stability": float(np.mean(scores)) if scores else None,
                    "duration_s": seconds,
                }
            )
            members.append(_members(identity, words, fit))
            concepts.append(_concepts(identity, members[-1], fit))
        _tell(work, found := pl.concat(pl.DataFrame(run, strict=False) for run in runs))
        return {
            "clusterings": found,
            "concepts": pl.concat(concepts),
            "concept_members": pl.concat(members),
        }


STEP = _Concepts()

LIBRARIES = {"torch": "torch", "faiss": "faiss", "scikit-learn": "scikit-learn", "minibatch": "scikit-learn"}
"""What computes, by `concepts.algorithm`."""


def _vectors(kept: pl.LazyFrame, width: int) -> Iterator[NDArray[np.float16]]:
    """Vectors in the order of the rows, some at a time."""
    batches = kept.select("vector").collect_batches(chunk_size=16_384, maintain_order=True, lazy=True)
    for batch in batches:
        if batch.height:
            yield batch["vector"].cast(pl.Array(pl.Float16, width)).to_numpy()


def _identity(clustering: Clustering, name: str) -> dict[str, object]:
    return {
        "model": clustering.model,
        "clustering": name,
        "corpus": clustering.corpus,
        "scope": clustering.scope,
        "stack": clustering.place.stack,
        "layer": clustering.place.layer,
    }


def _members(identity: Mapping[str, object], words: pl.DataFrame, fit: Fit) -> pl.DataFrame:
    """Rows of `concept_members` of one clustering."""
    return words.with_columns(
        **{column: pl.lit(value) for column, value in identity.items()},
        concept=pl.Series(fit.labels),
        distance=pl.Series(fit.distances),
    ).sort("concept", "distance", maintain_order=True)


def _concepts(identity: Mapping[str, object], members: pl.DataFrame, fit: Fit) -> pl.DataFrame:
    """Rows of `concepts` of one clustering."""
    filled = members.group_by("concept").agg(
        num_tokens=pl.len(),
        num_types=pl.struct("language", "word").n_unique(),
        inertia=pl.col("distance").cast(pl.Float64).pow(2).sum(),
    )
    centroids = pl.DataFrame({"concept": range(len(fit.centroids)), "centroid": fit.centroids})
    frame = centroids.join(filled, on="concept", how="left", maintain_order="left").with_columns(
        pl.col("num_tokens", "num_types").fill_null(0), pl.col("inertia").fill_null(0.0)
    )
    total = frame["inertia"].sum()
    return frame.with_columns(
        model=pl.lit(identity["model"]),
        clustering=pl.lit(identity["clustering"]),
        is_empty=pl.col("num_tokens") == 0,
        inertia_share=pl.col("inertia") / total if total > 0 else pl.lit(0.0),
    )


def _tell(work: Work, runs: pl.DataFrame) -> None:
    """What the run's metadata says of some clusterings."""
    work.count("clusterings", runs.height)
    work.count("empty clusters", int(runs["num_empty"].sum()))
    work.count("not converged", int((~runs["converged"]).sum()))
    work.table(
        "by clustering",
        runs.select(
            "clustering",
            "num_points",
            "num_empty",
            "iterations",
            "converged",
            explained=(1 - pl.col("inertia") / pl.col("total_inertia")).round(4),
            stability=pl.col("stability").cast(pl.Float64).round(3),
            seconds=pl.col("duration_s").round(2),
        ),
    )
