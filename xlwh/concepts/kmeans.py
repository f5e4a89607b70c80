"""k-means on every point: Lloyd's iterations over blocks, from good starting centroids, with restarts.

No point is left out and none is counted twice, whatever the size: memory holds a block of points, the centroids, and
a label and two distances per point. (faiss's own k-means draws a sub-sample without a word above 256 points a centroid.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlwh.concepts.assign import Assigner, Centroids, assigner
from xlwh.concepts.points import Points
from xlwh.concepts.seeding import starting_centroids
from xlwh.draws import Stream, stream
from xlwh.errors import StudyError

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-4
"""Iterations stop when one lowers the inertia by less than this share of it."""

GATHERING = 1.3
"""Work of a point that is compared with all centroids, copied for that, where it is 1 in place."""


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
    seconds: float = 0.0
    """What it took, with all restarts."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Points of each cluster, `[clusters]`."""
        return np.bincount(self.labels, minlength=len(self.centroids))


def cluster(
    points: Points,
    clusters: int,
    seed: int,
    algorithm: str = "torch",
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
    best, begun = None, time.perf_counter()
    for number in range(1, restarts + 1):
        drawn = stream("k-means", seed, number)
        if algorithm in ("scikit-learn", "minibatch"):
            fit = _scikit(points, clusters, drawn, algorithm, max_iterations)
        else:
            engine = assigner(algorithm, device)
            start = starting_centroids(points, clusters, engine, drawn)
            fit = lloyd(points, start, engine, max_iterations)
        if best is None or fit.inertia < best.inertia:
            best = fit
        if progress is not None:
            progress(number)
    assert best is not None
    seconds = time.perf_counter() - begun
    return replace(best, centroids=best.centroids + points.mean, seconds=seconds)


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
    state = _State.of(points, engine(centroids), len(centroids))
    inertia = state.inertia
    converged, iteration = False, 0
    while not converged and iteration < max_iterations:
        iteration += 1
        before, previous = inertia, centroids
        centroids = _means(points, previous, state)
        changed = _reassign(points, previous, centroids, engine, state)
        inertia = state.inertia
        converged = not changed or before - inertia <= tolerance * before
    squared = _exact(points, centroids, state.labels)
    return Fit(
        centroids,
        state.labels,
        np.sqrt(squared),
        float(squared.sum(dtype=np.float64)),
        iteration,
        converged,
    )


@dataclass(frozen=True)
class _State:
    """What Lloyd's iterations know of the points; written to in place."""

    labels: NDArray[np.int64]
    """`[points]`, the nearest centroid."""
    squared: NDArray[np.float32]
    """`[points]`, squared distance to it."""
    others: NDArray[np.float32]
    """`[points]`, distance to any other centroid, or less."""
    sums: NDArray[np.float64]
    """`[clusters, width]`, of each cluster's points."""

    @classmethod
    def of(cls, points: Points, centroids: Centroids, clusters: int) -> _State:
        """Of one pass over all points."""
        labels = np.empty(points.count, dtype=np.int64)
        squared, others = np.empty((2, points.count), dtype=np.float32)
        sums = np.zeros((clusters, points.width))
        for rows, block in points.blocks():
            labels[rows], squared[rows], others[rows] = centroids.nearest(block)
            _add(sums, labels[rows], block, 1)
        return cls(labels, squared, np.sqrt(others), sums)

    @property
    def inertia(self) -> float:
        return float(self.squared.sum(dtype=np.float64))


def _reassign(
    points: Points,
    previous: NDArray[np.float32],
    centroids: NDArray[np.float32],
    engine: Assigner,
    state: _State,
) -> int:
    """Find the nearest centroids after they have moved; how many points have another one now.

    By the triangle inequality a centroid is nearer to a point by no more than it has moved. So all points are compared
    with the few that have moved far, and with all centroids only those points that one of the others might have
    reached (after Hamerly 2010, whose bound falls by the farthest move of all). How many are few is chosen block by
    block, for the least work.
    """
    step = centroids - previous
    moves = np.linalg.norm(step, axis=1) * np.float32(1 + 1e-5)
    order = np.argsort(-moves)
    clusters, moved = len(centroids), int(np.count_nonzero(moves))
    choices = sorted({0, moved, *(clusters >> shift for shift in range(1, 6))})
    left = np.append(moves[order], 0)[choices]
    # |x - p|² - |x - c|² = 2 x·(c - p) - (|c|² - |p|²)
    grown = np.einsum("ij,ij->i", step, centroids + previous, dtype=np.float64).astype(np.float32)
    every, first = engine(centroids), cache(lambda count: engine(centroids[order[:count]]))
    changed = 0
    for rows, block in points.blocks():
        own, near = state.labels[rows].copy(), state.squared[rows].copy()
        theirs = np.flatnonzero(moves[own])
        pulled = slice(None) if 2 * len(theirs) > len(block) else theirs  # all of them need no copy
        near[pulled] -= 2 * np.einsum("ij,ij->i", block[pulled], step[own[pulled]]) - grown[own[pulled]]
        near = np.maximum(near, 0)
        slack = state.others[rows] - np.sqrt(near)
        reached = np.array([np.count_nonzero(slack < move) for move in left])
        work = np.array(choices) / clusters + GATHERING * reached / len(block)
        best = int(work.argmin())
        if work[best] >= 1:
            new, squared, others = every.nearest(block, (own, near))
            others = np.sqrt(others)
        else:
            new, squared, others = own.copy(), near.copy(), state.others[rows] - left[best]
            if choices[best]:
                these = order[: choices[best]]
                place = np.full(clusters, -1)
                place[these] = np.arange(len(these))
                found, squared, reach = first(choices[best]).nearest(block, (place[own], near))
                new = np.where(found >= 0, these[found], own)
                others = np.minimum(others, np.sqrt(reach))
            some = np.flatnonzero(slack < left[best])
            if len(some):
                new[some], squared[some], reach = every.nearest(block[some], (own[some], near[some]))
                others[some] = np.sqrt(reach)
        gone = np.flatnonzero(new != own)
        if len(gone):
            _add(state.sums, new[gone], block[gone], 1)
            _add(state.sums, own[gone], block[gone], -1)
        state.labels[rows], state.squared[rows], state.others[rows] = new, squared, others
        changed += len(gone)
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
    state: _State,
) -> NDArray[np.float32]:
    """Means of the clusters, empty ones moved to the points that are worst served (as scikit-learn does)."""
    counts = np.bincount(state.labels, minlength=len(centroids))
    empty = np.flatnonzero(counts == 0)
    means = centroids.copy()
    full = counts > 0
    means[full] = state.sums[full] / counts[full, None]
    if len(empty):
        farthest = np.argpartition(state.squared, -len(empty))[-len(empty) :]
        farthest = farthest[state.squared[farthest] > 0]
        means[empty[: len(farthest)]] = points.rows(farthest)
    return means


def _exact(points: Points, centroids: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Squared distances to the own centroid `[points]`, without the cancellation of the matrix product."""
    squared = np.empty(points.count, dtype=np.float32)
    for rows, block in points.blocks():
        difference = block - centroids[labels[rows]]
        squared[rows] = np.einsum("ij,ij->i", difference, difference)
    return squared


def _scikit(points: Points, clusters: int, drawn: Stream, algorithm: str, max_iterations: int) -> Fit:
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
        "random_state": int(drawn.integers(2**31, 1)[0]),
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
