"""Exact values of small games: every coalition of every example."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xlwh.errors import ModelError

if TYPE_CHECKING:
    from xlwh.heads.engine import Engine

MAX_PLAYERS = 14
"""16,384 coalitions per example."""


def coalition_table(engine: Engine, examples: NDArray[np.int64], at_once: int = 256) -> NDArray[np.float32]:
    """Score of every coalition of each example `[examples, 2^players]`; bit p of the column: player p is present.

    Walked in Gray code with the players of the highest layers changing most often, so that most steps are cheap.
    ModelError for more than MAX_PLAYERS players.
    """
    players = engine.players
    count = len(players)
    if count > MAX_PLAYERS:
        raise ModelError(
            f"{count} players have 2^{count} coalitions; all of them are evaluated for at most {MAX_PLAYERS}. "
            'Use `estimator = "permutation"`.'
        )
    gray = np.arange(2**count) ^ (np.arange(2**count) >> 1)
    flips = np.argsort(-players.lowest, kind="stable")
    absent = np.zeros((2**count, count), dtype=np.bool_)
    absent[:, flips] = (gray[:, None] >> np.arange(count)) & 1
    columns = (~absent).astype(np.int64) @ (1 << np.arange(count))
    table = np.empty((len(examples), 2**count), dtype=np.float32)
    for start in range(0, len(examples), at_once):
        part = examples[start : start + at_once]
        walk = np.broadcast_to(~absent, (len(part), *absent.shape))
        table[start : start + len(part), columns] = engine.walk(part, walk).values
    return table


def exact_values(table: NDArray[np.float32], players: int, truncation: float = 0.0) -> NDArray[np.float64]:
    """Value of each player in each game `[examples, players]` from its coalition table.

    The mean over the sizes that a removal may leave (all of them, or at least the share `truncation`), each counted
    alike, of the mean marginal over the coalitions of that size: the Shapley value, or its truncated semivalue.
    """
    columns = np.arange(2**players)
    sizes = np.array([int(column).bit_count() for column in columns])
    values = np.zeros((len(table), players))
    smallest = ceil(truncation * players - 1e-9)
    for player in range(players):
        without = columns[(columns >> player) & 1 == 0]
        marginal = (table[:, without | (1 << player)] - table[:, without]).astype(np.float64)
        by_size = [marginal[:, sizes[without] == size].mean(axis=1) for size in range(smallest, players)]
        values[:, player] = np.mean(by_size, axis=0)
    return values
