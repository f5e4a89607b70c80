"""How far a peer's result is from ours, in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def agreement(task: str, inputs: Path, ours: Path, theirs: Path, exact: Path) -> str:
    """Of two results on the same inputs; `exact` is the result with the exact values of the heads' game."""
    a, b = _values(ours), _values(theirs)
    if a.shape != b.shape:
        return f"not comparable: xlwh has {_shape(a)} numbers, the peer {_shape(b)}"
    if task == "kmeans":
        return _clusterings(np.load(inputs / "points.npy"), a, b)
    if task == "permutations":
        truth = _values(exact)
        return f"largest error: {_largest(b, truth):.4f}, xlwh's {_largest(a, truth):.4f}"
    if task == "faithfulness":
        same = np.load(theirs.with_name(theirs.name + ".same.npy"))
        kept = f"{_largest(a[same], b[same]):.1e}" if same.any() else "none to compare"
        return (
            f"largest difference {kept} in {same.sum()} of {len(same)} scores, whose texts ferret reads back as the "
            f"same sub-tokens; {_largest(a, b):.2f} in all, r = {_correlation(a, b):.2f}"
        )
    if task in ("heads", "transport"):
        return f"largest difference {_largest(a, b):.1e}"
    scaled = _largest(a, b) / np.abs(a).max()
    return f"r = {_correlation(a, b):.6f}, largest difference {scaled:.1e} of the largest number"


def _values(path: Path) -> np.ndarray:
    array = path.with_suffix(".npy")
    return np.load(array) if array.is_file() else np.array(json.loads(path.with_suffix(".json").read_text()))


def _shape(values: np.ndarray) -> str:
    return " x ".join(map(str, values.shape))


def _largest(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float64) - b).max())


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel().astype(np.float64), b.ravel())[0, 1])


def _clusterings(points: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> str:
    ratio = _inertia(points, ours) / _inertia(points, theirs) - 1
    return f"{(ours == theirs).mean():.2%} of the points in the same cluster, xlwh's inertia {ratio:+.4%}"


def _inertia(points: np.ndarray, labels: np.ndarray) -> float:
    groups = (points[labels == label].astype(np.float64) for label in np.unique(labels))
    return float(sum(((group - group.mean(axis=0)) ** 2).sum() for group in groups))
