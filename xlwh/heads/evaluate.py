"""Masks on examples: scores of every (example, mask), and what changes against the whole model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.heads.engine import Engine, engine_on
from xlwh.heads.examples import keys_of
from xlwh.heads.masks import Mask
from xlwh.stats import bootstrap_mean, by_cluster, mcnemar

if TYPE_CHECKING:
    from xlwh.models.loaded import LoadedModel
    from xlwh.study import Heads

_EXAMPLES = 512
"""Examples walked in one call."""
_LEAST_CLUSTERS = 10
"""Below them there is no interval, as in the views."""


def evaluate_masks(
    loaded: LoadedModel,
    examples: pl.DataFrame,
    games: Mapping[tuple[str, ...], Sequence[Mask]],
    settings: Heads,
    tagged_piece: str,
    seed: int,
    progress: Callable[[int, int], None],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of `pruning_evaluations` and of `pruning_tests`, for masks by the kinds of players of their game.

    All examples, of one language, have gold; the whole model is evaluated too, as the mask `none`.
    """
    scored: list[tuple[Mask, NDArray[np.float32]]] = []
    for kinds, masks in games.items():
        engine = engine_on(loaded, examples, kinds, settings.groups, tagged_piece)
        whole, scores = mask_scores(engine, masks, progress)
        if not scored:
            scored.append((Mask("none", "none", (), language=examples["language"][0]), whole))
        scored += zip(masks, scores.T, strict=True)
    gold, (_, before) = engine.gold, scored[0]
    clusters = examples.select(pl.coalesce("cluster", "example_id")).to_series().to_list()
    evaluations = pl.concat(
        examples.select(
            "example_id",
            score=pl.Series(after),
            weight=pl.Series(gold.weights),
            **{name: pl.lit(value) for name, value in mask.keys.items()},
        )
        for mask, after in scored
    )
    tests = [
        {
            **mask.keys,
            "num_examples": len(examples),
            **compare(before, after, gold.weights, clusters, settings.resamples, seed, gold.tagging),
            "resamples": settings.resamples,
        }
        for mask, after in scored[1:]
    ]
    keys = keys_of(examples, loaded.key)
    rows = pl.DataFrame(tests, infer_schema_length=None)
    return evaluations.join(keys, how="cross"), rows.join(keys, how="cross")


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
    clusters: Sequence[str],
    resamples: int,
    seed: int,
    tagging: bool,
) -> dict[str, float | None]:
    """Columns of `pruning_tests` about one mask, from the scores of the same examples before and after.

    What is resampled are the clusters. McNemar's test takes examples as independent, so it is left out where they are not.
    """
    x, y = before.astype(np.float64), after.astype(np.float64)
    changes, sizes = by_cluster(y - x, weights, clusters)
    # Scores are in [0, 1], so their differences are in [-1, 1].
    result = bootstrap_mean(changes, sizes, resamples=resamples, seed=seed, reach=(-1.0, 1.0), few=True)
    told, independent = len(changes) >= _LEAST_CLUSTERS, len(changes) == len(clusters)
    return {
        "clusters": len(changes),
        "before": float(np.average(x, weights=weights)),
        "after": float(np.average(y, weights=weights)),
        "effect_low": result.low if told else None,
        "effect_high": result.high if told else None,
        "bootstrap_p": result.p_value,
        "mcnemar_p": mcnemar(before == 1, after == 1) if independent and not tagging else None,
    }
