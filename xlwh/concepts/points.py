"""Points to be clustered: in memory where they fit, else in a file of half-precision numbers, always read in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

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


def vectors(rows: pl.LazyFrame) -> Iterator[NDArray[np.float16]]:
    """The column `vector` of rows none of which lacks it: arrays `[some, width]`, in the order of the rows."""
    batches = rows.select("vector").collect_batches(chunk_size=BLOCK_ROWS, maintain_order=True, lazy=True)
    for batch in batches:
        if batch.height:
            yield matrix(batch["vector"])


def matrix(column: pl.Series) -> NDArray[np.float16]:
    """Lists of one length, of which there is at least one, as an array `[rows, width]`."""
    import polars as pl

    return column.cast(pl.Array(pl.Float16, len(column[0]))).to_numpy()


def gather(
    parts: Iterable[NDArray[np.floating]], count: int, spool: Path, memory_bytes: int = MEMORY_BYTES
) -> Points:
    """Points of arrays `[some, width]` that follow one another, `count` rows in all.

    What does not fit into `memory_bytes` as float32 is kept as float16 in the file `spool`, which the caller removes.
    """
    following = iter(parts)
    head = next(following, np.empty((0, 1), dtype=np.float32))
    shape = count, head.shape[1]
    values: NDArray[np.float32] | NDArray[np.float16]
    if 4 * count * shape[1] <= memory_bytes:
        values = np.empty(shape, dtype=np.float32)
    else:
        values = np.memmap(spool, dtype=np.float16, mode="w+", shape=shape)
    total, start = np.zeros(shape[1]), 0
    for part in chain([head], following):
        values[start : start + len(part)] = part
        total += part.sum(axis=0, dtype=np.float64)
        start += len(part)
    if start != count:
        raise ValueError(f"{count} points were announced, {start} came")
    return Points(values, total / max(count, 1))
