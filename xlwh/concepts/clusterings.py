"""What is clustered together, and the rows of `clusterings`, `concepts` and `concept_members` that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from xlwh.concepts.kmeans import Fit, adjusted_rand, cluster
from xlwh.concepts.places import Place
from xlwh.concepts.points import Points
from xlwh.store import Slot

if TYPE_CHECKING:
    import torch

WORD = (
    "dataset", "split", "language", "example_id", "word_index", "word", "segment", "char_start", "char_end",
)  # fmt: skip
"""Columns that `concept_members` has of the word."""


@dataclass(frozen=True)
class Clustering:
    """The words of some languages of a corpus at one place, which are clustered together, once per seed."""

    model: str
    datasets: tuple[str, ...]
    """What the corpus consists of."""
    place: Place
    languages: tuple[str, ...]

    @property
    def corpus(self) -> str:
        """Name of the corpus."""
        return "+".join(self.datasets)

    @property
    def scope(self) -> str:
        """`monolingual:<language>` or `mixed:<language>+<language>`."""
        return f"{'monolingual' if len(self.languages) == 1 else 'mixed'}:{'+'.join(self.languages)}"

    @property
    def part(self) -> str:
        """Name of its files."""
        return f"{self.corpus}.{self.place}.{self.scope.replace(':', '-')}"

    def slot(self, table: str) -> Slot:
        """Its file of a table."""
        return Slot(table, (self.model,), self.part)

    def name(self, clusters: int, seed: int) -> str:
        """What it is called in the tables, by seed."""
        return f"{self.part}.k{clusters}.s{seed}"


@dataclass(frozen=True)
class Task:
    """A clustering, and how it is made: `cluster` says what the numbers are."""

    clustering: Clustering
    clusters: int
    algorithm: str
    seeds: tuple[int, ...]
    restarts: int
    max_iterations: int


def clustered(
    task: Task,
    words: pl.DataFrame,
    points: Points,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, pl.DataFrame]:
    """Rows of the three tables for every seed; `clusterings` lacks `num_left_out`.

    `words` has the columns WORD and `aggregation` of `activations`, whose vectors are the `points`, in the same order.
    """
    fits: list[Fit] = []
    for number, seed in enumerate(task.seeds):
        if progress is not None:
            progress(number, len(task.seeds))
        how = (task.algorithm, task.restarts, task.max_iterations, device)
        fits.append(cluster(points, task.clusters, seed, *how))
    asked = task.clustering
    shared = {
        "model": asked.model,
        "corpus": asked.corpus,
        "scope": asked.scope,
        "languages": list(asked.languages),
        "stack": asked.place.stack,
        "convention": asked.place.convention,
        "layer": asked.place.layer,
        "aggregation": words["aggregation"][0],
        "num_clusters": task.clusters,
        "algorithm": task.algorithm,
        "restarts": task.restarts,
        "width": points.width,
        "num_points": words.height,
        "num_types": words.select("language", "word").n_unique(),
        "total_inertia": sum(float((block.astype(np.float64) ** 2).sum()) for _, block in points.blocks()),
    }
    runs, concepts, members = [], [], []
    for seed, fit in zip(task.seeds, fits, strict=True):
        scores = [adjusted_rand(fit.labels, other.labels) for other in fits if other is not fit]
        run = {
            **shared,
            "clustering": asked.name(task.clusters, seed),
            "seed": seed,
            "num_empty": int((fit.sizes == 0).sum()),
            "inertia": fit.inertia,
            "iterations": fit.iterations,
            "converged": fit.converged,
            "stability": float(np.mean(scores)) if scores else None,
            "duration_s": fit.seconds,
        }
        runs.append(run)
        members.append(_members(run, words, fit))
        concepts.append(_concepts(run, members[-1], fit))
    return {
        "clusterings": pl.DataFrame(runs, infer_schema_length=None),
        "concepts": pl.concat(concepts),
        "concept_members": pl.concat(members),
    }


def _members(run: Mapping[str, object], words: pl.DataFrame, fit: Fit) -> pl.DataFrame:
    """Rows of `concept_members` of one clustering, nearest to their centroid first."""
    columns = {
        name: pl.lit(run[name]) for name in ("model", "clustering", "corpus", "scope", "stack", "layer")
    }
    labelled = words.with_columns(**columns, concept=pl.Series(fit.labels), distance=pl.Series(fit.distances))
    return labelled.sort("concept", "distance", maintain_order=True)


def _concepts(run: Mapping[str, object], members: pl.DataFrame, fit: Fit) -> pl.DataFrame:
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
        model=pl.lit(run["model"]),
        clustering=pl.lit(run["clustering"]),
        is_empty=pl.col("num_tokens") == 0,
        inertia_share=pl.col("inertia") / total if total > 0 else pl.lit(0.0),
    )


def summary(runs: pl.DataFrame) -> pl.DataFrame:
    """What is told of clusterings, from their rows: how well they fit, how stable they are and how long they took."""
    return runs.select(
        "clustering",
        "num_points",
        "num_empty",
        "iterations",
        "converged",
        explained=(1 - pl.col("inertia") / pl.col("total_inertia")).round(4),
        stability=pl.col("stability").cast(pl.Float64).round(3),
        seconds=pl.col("duration_s").round(2),
    )
