"""Points to be clustered: in memory where they fit, else in a file of half-precision numbers, always read in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 16_384
"""Rows handed out at a time: 50 MB of float32 at 768 dimensions."""

MEMORY_BYTES = 1 << 30
"""Float32 points beyond this stay in a file."""


class Points:
    """Vectors `[count, width]`, moved so that their mean is zero.

    Distances do not change by that, but cancel less: the states of many models share one large direction.
    """

    def __init__(self, values: NDArray[np.float32] | NDArray[np.float16], mean: NDArray[np.float64]) -> None:
        self._values = values
        self.mean = mean.astype(np.float32)
        if values.dtype == np.float32:
            values -= self.mean  # in memory and ours: once instead of in every pass
        self.count, self.width = values.shape

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """All points in order: which rows, and their values `[rows, width]`, not to be written to."""
        for start in range(0, self.count, BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, self.count))
            yield rows, self._centred(self._values[rows])

    def rows(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some points `[indices, width]`, a copy."""
        return self._centred(self._values[indices])

    def _centred(self, values: NDArray[np.float32] | NDArray[np.float16]) -> NDArray[np.float32]:
        if values.dtype == np.float32:
            return values  # type: ignore[return-value]
        centred: NDArray[np.float32] = values.astype(np.float32)
        centred -= self.mean
        return centred


def from_array(values: NDArray[np.floating]) -> Points:
    """Points of an array `[count, width]`, which is copied."""
    return Points(values.astype(np.float32), values.mean(axis=0, dtype=np.float64))


def gather(
    parts: Iterable[NDArray[np.floating]],
    count: int,
    width: int,
    spool: Path,
    memory_bytes: int = MEMORY_BYTES,
) -> Points:
    """Points of arrays that follow one another, `count` rows in all.

    What does not fit into `memory_bytes` as float32 is kept as float16 in the file `spool`, which the caller removes.
    """
    values: NDArray[np.float32] | NDArray[np.float16]
    if count * width * 4 <= memory_bytes:
        values = np.empty((count, width), dtype=np.float32)
    else:
        values = np.memmap(spool, dtype=np.float16, mode="w+", shape=(count, width))
    total, start = np.zeros(width), 0
    for part in parts:
        values[start : start + len(part)] = part
        total += part.sum(axis=0, dtype=np.float64)
        start += len(part)
    if start != count:
        raise ValueError(f"{count} points were announced, {start} came")
    return Points(values, total / max(count, 1))
