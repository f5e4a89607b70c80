"""Which permutation and which example a row has: pure functions of the seed, the row's number and the example ids.

Nothing is drawn from a stream. So samples can be added to later, made by several machines and put together, and
every language of a parallel corpus gets the same permutations with the same examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xlwh.draws import GOLDEN_GAMMA, key_of, splitmix64

_CHUNK = 2_000_000
"""Hashes at once: 16 MB."""
_PERMUTATION, _EXAMPLE = np.uint64(0x9E6C63D0876A9A47), np.uint64(0xC2B2AE3D27D4EB4F)
"""What keeps the two kinds of draws apart."""


def permutations(
    seed: int, numbers: NDArray[np.int64], players: int, antithetic: bool = False
) -> NDArray[np.int64]:
    """Orders of removal `[rows, players]`: uniform, independent for different numbers.

    With `antithetic`, number 2q + 1 is the reverse of number 2q.
    """
    draws = numbers // 2 if antithetic else numbers
    base = _mix(_mix(np.uint64(seed) ^ _PERMUTATION) + draws.astype(np.uint64))
    keys = _mix(base[:, None] + _mix(np.arange(1, players + 1, dtype=np.uint64))[None, :])
    orders: NDArray[np.int64] = keys.argsort(axis=1, kind="stable").astype(np.int64)
    if antithetic:
        odd = numbers % 2 == 1
        orders[odd] = orders[odd, ::-1]
    return orders


def drawn_examples(
    seed: int,
    numbers: NDArray[np.int64],
    example_ids: Sequence[str],
    weights: NDArray[np.float64] | None = None,
    antithetic: bool = False,
) -> NDArray[np.int64]:
    """Index of each row's example, with replacement, in proportion to `weights` (None: all alike): `[rows]`.

    Every id gets a hashed exponential variate divided by its weight, and the smallest wins (weighted rendezvous
    hashing): a language that lacks some ids draws the same example in all rows that they do not win.
    """
    if not len(example_ids):
        raise ValueError("no examples to draw from")
    ids = np.array([key_of(name) for name in example_ids], dtype=np.uint64)
    share = np.ones(len(ids)) if weights is None else np.asarray(weights, dtype=np.float64)
    draws = numbers // 2 if antithetic else numbers
    base = _mix(_mix(np.uint64(seed) ^ _EXAMPLE) + draws.astype(np.uint64))
    chosen = np.empty(len(numbers), dtype=np.int64)
    step = max(1, _CHUNK // len(ids))
    for start in range(0, len(numbers), step):
        hashed = _mix(base[start : start + step, None] ^ ids[None, :])
        uniform = (hashed >> np.uint64(11)).astype(np.float64) + 0.5
        chosen[start : start + step] = (-np.log(uniform / 2.0**53) / share).argmin(axis=1)
    return chosen


def _mix(values: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """The first output of SplitMix64 for each seed."""
    return splitmix64(np.atleast_1d(np.asarray(values, dtype=np.uint64)) + GOLDEN_GAMMA)
