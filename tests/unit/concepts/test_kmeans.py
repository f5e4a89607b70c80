"""k-means against scikit-learn, on every engine, and what it does with awkward points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from xlwh.concepts.assign import Assigner, InTorch, Screened, assigner
from xlwh.concepts.kmeans import adjusted_rand, cluster, lloyd
from xlwh.concepts.points import Points, from_array, gather
from xlwh.concepts.seeding import starting_centroids
from xlwh.draws import stream
from xlwh.errors import StudyError

ENGINES: tuple[Assigner, ...] = (
    assigner("faiss"),
    lambda centroids: InTorch(centroids, torch.device("cpu")),
    # Also where the processor has no bfloat16 of its own: only slower.
    Screened,
)


def blobs(count: int = 4000, width: int = 32, clusters: int = 40, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, width))
    labels = rng.choice(clusters, count, p=rng.dirichlet(np.full(clusters, 0.7)))
    return (centres[labels] + 0.7 * rng.standard_normal((count, width)) + 20).astype(np.float32)


@pytest.mark.parametrize("algorithm", ["faiss", "torch"])
def test_inertia_is_that_of_scikit_learn(algorithm: str) -> None:
    sklearn = pytest.importorskip("sklearn.cluster")
    values = blobs()
    reference = min(sklearn.KMeans(40, n_init=1, random_state=s).fit(values).inertia_ for s in range(3))
    fit = cluster(from_array(values), 40, seed=0, algorithm=algorithm, restarts=3)
    assert fit.inertia < 1.01 * reference
    assert fit.converged
    assert (fit.sizes > 0).all()


@pytest.mark.parametrize("algorithm", ["faiss", "torch", "scikit-learn", "minibatch"])
def test_the_fit_is_consistent(algorithm: str) -> None:
    if algorithm not in ("faiss", "torch"):
        pytest.importorskip("sklearn")
    values = blobs(600, 8, 7)
    fit = cluster(from_array(values), 7, seed=1, algorithm=algorithm)
    distances = np.linalg.norm(values[:, None] - fit.centroids, axis=2)
    assert np.allclose(distances.min(axis=1), fit.distances, atol=2e-3)
    assert np.allclose(distances[np.arange(600), fit.labels], fit.distances, atol=2e-3)
    assert fit.inertia == pytest.approx((fit.distances.astype(float) ** 2).sum(), rel=1e-5)
    assert fit.sizes.sum() == 600


def test_iterations_are_those_of_scikit_learn_from_the_same_start() -> None:
    sklearn = pytest.importorskip("sklearn.cluster")
    values = blobs(1500, 16, 12)
    points = from_array(values)
    start = points.rows(np.arange(12, dtype=np.int64))
    fit = lloyd(points, start, assigner("faiss"), max_iterations=5, tolerance=0)
    theirs = sklearn.KMeans(12, init=start, n_init=1, max_iter=5, tol=0, algorithm="lloyd").fit(
        values - points.mean
    )
    assert fit.iterations == 5
    # scikit-learn's labels too belong to the centroids after the last update.
    assert (fit.labels == theirs.labels_).mean() > 0.999
    assert fit.inertia == pytest.approx(theirs.inertia_, rel=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("clusters", [5, 60])
def test_iterations_are_those_of_the_plain_algorithm(
    engine: Assigner, clusters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xlwh.concepts.points.BLOCK_ROWS", 700)
    points = from_array(blobs(2500, 24, 30))
    values = np.concatenate([block for _, block in points.blocks()])
    centroids = start = points.rows(np.arange(clusters, dtype=np.int64))
    for _ in range(60):
        labels = ((values[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
        before = centroids
        centroids = np.array(
            [values[labels == k].mean(axis=0) if (labels == k).any() else before[k] for k in range(clusters)]
        )
        if np.allclose(before, centroids, atol=1e-6):
            break
    fit = lloyd(points, start, engine, tolerance=0)
    assert fit.converged
    assert np.array_equal(fit.labels, labels)
    assert np.allclose(fit.centroids, centroids, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("clusters", [1, 2, 50])
def test_what_is_nearest_and_how_far_the_others_are(engine: Assigner, clusters: int) -> None:
    rng = np.random.default_rng(1)
    block = rng.standard_normal((3000, 40)).astype(np.float32)
    centroids = rng.standard_normal((clusters, 40)).astype(np.float32)
    exact = ((block[:, None].astype(float) - centroids) ** 2).sum(axis=2)
    ordered = np.sort(np.pad(exact, ((0, 0), (0, 1)), constant_values=np.inf), axis=1)
    labels, squared, others = engine(centroids).nearest(block)
    assert np.array_equal(labels, exact.argmin(axis=1))
    assert np.allclose(squared, ordered[:, 0], rtol=1e-4)
    assert (others <= ordered[:, 1] * (1 + 1e-5)).all()
    # A bound, and not far below: bfloat16 costs a few per cent of the lengths' product.
    assert (others >= ordered[:, 1] * 0.8).all()

    # The centroid of some other clustering is known, nearer or farther than these.
    squared_known = (ordered[:, 0] * rng.choice([0.5, 2], 3000)).astype(np.float32)
    found, distance, others = engine(centroids).nearest(block, (np.full(3000, -1), squared_known))
    nearer = ordered[:, 0] < squared_known
    assert np.array_equal(found, np.where(nearer, labels, -1))
    assert np.allclose(distance, np.minimum(ordered[:, 0], squared_known), rtol=1e-4)
    rest = np.where(nearer, np.minimum(ordered[:, 1], squared_known), ordered[:, 0])
    assert (others <= rest * (1 + 1e-5)).all()
    assert (others >= rest * 0.8).all()

    # One of these is known.
    own = rng.integers(clusters, size=3000)
    own_squared = exact[np.arange(3000), own].astype(np.float32)
    found, distance, others = engine(centroids).nearest(block, (own, own_squared))
    assert np.array_equal(found, labels)
    assert np.allclose(distance, ordered[:, 0], rtol=1e-4)
    assert (others <= ordered[:, 1] * (1 + 1e-5)).all()
    assert (others >= ordered[:, 1] * 0.8).all()


def test_seeds_repeat_and_restarts_never_hurt() -> None:
    points = from_array(blobs(2000, 16, 30))
    once = cluster(points, 30, seed=5)
    again = cluster(points, 30, seed=5)
    assert np.array_equal(once.labels, again.labels)
    assert not np.array_equal(once.labels, cluster(points, 30, seed=6).labels)
    calls: list[int] = []
    several = cluster(points, 30, seed=5, restarts=3, progress=calls.append)
    assert several.inertia <= once.inertia
    assert calls == [1, 2, 3]


def test_no_point_is_left_out_at_any_size(tmp_path: Path) -> None:
    # 256 points a centroid is where faiss begins to draw a sub-sample.
    values = blobs(3000, 8, 4)
    points = gather(iter([values[:1700], values[1700:]]), 3000, tmp_path / "points", memory_bytes=1000)
    assert (tmp_path / "points").stat().st_size == 3000 * 8 * 2
    fit = cluster(points, 4, seed=0)
    assert fit.sizes.sum() == len(fit.labels) == 3000
    inside = cluster(gather(iter([values]), 3000, tmp_path / "unused"), 4, seed=0)
    assert not (tmp_path / "unused").exists()
    # In the file they are rounded to half precision.
    assert fit.inertia == pytest.approx(inside.inertia, rel=0.02)
    assert np.allclose(fit.centroids.mean(), values.mean(), atol=0.5)


def test_announced_points_must_come(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="5 points were announced, 3 came"):
        gather(iter([np.zeros((3, 2), np.float32)]), 5, tmp_path / "points")


def test_copies_of_few_points_leave_clusters_empty() -> None:
    values = np.repeat(np.eye(3, 5, dtype=np.float32), 20, axis=0)
    fit = cluster(from_array(values), 6, seed=0)
    assert fit.inertia == pytest.approx(0, abs=1e-9)
    assert (fit.sizes > 0).sum() == 3
    same = cluster(from_array(np.ones((10, 4), np.float32)), 3, seed=0)
    assert (same.sizes > 0).sum() == 1


def test_a_cluster_that_loses_its_points_gets_the_worst_served_one() -> None:
    values = np.array([[0, 0], [0, 1], [1, 0], [9, 9]], dtype=np.float32)
    points = from_array(values)
    # The second centroid is nearest to nothing.
    start = np.array([[0, 0], [100, 100]], dtype=np.float32) - points.mean
    fit = lloyd(points, start, assigner("torch"))
    assert sorted(fit.sizes.tolist()) == [1, 3]
    assert fit.inertia == pytest.approx(4 / 3, rel=1e-5)


def test_more_clusters_than_points_is_refused() -> None:
    with pytest.raises(
        StudyError, match=r"3 word occurrences cannot make 4 clusters\. Lower `concepts\.clusters`"
    ):
        cluster(from_array(np.eye(3, dtype=np.float32)), 4, seed=0)


def test_starting_centroids_beat_random_ones() -> None:
    points: Points = from_array(blobs(5000, 16, 60))
    engine = assigner("faiss")

    def inertia(start: np.ndarray) -> float:
        return lloyd(points, start, engine, max_iterations=0).inertia

    rng = np.random.default_rng(0)
    drawn = [inertia(points.rows(rng.choice(5000, 60, replace=False))) for _ in range(5)]
    ours = [inertia(starting_centroids(points, 60, engine, stream(draw))) for draw in range(5)]
    assert max(ours) < min(drawn)


def test_the_start_is_the_same_where_products_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    points = from_array(blobs(1500, 16, 20))
    kept = starting_centroids(points, 20, assigner("faiss"), stream(2))
    monkeypatch.setattr("xlwh.concepts.seeding.PRODUCTS_BYTES", 0)
    made = starting_centroids(points, 20, assigner("faiss"), stream(2))
    assert np.array_equal(kept, made)


def test_adjusted_rand_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    first, second = rng.integers(5, size=300), rng.integers(8, size=300)
    second[:150] = first[:150]
    assert adjusted_rand(first, second) == pytest.approx(metrics.adjusted_rand_score(first, second))
    assert adjusted_rand(first, (first + 2) % 5) == 1
    assert adjusted_rand(first[:1], second[:1]) == 1
    assert adjusted_rand(np.zeros(5, int), np.zeros(5, int)) == 1
