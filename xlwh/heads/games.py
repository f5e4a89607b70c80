"""Games to and from shapiq: our coalitions for its approximators, indices and plots, its games for our samplers.

shapiq is optional and imported only when a game is made for it. Nothing else here needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlwh.errors import ModelError
from xlwh.heads.engine import Walked
from xlwh.heads.players import Player, Players
from xlwh.heads.scores import Gold

if TYPE_CHECKING:
    from xlwh.heads.engine import Engine

ValueFunction = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""Coalitions `[n, players]` (True: present) to their values `[n]`: what a shapiq `Game` is when it is called."""


def value_function(engine: Engine, examples: NDArray[np.int64] | None = None) -> ValueFunction:
    """The mean score of coalitions over some examples (None: all), each counting by its weight."""
    chosen = np.arange(len(engine.gold.weights), dtype=np.int64) if examples is None else examples
    weights = engine.gold.weights[chosen].astype(np.float64)

    def values(coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        some = np.asarray(coalitions, dtype=np.bool_)
        walks = np.broadcast_to(some, (len(chosen), *some.shape))
        scores = engine.walk(chosen, walks).values.astype(np.float64)
        mean: NDArray[np.float64] = np.average(scores, axis=0, weights=weights)
        return mean

    return values


def to_shapiq(engine: Engine, examples: NDArray[np.int64] | None = None, normalize: bool = True) -> Any:
    """A `shapiq.Game` of the engine's players; with `normalize` the empty coalition is worth 0 there.

    ModelError if shapiq is not installed.
    """
    try:
        import shapiq
    except ImportError:
        raise ModelError("shapiq is not installed. Run: pip install shapiq") from None
    values = value_function(engine, examples)
    players = len(engine.players)
    empty = float(values(np.zeros((1, players), dtype=np.bool_))[0])

    class HeadGame(shapiq.Game):  # type: ignore[misc,unused-ignore]
        def value_function(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
            return values(coalitions)

    return HeadGame(n_players=players, normalize=normalize, normalization_value=empty)


class GameEngine:
    """Any value function in the place of an engine: one example, whose score is the coalition's value.

    For our samplers and exact values over a shapiq `Game` (which is such a function). Evidence and intervals hold
    where no marginal leaves [-1, 1].
    """

    def __init__(self, values: ValueFunction, players: int) -> None:
        names = tuple(Player("group", 0, number) for number in range(players))
        self.players = Players(
            names,
            1,
            players,
            np.eye(players, dtype=np.bool_)[:, None],
            np.zeros((players, 1), dtype=np.bool_),
        )
        self.gold = Gold(np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64))
        self._values = values

    def walk(
        self,
        examples: NDArray[np.int64],
        coalitions: NDArray[np.bool_],
        steps: NDArray[np.int64] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Walked:
        """As `Engine.walk`; equal coalitions are evaluated once."""
        rows, length, players = coalitions.shape
        wanted = np.full(rows, length) if steps is None else steps
        asked = np.arange(length)[None, :] < wanted[:, None]
        every = np.concatenate([np.ones((1, players), dtype=np.bool_), coalitions[asked]])
        distinct, place = np.unique(every, axis=0, return_inverse=True)
        found = np.asarray(self._values(distinct), dtype=np.float32)[place.ravel()]
        values = np.full((rows, length), np.nan, dtype=np.float32)
        values[asked] = found[1:]
        if progress is not None:
            progress(int(wanted.sum()))
        return Walked(np.full(rows, found[0], dtype=np.float32), values)
