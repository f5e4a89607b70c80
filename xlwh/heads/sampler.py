"""Draws marginals round by round: what one player's leaving changes, in random orders of removal.

One row is one example with one permutation: players leave one by one, and each counted removal is one marginal. A
round is a stretch of permutation numbers; what it measures follows from the seed, these numbers and who is still
measured. A decided player still leaves in its turn, so the coalitions that the others leave from are the same as
ever; only evaluations that no measured marginal needs (both neighbours are decided) are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xlwh.heads.exact import coalition_table, exact_values
from xlwh.heads.permutations import drawn_examples, permutations

if TYPE_CHECKING:
    from xlwh.heads.engine import Engine
    from xlwh.heads.sequences import Evidence
    from xlwh.study import Sampler

WHOLE_SET = -1
"""Stands for every example in `Marginals.example`."""
_WALK_BYTES = 2**28
"""Memory of the coalitions walked in one call. Many rows fill batches of every length."""


@dataclass(frozen=True)
class Marginals:
    """Measured marginals, one per entry."""

    permutation: NDArray[np.int64]
    example: NDArray[np.int64]
    """Index of the example, or WHOLE_SET."""
    player: NDArray[np.int64]
    remaining: NDArray[np.int64]
    """Players left after the removal; -1 in exact values."""
    value: NDArray[np.float32]
    """Score before the removal minus the score after it."""
    rows: int
    """Evaluated (example, coalition) rows."""

    def __len__(self) -> int:
        return len(self.value)

    def observe(self, evidence: Evidence, antithetic: bool = False) -> None:
        """Add the marginals to running sums: with antithetic pairs, the mean of a pair is one observation."""
        player, value = self.player, self.value.astype(np.float64)
        if antithetic:
            pairs = self.permutation // 2 * evidence.players + player
            unique, place = np.unique(pairs, return_inverse=True)
            player = unique % evidence.players
            value = np.bincount(place, value) / np.bincount(place)
        evidence.add(player, value)


def removals(players: int, truncation: float) -> int:
    """Removals of a permutation that count: those that leave at least `truncation` of the players."""
    # The hair keeps .7 * 10 from rounding up to 8.
    return players - max(0, ceil(truncation * players - 1e-9))


def needed_rows(sampler: Sampler, seed: int, number: int, measured: NDArray[np.bool_], examples: int) -> int:
    """Evaluated rows that round `number` will take."""
    if sampler.estimator == "exact":
        return examples << len(measured)
    orders, _ = _orders(sampler, seed, number, len(measured))
    each = examples if sampler.estimator == "whole_set" else 1
    rows: int = int(_needed(orders, measured, sampler.truncation).sum()) * each
    return rows


def sample_round(
    engine: Engine,
    sampler: Sampler,
    seed: int,
    number: int,
    measured: NDArray[np.bool_],
    example_ids: Sequence[str],
    progress: Callable[[int], None] | None = None,
) -> Marginals:
    """The marginals of round `number` of the players that are still `measured` `[players]`."""
    if sampler.estimator == "exact":
        return _exact(engine, sampler.truncation)
    players = len(engine.players)
    orders, numbers = _orders(sampler, seed, number, players)
    weights = engine.gold.weights.astype(np.float64)
    if sampler.estimator == "whole_set":
        return _whole_set(engine, sampler, orders, numbers, measured, weights, progress)
    drawn = drawn_examples(seed, numbers, example_ids, weights, sampler.antithetic)
    parts = []
    at_once = _rows_at_once(players, sampler.truncation)
    for start in range(0, len(orders), at_once):
        part = slice(start, start + at_once)
        values, needed = _walk(engine, drawn[part], orders[part], measured, sampler.truncation, progress)
        parts.append(_marginals(numbers[part], drawn[part], orders[part], measured, values, int(needed)))
    return _joined(parts)


def _rows_at_once(players: int, truncation: float) -> int:
    return max(1, _WALK_BYTES // max(1, removals(players, truncation) * players))


def _orders(
    sampler: Sampler, seed: int, number: int, players: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    size = sampler.round_permutations
    numbers = np.arange(number * size, (number + 1) * size, dtype=np.int64)
    return permutations(seed, numbers, players, sampler.antithetic), numbers


def _needed(orders: NDArray[np.int64], measured: NDArray[np.bool_], truncation: float) -> NDArray[np.bool_]:
    """Whether the coalition after removal k + 1 is one side of a measured marginal: `[rows, removals]`."""
    counted = removals(orders.shape[1], truncation)
    asked = measured[orders[:, :counted]]
    after = np.zeros_like(asked)
    after[:, :-1] = asked[:, 1:]
    needed: NDArray[np.bool_] = asked | after
    return needed


def _walk(
    engine: Engine,
    examples: NDArray[np.int64],
    orders: NDArray[np.int64],
    measured: NDArray[np.bool_],
    truncation: float,
    progress: Callable[[int], None] | None,
) -> tuple[NDArray[np.float32], int]:
    """Scores after 0, 1, ... removals `[rows, removals + 1]`, NaN where not needed, and how many were."""
    needed = _needed(orders, measured, truncation)
    rows, counted = needed.shape
    steps = needed.sum(axis=1).astype(np.int64)
    values = np.full((rows, counted + 1), np.nan, dtype=np.float32)
    place = np.argsort(orders, axis=1)
    # Needed removals first, in their order; what lies behind a row's last one is not walked.
    after = np.argsort(~needed, axis=1, kind="stable")[:, : int(steps.max(initial=0))]
    coalitions = place[:, None, :] > after[:, :, None]
    walked = engine.walk(examples, coalitions, steps, progress)
    values[:, 0] = walked.whole
    row, step = np.nonzero(np.arange(after.shape[1])[None, :] < steps[:, None])
    values[row, after[row, step] + 1] = walked.values[row, step]
    return values, int(steps.sum())


def _marginals(
    numbers: NDArray[np.int64],
    examples: NDArray[np.int64],
    orders: NDArray[np.int64],
    measured: NDArray[np.bool_],
    values: NDArray[np.float32],
    rows: int,
) -> Marginals:
    counted = values.shape[1] - 1
    asked = measured[orders[:, :counted]]
    row, step = np.nonzero(asked)
    return Marginals(
        permutation=numbers[row],
        example=examples[row],
        player=orders[row, step],
        remaining=orders.shape[1] - 1 - step,
        value=values[row, step] - values[row, step + 1],
        rows=rows,
    )


def _whole_set(
    engine: Engine,
    sampler: Sampler,
    orders: NDArray[np.int64],
    numbers: NDArray[np.int64],
    measured: NDArray[np.bool_],
    weights: NDArray[np.float64],
    progress: Callable[[int], None] | None,
) -> Marginals:
    """Every example with each permutation; the marginal is the mean over them, weighted by what each counts."""
    count = len(weights)
    at_once = max(1, _rows_at_once(orders.shape[1], sampler.truncation) // count)
    parts = []
    for start in range(0, len(orders), at_once):
        some = orders[start : start + at_once]
        examples = np.tile(np.arange(count, dtype=np.int64), len(some))
        values, rows = _walk(
            engine, examples, np.repeat(some, count, axis=0), measured, sampler.truncation, progress
        )
        mean = np.average(values.reshape(len(some), count, -1).astype(np.float64), axis=1, weights=weights)
        every = np.full(len(some), WHOLE_SET, dtype=np.int64)
        part = numbers[start : start + at_once]
        parts.append(_marginals(part, every, some, measured, mean.astype(np.float32), rows))
    return _joined(parts)


def _exact(engine: Engine, truncation: float) -> Marginals:
    count, players = len(engine.gold.weights), len(engine.players)
    examples = np.arange(count, dtype=np.int64)
    values = exact_values(coalition_table(engine, examples), players, truncation)
    if engine.gold.tagging:
        # Sentences count by their words, which single rows cannot say.
        values = np.average(values, axis=0, weights=engine.gold.weights)[None]
        examples = np.array([WHOLE_SET])
    return Marginals(
        permutation=np.zeros(values.size, dtype=np.int64),
        example=np.repeat(examples, players),
        player=np.tile(np.arange(players, dtype=np.int64), len(values)),
        remaining=np.full(values.size, -1, dtype=np.int64),
        value=values.reshape(-1).astype(np.float32),
        rows=count * 2**players,
    )


def _joined(parts: Sequence[Marginals]) -> Marginals:
    return Marginals(
        permutation=np.concatenate([part.permutation for part in parts]),
        example=np.concatenate([part.example for part in parts]),
        player=np.concatenate([part.player for part in parts]),
        remaining=np.concatenate([part.remaining for part in parts]),
        value=np.concatenate([part.value for part in parts]),
        rows=sum(part.rows for part in parts),
    )
