"""Rankings of players and the masks that are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from xlwh.heads.permutations import permutations
from xlwh.heads.players import Player, players_in
from xlwh.heads.summary import harmful

if TYPE_CHECKING:
    import polars as pl

    from xlwh.study import Heads

HEADS = ("head",)
"""Players of a game that can be compared with other measures of importance."""
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
    language: str = ""
    """Where it was made."""

    @property
    def keys(self) -> dict[str, object]:
        """Columns that tell masks apart."""
        return {
            "ranking": self.ranking,
            "mask_language": self.language,
            "draw": self.draw,
            "selection": self.selection,
            "num_removed": len(self.removed),
        }


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


def games_of_masks(
    summaries: Mapping[str, pl.DataFrame],
    importance: Mapping[str, pl.DataFrame],
    settings: Heads,
    language: str,
    seed: int,
) -> dict[tuple[str, ...], list[Mask]]:
    """The masks that are evaluated in a language, by the kinds of players of their game.

    They are the decisions of every language and the other rankings of this one and of those in `zero_shot_from`.
    `summaries` are those of each language's samples (see `summarise`), `importance` the `head_importance` of the
    languages with other rankings. By importance and at random as many heads are removed as by the decisions of the
    same language, by those of another one as many as `zero_shot` says too, and in this one as the curve has.
    """
    import polars as pl

    games: dict[tuple[str, ...], list[Mask]] = {sampler.players: [] for sampler in settings.samplers.values()}
    players: tuple[Player, ...] = ()
    zero_shot = () if settings.zero_shot is None else (settings.zero_shot,)
    sizes = {code: set() if code == language else set(zero_shot) for code in (language, *importance)}
    for name, sampler in settings.samplers.items():
        for code, summary in summaries.items():
            own = summary.filter(pl.col("sampler") == name)
            if own.is_empty():
                continue
            ranking, order = f"shapley.{name}", ranked(own, "mean")
            decided = decided_masks(own, name, sampler.delta)
            made = [*decided, *sized_masks(ranking, order, zero_shot, "zero_shot")]
            if code == language:
                made += sized_masks(ranking, order, settings.curve, "curve")
            if sampler.players == HEADS and code in sizes:
                players = order
                sizes[code] |= {len(mask.removed) for mask in decided}
            games[sampler.players] += [replace(mask, language=code) for mask in made]
    if HEADS in games:
        random = random_orders(sorted(players), settings.random_masks, seed)
        for code, its_sizes in sizes.items():
            orders: list[tuple[str, int, tuple[Player, ...]]] = []
            if code in importance:
                orders += [
                    (method, 0, ranked(rows, "value", method in DESCENDING))
                    for method in settings.importance
                    for rows in [importance[code].filter(pl.col("method") == method)]
                ]
            orders += [(RANDOM, draw, order) for draw, order in enumerate(random)]
            for ranking, draw, order in orders:
                made = sized_masks(ranking, order, its_sizes, "same_size", draw)
                if code == language:
                    made += sized_masks(ranking, order, settings.curve, "curve", draw)
                games[HEADS] += [replace(mask, language=code) for mask in made]
    return {kinds: masks for kinds, masks in games.items() if masks}


def masks_frame(masks: Iterable[Mask]) -> pl.DataFrame:
    """Columns ranking, draw, selection, num_removed and removed of `pruning_masks`, one row a mask."""
    import polars as pl

    from xlwh.store import schema

    columns = schema("pruning_masks")
    chosen = ("ranking", "draw", "selection", "num_removed", "removed")
    return pl.DataFrame(
        [{**mask.keys, "removed": [asdict(player) for player in mask.removed]} for mask in masks],
        schema={name: columns[name] for name in chosen},
    )
