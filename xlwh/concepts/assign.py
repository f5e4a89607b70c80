"""The nearest centroid of every point: the part of k-means that takes the time, by faiss or torch, on CPU or GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Nearest = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Index of the nearest centroid and squared distance to it, both `[rows]`."""


class Assigner(Protocol):
    """Finds nearest centroids."""

    def load(self, centroids: NDArray[np.float32]) -> None:
        """Take these centroids `[clusters, width]` from now on."""

    def nearest(self, block: NDArray[np.float32]) -> Nearest:
        """The nearest centroid of each row of `block` `[rows, width]`; of equals, the first."""


class FaissAssigner:
    """Exact search by faiss, on every GPU that it sees if it was built for them."""

    def __init__(self) -> None:
        import faiss

        self._faiss: Any = faiss
        self._index: Any = None
        self._gpu = getattr(faiss, "get_num_gpus", lambda: 0)() > 0

    def load(self, centroids: NDArray[np.float32]) -> None:
        self._index = self._faiss.IndexFlatL2(centroids.shape[1])
        if self._gpu:
            self._index = self._faiss.index_cpu_to_all_gpus(self._index)
        self._index.add(np.ascontiguousarray(centroids))

    def nearest(self, block: NDArray[np.float32]) -> Nearest:
        distances, labels = self._index.search(np.ascontiguousarray(block), 1)
        # Squared distances come from inner products, and can fall below zero by rounding.
        return labels[:, 0], np.maximum(distances[:, 0], 0)


class TorchAssigner:
    """The same by matrix products in torch: for GPUs without a faiss that was built for them."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        import torch

        self._torch: Any = torch
        self._device = torch.device(device)

    def load(self, centroids: NDArray[np.float32]) -> None:
        self._centroids = self._torch.from_numpy(np.ascontiguousarray(centroids)).to(self._device)
        self._half_norms = (self._centroids**2).sum(dim=1) / 2

    def nearest(self, block: NDArray[np.float32]) -> Nearest:
        torch = self._torch
        with torch.inference_mode():
            points = torch.from_numpy(np.ascontiguousarray(block)).to(self._device)
            # |x - c|² = |x|² - 2 (x·c - |c|²/2), so the largest of these belongs to the nearest.
            best, labels = torch.addmm(-self._half_norms, points, self._centroids.T).max(dim=1)
            distances = ((points**2).sum(dim=1) - 2 * best).clamp(min=0)
        return labels.cpu().numpy(), distances.cpu().numpy()


def assigner(algorithm: str, device: torch.device | str = "cpu") -> Assigner:
    """`faiss`, or `torch` on a device."""
    return TorchAssigner(device) if algorithm == "torch" else FaissAssigner()
