"""The nearest centroid of every point: the part of k-means that takes the time, by torch or faiss, on CPU or GPU.

Every way finds the centroid that float32 arithmetic finds. On processors that multiply bfloat16, torch looks at rough
products first and works out in float32 only what could be nearest by the bound on their rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xlwh.models.batches import to_device, to_host

if TYPE_CHECKING:
    import torch

Known = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Index of a centroid and squared distance to it, both `[rows]`."""
Nearest = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]
"""Index of the nearest centroid, squared distance to it, and to any other at least so much: all `[rows]`."""

ROUGHNESS = 3.1 * 2.0**-8
"""A product of two vectors in bfloat16 is off by at most this share of their lengths' product: each vector and the
result are rounded by up to 2⁻⁸, and float32 sums of some thousand terms by far less than a tenth of that."""

TILE = 2048
"""Rows of rough products at a time, so that they stay in the cache."""


class Centroids(Protocol):
    """Centroids `[clusters, width]` in which nearest ones are looked for."""

    def nearest(self, block: NDArray[np.float32], known: Known | None = None) -> Nearest:
        """The nearest centroid of each row of `block` `[rows, width]`; of copies, the first.

        `known` is a centroid of each row, -1 for one that is not among these, and the squared distance to it: what is
        returned where none of these is nearer. Once replaced, it is one of the others.
        """


class Assigner(Protocol):
    """Takes centroids `[clusters, width]`."""

    def __call__(self, centroids: NDArray[np.float32], /) -> Centroids: ...


def assigner(algorithm: str, device: torch.device | str = "cpu") -> Assigner:
    """`faiss`, or `torch` on a device."""
    if algorithm == "faiss":
        return InFaiss
    import torch

    at = torch.device(device)
    if at.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16"):
        return Screened
    return lambda centroids: InTorch(centroids, at)


class InFaiss:
    """Exact search by faiss, on every GPU that it sees if it was built for them."""

    def __init__(self, centroids: NDArray[np.float32], /) -> None:
        import faiss

        self._index: Any = faiss.IndexFlatL2(centroids.shape[1])
        if getattr(faiss, "get_num_gpus", lambda: 0)() > 0:
            self._index = faiss.index_cpu_to_all_gpus(self._index)
        self._index.add(np.ascontiguousarray(centroids))

    def nearest(self, block: NDArray[np.float32], known: Known | None = None) -> Nearest:
        distances, labels = self._index.search(np.ascontiguousarray(block), min(2, self._index.ntotal))
        # Squared distances come from inner products, and can fall below zero by rounding.
        return _of_two(labels, np.maximum(distances, 0), known)


class InTorch:
    """The same by matrix products in torch."""

    def __init__(self, centroids: NDArray[np.float32], device: torch.device) -> None:
        import torch

        self._torch: Any = torch
        self._device = device
        self._centroids = to_device(centroids, device)
        self._half_squares = (self._centroids**2).sum(dim=1) / 2

    def nearest(self, block: NDArray[np.float32], known: Known | None = None) -> Nearest:
        torch = self._torch
        with torch.inference_mode():
            points = to_device(block, self._device)
            # |x - c|² = |x|² - 2 (x·c - |c|²/2), so the largest of these belongs to the nearest.
            scores = torch.addmm(-self._half_squares, points, self._centroids.T)
            best, labels = scores.topk(min(2, len(self._centroids)), dim=1)
            distances = ((points**2).sum(dim=1)[:, None] - 2 * best).clamp(min=0)
        found, squared = to_host(labels, distances)
        return _of_two(found, squared, known)


class Screened:
    """Rough products in bfloat16, and exact ones of the few centroids that could be nearest."""

    def __init__(self, centroids: NDArray[np.float32], /) -> None:
        import torch

        self._centroids = np.ascontiguousarray(centroids)
        squares = np.einsum("ij,ij->i", self._centroids, self._centroids)
        self._half_squares = torch.from_numpy(squares / 2)
        self._slack = torch.from_numpy(np.float32(ROUGHNESS) * np.sqrt(squares))
        self._most_slack = np.float32(self._slack.max())
        self._rough = torch.from_numpy(self._centroids).bfloat16().T

    def nearest(self, block: NDArray[np.float32], known: Known | None = None) -> Nearest:
        labels = np.empty(len(block), dtype=np.int64)
        distances, others = np.empty((2, len(block)), dtype=np.float32)
        for start in range(0, len(block), TILE):
            rows = slice(start, start + TILE)
            own = None if known is None else (known[0][rows], known[1][rows])
            labels[rows], distances[rows], others[rows] = self._tile(block[rows], own)
        return labels, distances, others

    def _tile(self, block: NDArray[np.float32], known: Known | None) -> Nearest:
        import torch

        squares = np.einsum("ij,ij->i", block, block)
        # Scores x·c - |c|²/2: the nearest centroid has the largest.
        rough = (torch.from_numpy(block).bfloat16() @ self._rough).float()
        rough -= self._half_squares
        scores: NDArray[np.float32] = rough.numpy()
        if known is None:
            labels = scores.argmax(axis=1)
            best = self._scores(block, labels)
        else:
            labels = known[0].copy()
            best = (squares - known[1]) / 2
        # From here on the most that they can be. What is below the least that the largest can be is out.
        lengths = np.sqrt(squares)
        rough.addr_(torch.from_numpy(lengths), self._slack)
        least = np.nextafter(scores.max(axis=1) - 2 * self._most_slack * lengths, np.float32(-np.inf))
        one_of_these = np.flatnonzero(labels >= 0)
        scores[one_of_these, labels[one_of_these]] = -np.inf
        rows, columns = np.divmod(
            np.flatnonzero(scores > np.maximum(best, least)[:, None]), len(self._centroids)
        )
        exact = self._scores(block[rows], columns)
        scores[rows, columns] = exact
        # By row, the largest last; of equal ones the first column.
        order = np.lexsort((-columns, exact, rows))
        last = order[np.flatnonzero(np.diff(rows[order], append=-1))]
        better = last[exact[last] > best[rows[last]]]
        rows, columns = rows[better], columns[better]
        scores[rows, columns] = best[rows]
        labels[rows], best[rows] = columns, exact[better]
        other = scores.max(axis=1)
        return labels, np.maximum(squares - 2 * best, 0), np.maximum(squares - 2 * other, 0)

    def _scores(self, block: NDArray[np.float32], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        products = np.einsum("ij,ij->i", block, self._centroids[columns])
        scores: NDArray[np.float32] = products - self._half_squares.numpy()[columns]
        return scores


def _of_two(labels: NDArray[np.int64], distances: NDArray[np.float32], known: Known | None) -> Nearest:
    """Of the two nearest of these centroids `[rows, 2]`, or the only one `[rows, 1]`, and what was known."""
    if labels.shape[1] == 1:
        distances = np.pad(distances, ((0, 0), (0, 1)), constant_values=np.inf)
    if known is None:
        return labels[:, 0], distances[:, 0], distances[:, 1]
    own, near = known
    nearer = distances[:, 0] < near
    same = labels[:, 0] == own
    others = np.where(nearer, np.minimum(distances[:, 1], near), distances[:, 0])
    return (
        np.where(nearer, labels[:, 0], own),
        np.where(nearer, distances[:, 0], near),
        np.where(same, distances[:, 1], others),
    )
