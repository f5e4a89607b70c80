"""Rankings of players and the masks that are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from xlwh.heads.permutations import permutations
from xlwh.heads.players import Player
from xlwh.heads.summary import harmful

RANDOM = "random"
DESCENDING = ("attention_entropy", "separator_attention")
"""Measures by which the heads with the largest values go first."""
DECISIONS = ("strict", "asymptotic", "paper")
"""Variants by which a player is shown to do harm."""


@dataclass(frozen=True)
class Mask:
    """Some removed players, and how they were chosen."""

    ranking: str
    selection: str
    removed: tuple[Player, ...]
    draw: int = 0

    @property
    def name(self) -> tuple[str, int, str, int]:
        """What tells the masks of one language apart."""
        return self.ranking, self.draw, self.selection, len(self.removed)


def players_in(frame: pl.DataFrame) -> tuple[Player, ...]:
    """The players of some rows, in their order."""
    return tuple(Player(*row) for row in frame.select("unit", "layer", "head").iter_rows())


def decided_masks(summary: pl.DataFrame, sampler: str, delta: float) -> list[Mask]:
    """One game's players that are shown to do harm, the worst first, by each variant. Masks may be empty."""
    worst_first = summary.sort("mean", "unit", "layer", "head")
    ranking = f"shapley.{sampler}"
    return [
        Mask(ranking, variant, players_in(worst_first.filter(harmful(variant, delta))))
        for variant in DECISIONS
    ]


def ranked(frame: pl.DataFrame, value: str, descending: bool = False) -> tuple[Player, ...]:
    """All players by a column, first the one that is removed first; ties by layer and head."""
    return players_in(
        frame.sort(value, "unit", "layer", "head", descending=[descending, False, False, False])
    )


def sized_masks(
    ranking: str, order: Sequence[Player], sizes: Iterable[int], selection: str, draw: int = 0
) -> list[Mask]:
    """The first players of a ranking, for every size that the game has."""
    return [
        Mask(ranking, selection, tuple(order[:size]), draw)
        for size in sorted(set(sizes))
        if 0 < size <= len(order)
    ]


def random_orders(players: Sequence[Player], draws: int, seed: int) -> list[tuple[Player, ...]]:
    """Seeded random rankings, the same in every language."""
    orders = permutations(seed + 1, np.arange(draws, dtype=np.int64), len(players))
    return [tuple(players[place] for place in order) for order in orders.tolist()]


def masks_frame(masks: Sequence[Mask]) -> pl.DataFrame:
    """Columns ranking, draw, selection, num_removed and removed, one row a mask."""
    return pl.DataFrame(
        {
            "ranking": [mask.ranking for mask in masks],
            "draw": [mask.draw for mask in masks],
            "selection": [mask.selection for mask in masks],
            "num_removed": [len(mask.removed) for mask in masks],
            "removed": [
                [{"unit": p.unit, "layer": p.layer, "head": p.head} for p in mask.removed] for mask in masks
            ],
        },
        schema={
            "ranking": pl.String,
            "draw": pl.Int32,
            "selection": pl.String,
            "num_removed": pl.Int32,
            "removed": pl.List(pl.Struct({"unit": pl.String, "layer": pl.Int16, "head": pl.Int16})),
        },
    )
