"""k-means on every point: Lloyd's iterations over blocks, from good starting centroids, with restarts.

No point is left out and none is counted twice, whatever the size: memory holds a block of points, the centroids, and
a label and a distance per point. (faiss's own k-means draws a sub-sample without a word above 256 points a centroid.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlwh.concepts.assign import Assigner, assigner
from xlwh.concepts.points import Points
from xlwh.concepts.seeding import starting_centroids
from xlwh.errors import StudyError

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-4
"""Iterations stop when one lowers the inertia by less than this share of it."""


@dataclass(frozen=True)
class Fit:
    """Clusters of some points."""

    centroids: NDArray[np.float32]
    """`[clusters, width]`, in the coordinates of the vectors as they were given."""
    labels: NDArray[np.int64]
    """`[points]`, the nearest centroid."""
    distances: NDArray[np.float32]
    """`[points]`, Euclidean distance to it."""
    inertia: float
    """Sum of the squared distances."""
    iterations: int
    converged: bool
    """Whether it stopped by itself, not at the limit of iterations."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Points of each cluster, `[clusters]`."""
        return np.bincount(self.labels, minlength=len(self.centroids))


def cluster(
    points: Points,
    clusters: int,
    seed: int,
    algorithm: str = "faiss",
    restarts: int = 1,
    max_iterations: int = 100,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Fit:
    """The best of `restarts` runs by inertia.

    `algorithm` is faiss, torch, scikit-learn or minibatch; the last two hold all points in memory and start in their
    own way. StudyError if there are fewer points than clusters. `progress` is called after each run.
    """
    if points.count < clusters:
        raise StudyError(
            f"{points.count} word occurrences cannot make {clusters} clusters. Lower `concepts.clusters` or "
            "`concepts.min_count`."
        )
    best: Fit | None = None
    for number, source in enumerate(np.random.SeedSequence(seed).spawn(restarts), start=1):
        rng = np.random.default_rng(source)
        if algorithm in ("scikit-learn", "minibatch"):
            fit = _scikit(points, clusters, rng, algorithm, max_iterations)
        else:
            engine = assigner(algorithm, device)
            start = starting_centroids(points, clusters, engine, rng)
            fit = lloyd(points, start, engine, max_iterations)
        if best is None or fit.inertia < best.inertia:
            best = fit
        if progress is not None:
            progress(number)
    assert best is not None
    return replace(best, centroids=best.centroids + points.mean)


def lloyd(
    points: Points,
    centroids: NDArray[np.float32],
    engine: Assigner,
    max_iterations: int = 100,
    tolerance: float = TOLERANCE,
) -> Fit:
    """Lloyd's iterations from given centroids `[clusters, width]`, which are relative to the points' mean.

    A cluster that loses its last point is moved to the point farthest from its centroid. The labels and distances
    belong to the centroids that are returned.
    """
    centroids = np.array(centroids, dtype=np.float32)
    labels = np.full(points.count, -1, dtype=np.int64)
    squared = np.zeros(points.count, dtype=np.float32)
    sums = np.zeros(centroids.shape)
    before, converged, iteration = np.inf, False, 0
    while True:
        changed = _assign(points, centroids, engine, labels, squared, sums)
        inertia = float(squared.sum(dtype=np.float64))
        converged = not changed or (iteration > 0 and before - inertia <= tolerance * before)
        if converged or iteration == max_iterations:
            break
        before = inertia
        iteration += 1
        centroids = _means(points, centroids, labels, squared, sums)
    squared = _exact(points, centroids, labels)
    return Fit(
        centroids, labels, np.sqrt(squared), float(squared.sum(dtype=np.float64)), iteration, converged
    )


def _assign(
    points: Points,
    centroids: NDArray[np.float32],
    engine: Assigner,
    labels: NDArray[np.int64],
    squared: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> int:
    """One pass: update labels, squared distances and the clusters' sums in place; how many points moved."""
    changed = 0
    engine.load(centroids)
    for rows, block in points.blocks():
        new, squared[rows] = engine.nearest(block)
        moved = np.flatnonzero(new != labels[rows])
        if len(moved):
            # Only who moved: after a few iterations that is a small share.
            values, old = block[moved] if len(moved) < len(block) else block, labels[rows][moved]
            _add(sums, new[moved], values, 1)
            if old[0] >= 0:
                _add(sums, old, values, -1)
            labels[rows] = new
            changed += len(moved)
    return changed


def _add(
    sums: NDArray[np.float64], labels: NDArray[np.int64], values: NDArray[np.float32], sign: int
) -> None:
    from scipy.sparse import csr_array

    count = len(labels)
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(len(sums) + 1))
    members = csr_array((np.ones(count, np.float32), order, bounds), shape=(len(sums), count))
    sums += sign * (members @ values)


def _means(
    points: Points,
    centroids: NDArray[np.float32],
    labels: NDArray[np.int64],
    squared: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Means of the clusters, empty ones moved to the points that are worst served (as scikit-learn does)."""
    counts = np.bincount(labels, minlength=len(centroids))
    empty = np.flatnonzero(counts == 0)
    means = centroids.copy()
    full = counts > 0
    means[full] = sums[full] / counts[full, None]
    if len(empty):
        farthest = np.argpartition(squared, -len(empty))[-len(empty) :]
        farthest = farthest[squared[farthest] > 0]
        means[empty[: len(farthest)]] = points.rows(farthest)
    return means


def _exact(points: Points, centroids: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Squared distances to the own centroid `[points]`, without the cancellation of the matrix product."""
    squared = np.empty(points.count, dtype=np.float32)
    for rows, block in points.blocks():
        difference = block - centroids[labels[rows]]
        squared[rows] = np.einsum("ij,ij->i", difference, difference)
    return squared


def _scikit(
    points: Points, clusters: int, rng: np.random.Generator, algorithm: str, max_iterations: int
) -> Fit:
    try:
        from sklearn.cluster import KMeans, MiniBatchKMeans
    except ImportError:
        raise StudyError(
            f"`concepts.algorithm = {algorithm!r}` needs scikit-learn: pip install scikit-learn"
        ) from None
    options: dict[str, Any] = {
        "n_clusters": clusters,
        "init": "k-means++",
        "n_init": 1,
        "max_iter": max_iterations,
        "random_state": int(rng.integers(2**31)),
    }
    values = np.concatenate([block for _, block in points.blocks()])
    model: Any = MiniBatchKMeans(**options) if algorithm == "minibatch" else KMeans(**options)
    model.fit(values)
    centroids = model.cluster_centers_.astype(np.float32)
    labels = model.labels_.astype(np.int64)
    squared = _exact(points, centroids, labels)
    return Fit(
        centroids,
        labels,
        np.sqrt(squared),
        float(squared.sum(dtype=np.float64)),
        int(model.n_iter_),
        bool(model.n_iter_ < max_iterations),
    )


def adjusted_rand(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Agreement of two clusterings of the same points, corrected for chance (Hubert and Arabie, 1985).

    1 if they are the same up to the clusters' numbers, about 0 if they have nothing in common.
    """
    count = len(first)
    if count < 2:
        return 1.0
    width = int(second.max()) + 1
    together = np.unique(first * width + second, return_counts=True)[1].astype(np.float64)

    def pairs(sizes: NDArray[Any]) -> float:
        return float((sizes * (sizes - 1) / 2).sum())

    both = pairs(together)
    rows = pairs(np.bincount(first).astype(np.float64))
    columns = pairs(np.bincount(second).astype(np.float64))
    expected = rows * columns / (count * (count - 1) / 2)
    highest = (rows + columns) / 2
    return 1.0 if highest == expected else (both - expected) / (highest - expected)
