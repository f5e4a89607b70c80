"""Evaluates coalitions: rows of (example, who is left), walked from one coalition to the next.

What makes it fast: a step recomputes only the layers from the lowest changed one upwards, of every row for itself
(rows are sorted by that layer, so that the batch grows from layer to layer); rows are as long as their example, not
as the longest of all; in classifiers the last layer is computed for the first token only; and the whole model's
states are computed once per example and batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlwh.errors import ModelError
from xlwh.heads.players import Players, players_of
from xlwh.heads.scores import gold_of
from xlwh.heads.stack import stack_of
from xlwh.heads.walks import Gates
from xlwh.models.batches import collate, padded_length, to_device, to_host
from xlwh.models.fitting import fitted, free_bytes
from xlwh.models.tokenize import encode

if TYPE_CHECKING:
    import polars as pl

    from xlwh.heads.scores import Gold, Measure
    from xlwh.models.loaded import LoadedModel
    from xlwh.models.tokenize import Encoded

CPU_ROWS, GPU_ROWS = 64, 2048
"""Rows of a batch at most. On CPU more are no faster."""
CPU_BYTES, STATES = 2**29, 0.5
"""Memory of a batch's kept states on a CPU, and their share of what is free on a GPU: the bound on memory, whatever
the corpus."""
_CHECKED = 256
"""Examples at most that two precisions are compared on."""

Reader = Callable[[Tensor, Tensor], Tensor]
"""From logits and the rows' examples to one number a row."""


@dataclass(frozen=True)
class Walked:
    """What became of some rows."""

    whole: NDArray[np.float32]
    """`[rows]`: the number at the full coalition."""
    values: NDArray[np.float32]
    """`[rows, steps]`: the number at each coalition; NaN behind a row's last one."""


class Engine:
    """Coalitions of one game on one model over one set of examples."""

    def __init__(
        self,
        loaded: LoadedModel,
        encoded: Encoded,
        players: Players,
        gold: Gold,
        measure: Measure = "accuracy",
        precision: str = "float32",
    ) -> None:
        self.players = players
        self.gold = gold
        self._loaded = loaded
        self._encoded = encoded
        self._score = gold.scorer(measure, loaded.device)
        self._stack = stack_of(loaded, getattr(torch, precision))
        if (players.layers, players.heads) != (self._stack.num_layers, self._stack.num_heads):
            raise ModelError(
                f"The game is of {players.layers} x {players.heads} heads, model `{loaded.key}` has "
                f"{self._stack.num_layers} x {self._stack.num_heads}."
            )
        self._cuda = loaded.device.type == "cuda"

    def walk(
        self,
        examples: NDArray[np.int64],
        coalitions: NDArray[np.bool_],
        steps: NDArray[np.int64] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Walked:
        """Scores along walks over coalitions: row r starts at the full one, then goes through `coalitions[r]`.

        `examples` `[rows]`, `coalitions` `[rows, steps, players]` (True: present), `steps` `[rows]` how many of them
        row r has (None: all). The cheaper a walk, the higher the lowest layer that changes from one to the next.
        `progress` is called with the coalitions evaluated in each batch.
        """
        return self.read(examples, coalitions, self._score, steps, progress)

    def evaluate(self, examples: NDArray[np.int64], coalitions: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Scores of single coalitions `[rows, players]`, each of its own example `[rows]`: `[rows]`."""
        return self.walk(examples, coalitions[:, None]).values[:, 0]

    def read(
        self,
        examples: NDArray[np.int64],
        coalitions: NDArray[np.bool_],
        reader: Reader,
        steps: NDArray[np.int64] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Walked:
        """As `walk`, with any number that `reader` takes from a row's logits."""
        rows, length = coalitions.shape[:2]
        wanted = np.full(rows, length, dtype=np.int64) if steps is None else steps
        whole = np.zeros(rows, dtype=np.float32)
        values = np.full((rows, length), np.nan, dtype=np.float32)

        def walked(
            members: NDArray[np.int64], padded: int
        ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            return self._walk_batch(examples[members], coalitions[members], wanted[members], padded, reader)

        with torch.inference_mode():
            for members, made in fitted(self._loaded, self._batches(examples), walked):
                whole[members], values[members] = made
                if progress is not None:
                    progress(int(wanted[members].sum()))
        return Walked(whole, values)

    def _batches(self, examples: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Rows of one padded length, longest first."""
        exact = self._encoded.lengths[examples]
        lengths = np.empty_like(exact)
        for length in np.unique(exact).tolist():
            lengths[exact == length] = padded_length(length, self._loaded.max_length)
        most = GPU_ROWS if self._cuda else CPU_ROWS
        budget = int(STATES * free_bytes(self._loaded.device)) if self._cuda else CPU_BYTES
        for padded in np.unique(lengths)[::-1].tolist():
            members = np.flatnonzero(lengths == padded)
            size = max(1, min(most, budget // self._stack.row_bytes(padded)))
            # Equal parts: a small rest would waste most of its calls.
            yield from ((part, padded) for part in np.array_split(members, -(-len(members) // size)))

    def _walk_batch(
        self,
        examples: NDArray[np.int64],
        coalitions: NDArray[np.bool_],
        wanted: NDArray[np.int64],
        padded: int,
        reader: Reader,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        device, players = self._loaded.device, self.players
        unique, place = np.unique(examples, return_inverse=True)
        batch = collate(self._loaded, self._encoded, unique, padded)
        repeated = to_device(place, device)
        rows = self._stack.rows(batch, repeated)
        of = to_device(examples, device)
        current = reader(rows.logits, to_device(unique, device))[repeated]
        whole = current.clone()
        found = [whole] * coalitions.shape[1]
        before = np.ones((len(examples), len(players)), dtype=np.bool_)
        for step in range(coalitions.shape[1]):
            now = np.where((wanted > step)[:, None], coalitions[:, step], before)
            order, reach = self._order(now ^ before)
            before = now
            if len(order):
                heads, mlps = players.closed(now[order])
                gates = Gates(
                    to_device(~heads, device), to_device(~mlps, device) if players.uses_mlps else None
                )
                index = to_device(order, device)
                logits = rows.move(index, reach, gates)
                current = current.clone()
                current[index] = reader(logits, of[index])
            found[step] = current
        start, *made = to_host(whole, *([torch.stack(found, dim=1)] if found else []))
        values = made[0] if made else np.zeros((len(examples), 0))
        values = np.where(np.arange(coalitions.shape[1])[None, :] < wanted[:, None], values, np.nan)
        return start, values.astype(np.float32)

    def _order(self, changed: NDArray[np.bool_]) -> tuple[NDArray[np.int64], list[int]]:
        """Changed rows sorted by their lowest changed layer, and how many have it at each layer or below."""
        layers = self.players.layers
        lowest = np.where(changed, self.players.lowest[None, :], layers).min(axis=1)
        order = np.argsort(lowest, kind="stable")
        reach = np.searchsorted(lowest[order], np.arange(layers), side="right")
        return order[: int(reach[-1])], reach.tolist()


def engine_on(
    loaded: LoadedModel,
    examples: pl.DataFrame,
    kinds: Sequence[str],
    groups: Sequence[Sequence[str]] = (),
    tagged_piece: str = "first",
    measure: Measure = "accuracy",
    precision: str = "float32",
) -> Engine:
    """The game of all players of some kinds over examples that all have gold; see `players_of` and `gold_of`.

    ModelError where `precision` judges too many of the examples otherwise than float32.
    """
    sites = loaded.family.attention_sites(loaded.model)
    players = players_of(kinds, len(sites), sites[0].num_heads, groups)
    encoded = encode(loaded, examples)
    gold = gold_of(loaded, encoded, examples, tagged_piece)
    engine = Engine(loaded, encoded, players, gold, measure, precision)
    if precision != "float32":
        exact = Engine(loaded, encoded, players, gold, measure)
        check_precision(exact, engine, np.arange(min(len(encoded), _CHECKED)))
    return engine


def check_precision(
    exact: Engine, coarse: Engine, examples: NDArray[np.int64], tolerance: float = 0.02
) -> float:
    """Share of examples whose score with all gates open differs by more than .05 between two precisions.

    A coarser number format may move near ties, which is noise; ModelError if there are more of them than `tolerance`.
    """
    none = np.zeros((len(examples), 0, len(exact.players)), dtype=np.bool_)
    change = np.abs(exact.walk(examples, none).whole - coarse.walk(examples, none).whole)
    differ = float((~(change <= 0.05)).mean())
    if differ > tolerance:
        raise ModelError(
            f"In half precision {differ:.1%} of the examples are judged otherwise than in float32 "
            f'(at most {tolerance:.0%} are accepted). Set `precision = "float32"` under `[heads]`.'
        )
    return differ
