"""Masks on examples: scores of every (example, mask), and what changes against the whole model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xlwh.heads.masks import Mask
from xlwh.stats import bootstrap_mean, mcnemar

if TYPE_CHECKING:
    from xlwh.heads.engine import Engine

_EXAMPLES = 512
"""Examples walked in one call."""


def mask_scores(
    engine: Engine, masks: Sequence[Mask], progress: Callable[[int, int], None] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores of the whole model `[examples]` and under each mask `[examples, masks]`.

    Equal masks are evaluated once, and masks that agree in the lower layers one after the other.
    """
    count = len(engine.gold.weights)
    if not masks:
        empty = np.zeros((count, 0, len(engine.players)), dtype=np.bool_)
        return engine.walk(np.arange(count), empty).whole, np.zeros((count, 0), dtype=np.float32)
    coalitions = np.array([engine.players.coalition(mask.removed) for mask in masks], dtype=np.bool_).reshape(
        len(masks), len(engine.players)
    )
    from_below = np.argsort(engine.players.lowest, kind="stable")
    _, first, place = np.unique(coalitions[:, from_below], axis=0, return_index=True, return_inverse=True)
    distinct = coalitions[first]
    whole = np.zeros(count, dtype=np.float32)
    values = np.zeros((count, len(distinct)), dtype=np.float32)
    for start in range(0, count, _EXAMPLES):
        part = np.arange(start, min(start + _EXAMPLES, count))
        walked = engine.walk(part, np.broadcast_to(distinct, (len(part), *distinct.shape)))
        whole[part], values[part] = walked.whole, walked.values
        if progress is not None:
            progress(int(part[-1]) + 1, count)
    return whole, values[:, place.ravel()]


def compare(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    weights: NDArray[np.int64],
    resamples: int,
    seed: int,
    tagging: bool,
) -> dict[str, float | None]:
    """Columns of `pruning_tests` about one mask, from the scores of the same examples before and after."""
    x, y = before.astype(np.float64), after.astype(np.float64)
    # Scores are in [0, 1], so their differences are in [-1, 1].
    result = bootstrap_mean(
        y - x, weights.astype(np.float64), resamples=resamples, seed=seed, reach=(-1.0, 1.0)
    )
    return {
        "before": float(np.average(x, weights=weights)),
        "after": float(np.average(y, weights=weights)),
        "effect_low": result.low,
        "effect_high": result.high,
        "bootstrap_p": result.p_value,
        "mcnemar_p": None if tagging else mcnemar(before == 1, after == 1),
    }
