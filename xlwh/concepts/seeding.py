"""Starting centroids for k-means, better than random ones: k-means|| and then k-means++ on what it found.

Bahmani et al., "Scalable k-means++" (VLDB 2012). k-means++ draws one centroid at a time and passes over all points
after each; k-means|| draws many at a time in few passes, several times as many as wanted, and weighs each with the
points nearest to it. That small weighted set is then reduced by greedy k-means++ (Arthur and Vassilvitskii, 2007,
with the several trials per step that scikit-learn makes).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xlwh.concepts.assign import Assigner
from xlwh.concepts.points import Points
from xlwh.draws import Stream

ROUNDS = 5
PRODUCTS_BYTES = 1 << 28
"""Products of all candidates with each other are kept if they take no more (1,000 clusters), else made as needed."""
OVERSAMPLING = 8.0
"""Candidates drawn, as a multiple of the clusters wanted. With 2, the final inertia is some 2 % worse than from
greedy k-means++ on all points where clusters are well apart; with 8 it is the same."""


def starting_centroids(
    points: Points,
    clusters: int,
    assigner: Assigner,
    stream: Stream,
    oversampling: float = OVERSAMPLING,
) -> NDArray[np.float32]:
    """Centroids `[clusters, width]` to start from; equal ones only where there are fewer different points."""
    candidates, weights = _candidates(points, clusters, assigner, stream, oversampling)
    if len(candidates) <= clusters:
        # Fewer different points than clusters: the rest of the clusters stay empty.
        missing = clusters - len(candidates)
        return np.concatenate([candidates, np.repeat(candidates[:1], missing, axis=0)])
    return candidates[weighted_plus_plus(candidates, weights, clusters, stream)]


def _candidates(
    points: Points, clusters: int, assigner: Assigner, stream: Stream, oversampling: float
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """k-means||: candidates `[m, width]`, and how many points are nearest to each."""
    found = [points.rows(stream.integers(points.count, 1))]
    nearest = np.zeros(points.count, dtype=np.int64)
    distances = np.empty(points.count, dtype=np.float32)
    centroids = assigner(found[0])
    for rows, block in points.blocks():
        distances[rows] = centroids.nearest(block)[1]
    known = 1
    for round_ in range(2 * ROUNDS):
        enough = known >= clusters if round_ >= ROUNDS else known >= oversampling * clusters
        total = distances.sum(dtype=np.float64)
        if enough or total <= 0:
            break
        expected = max(1.0, oversampling * clusters / ROUNDS)
        drawn = np.flatnonzero(stream.uniform(points.count) * total < expected * distances)
        if not len(drawn):
            drawn = np.array([distances.argmax()])
        new = points.rows(drawn)
        centroids = assigner(new)
        for rows, block in points.blocks():
            none = np.full(len(block), -1, dtype=np.int64)
            labels, distances[rows], _ = centroids.nearest(block, (none, distances[rows]))
            nearest[rows] = np.where(labels >= 0, labels + known, nearest[rows])
        # Rounding must not leave a candidate at a distance from itself, to be drawn again and again.
        distances[drawn] = 0
        found.append(new)
        known += len(new)
    weights = np.bincount(nearest, minlength=known).astype(np.float64)
    kept = weights > 0
    return np.concatenate(found)[kept], weights[kept]


def weighted_plus_plus(
    candidates: NDArray[np.float32], weights: NDArray[np.float64], clusters: int, stream: Stream
) -> NDArray[np.int64]:
    """Indices `[clusters]` of candidates, each drawn by weight times squared distance to those before it.

    Of several draws per step, the one that lowers the weighted inertia most is taken.
    """
    trials = 2 + int(np.log(clusters))
    squares = np.einsum("ij,ij->i", candidates, candidates)
    chosen = np.empty(clusters, dtype=np.int64)
    chosen[0] = stream.weighted(weights, 1)[0]
    keep = 4 * len(candidates) ** 2 <= PRODUCTS_BYTES
    products = candidates @ candidates.T if keep else None

    def squared(drawn: NDArray[np.int64]) -> NDArray[np.float32]:
        """Squared distances `[drawn, candidates]`."""
        rows = candidates[drawn] @ candidates.T if products is None else products[drawn]
        distances: NDArray[np.float32] = np.maximum(squares[drawn, None] + squares - 2 * rows, 0)
        distances[np.arange(len(drawn)), drawn] = 0
        return distances

    closest = squared(chosen[:1])[0]
    for step in range(1, clusters):
        potential = closest * weights
        if not potential.any():
            # Only copies are left: take any that are not chosen yet.
            rest = np.setdiff1d(np.arange(len(candidates)), chosen[:step])
            chosen[step:] = rest[: clusters - step]
            return chosen
        drawn = stream.weighted(potential, trials)
        options = np.minimum(closest, squared(drawn))
        best = int((options @ weights).argmin())
        chosen[step], closest = drawn[best], options[best]
    return chosen
