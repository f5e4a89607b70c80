"""k-means of words' vectors: ours to convergence against scikit-learn's, and iteration by iteration from equal starts.

    [OMP_NUM_THREADS=1] python tests/benchmarks/bench_kmeans.py [SHARED] [--points 100000] [--width 768] [--clusters 600]

With SHARED, points are hidden states of mini-x11 (words of XNLI in ten languages, layers side by side until they are
as wide as asked); without it, a mixture of Gaussians of very different weights on top of a common direction.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table

from xlwh.concepts.assign import assigner
from xlwh.concepts.kmeans import cluster, lloyd
from xlwh.concepts.points import from_array
from xlwh.concepts.seeding import starting_centroids

MOST = 300
"""Iterations from the same start at most."""
LANGUAGES = ("en", "de", "es", "fr", "ar", "tr", "zh", "ru", "hi", "sw")


def synthetic(points: int, width: int, clusters: int, seed: int = 0) -> np.ndarray:
    """Points `[points, width]` around twice as many centres as are looked for, some far heavier than others."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((2 * clusters, width)).astype(np.float32)
    heavy = rng.dirichlet(np.full(2 * clusters, 0.5))
    directions = rng.standard_normal((48, width)).astype(np.float32)
    values = centres[rng.choice(2 * clusters, points, p=heavy)]
    values += rng.standard_normal((points, 48), dtype=np.float32) @ directions / 8
    values += 0.5 * rng.standard_normal((points, width), dtype=np.float32)
    return values + 10 * rng.standard_normal(width).astype(np.float32)


def states(shared: Path, points: int, width: int) -> np.ndarray:
    """Hidden states of words, layers side by side."""
    import polars as pl

    from xlwh.concepts.activations import find_words, word_vectors
    from xlwh.concepts.places import Place
    from xlwh.corpora import read, sample
    from xlwh.models import Zoo
    from xlwh.models.tokenize import encode
    from xlwh.store import Warehouse
    from xlwh.study import Study

    study = Study.model_validate(
        {
            "name": "bench",
            "languages": LANGUAGES,
            "data_root": shared / "data",
            "folder": shared,
            "datasets": {"xnli": {"reader": "xnli", "path": "xnli/xtreme"}},
            "models": {"m": {"path": str(shared / "models" / "mini-x11")}},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        loaded = Zoo(study, Warehouse(folder, create=True)).load("m")
    layers = [Place("encoder", layer) for layer in (6, 3, 5, 2)[: -(-width // loaded.config.hidden_size)]]
    # A pair has some thirty words, in some languages fewer.
    share = -(-points // (24 * len(LANGUAGES)))
    frames = [sample(read(study, "xnli", language).examples, share, 0) for language in LANGUAGES]
    encoded = encode(loaded, pl.concat(frames))
    example = np.repeat(np.arange(len(encoded)), [len(words) for words in encoded.words])
    word = np.concatenate([np.arange(len(words)) for words in encoded.words])
    found = word_vectors(loaded, encoded, find_words(encoded, example, word), layers)
    usable = np.all([vectors.reason == None for vectors in found.values()], axis=0)  # noqa: E711
    values = np.concatenate([found[layer].values[usable] for layer in layers], axis=1)[:, :width]
    if len(values) < points:
        raise SystemExit(f"Only {len(values)} words; ask for fewer points.")
    return np.random.default_rng(0).permutation(values)[:points].astype(np.float32)


def run(
    shared: Path | None = None,
    points: int = 100_000,
    width: int = 768,
    clusters: int = 600,
    seeds: int = 1,
) -> list[dict[str, Any]]:
    """Rows of the table: seconds, iterations and inertia of each, relative to scikit-learn."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    values = synthetic(points, width, clusters) if shared is None else states(shared, points, width)
    rows = []
    for seed in range(seeds):
        watch = Watch()
        fit = cluster(from_array(values), clusters, seed)
        rows.append(_row(f"ours, seed {seed}", watch.read(), fit.iterations, fit.inertia))
    rows.append(_faiss(values, clusters))
    watch = Watch()
    theirs = KMeans(clusters, n_init=1, random_state=0).fit(values)
    spent = watch.read()
    inertia = float(((values - theirs.cluster_centers_[theirs.labels_]) ** 2).sum(dtype=np.float64))
    rows.append(_row("scikit-learn, k-means++", spent, theirs.n_iter_, inertia))
    _compare(rows, rows[-1])

    gathered, engine = from_array(values), assigner("torch")
    origin = starting_centroids(gathered, clusters, engine, np.random.default_rng(0))
    watch = Watch()
    fit = lloyd(gathered, origin, engine, MOST, tolerance=0)
    same = [_row("ours, same start, until no point moves", watch.read(), fit.iterations, fit.inertia)]
    centred = np.concatenate([block for _, block in gathered.blocks()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        watch = Watch()
        theirs = KMeans(clusters, init=origin, n_init=1, max_iter=MOST, tol=0).fit(centred)
        spent = watch.read()
    inertia = float(((centred - theirs.cluster_centers_[theirs.labels_]) ** 2).sum(dtype=np.float64))
    same.append(_row("scikit-learn, same start, until no point moves", spent, theirs.n_iter_, inertia))
    _compare(same, same[-1])
    return rows + same


def _faiss(values: np.ndarray, clusters: int) -> dict[str, Any]:
    """faiss's own k-means from random points, on all of them."""
    import faiss

    watch = Watch()
    model = faiss.Kmeans(values.shape[1], clusters, niter=25, max_points_per_centroid=len(values))
    model.train(values)
    return _row("faiss, random start, 25 iterations", watch.read(), 25, float(model.obj[-1]))


class Watch:
    """Seconds by the clock and of the processor: on a busy machine only the latter say much."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Both, since it was made."""
        return time.perf_counter() - self._start[0], time.process_time() - self._start[1]


def _row(name: str, spent: tuple[float, float], iterations: int, inertia: float) -> dict[str, Any]:
    return {
        "k-means": name,
        "seconds": spent[0],
        "CPU s": spent[1],
        "iterations": int(iterations),
        "inertia": inertia,
    }


def _compare(rows: list[dict[str, Any]], base: dict[str, Any]) -> None:
    """Relate every row to one of them, which may be among them."""
    base = dict(base)
    for row in rows:
        row["speed-up"] = round(base["seconds"] / row["seconds"], 1)
        row["by CPU"] = round(base["CPU s"] / row["CPU s"], 1)
        share = row["iterations"] / base["iterations"]
        row["per iteration"] = round(base["seconds"] / row["seconds"] * share, 1)
        row["inertia"] = f"{row['inertia'] / base['inertia'] - 1:+.2%}"
        row["seconds"], row["CPU s"] = round(row["seconds"], 2), round(row["CPU s"], 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, nargs="?")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--clusters", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=1)
    a = parser.parse_args()
    import torch

    kind = "states of mini-x11" if a.shared else "synthetic"
    print_table(
        f"k-means, K = {a.clusters}, {a.points:,} x {a.width}, {kind}, threads: {torch.get_num_threads()}",
        run(a.shared, a.points, a.width, a.clusters, a.seeds),
    )


if __name__ == "__main__":
    main()
