"""Who plays: heads, layers, MLP blocks and groups of heads, and the gates that a coalition leaves open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xlwh.errors import ModelError

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, order=True)
class Player:
    """One player, named as the tables name it."""

    unit: str
    """head, layer, mlp or group."""
    layer: int
    head: int = 0


def players_in(frame: pl.DataFrame) -> tuple[Player, ...]:
    """The players of some rows, in their order."""
    return tuple(Player(*row) for row in frame.select("unit", "layer", "head").iter_rows())


@dataclass(frozen=True)
class Players:
    """The players of a game on a model of `layers` attention blocks with `heads` heads each."""

    names: tuple[Player, ...]
    layers: int
    heads: int
    head_gates: NDArray[np.bool_]
    """`[players, layers, heads]`, True where the player's absence closes a head's gate."""
    mlp_gates: NDArray[np.bool_]
    """`[players, layers]`, True where it closes the gate of a feed-forward block."""

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def lowest(self) -> NDArray[np.int64]:
        """Lowest layer that each player changes: `[players]`."""
        touched = self.head_gates.any(axis=2) | self.mlp_gates
        first: NDArray[np.int64] = touched.argmax(axis=1)
        return first

    @property
    def uses_mlps(self) -> bool:
        """Whether any player is more than heads."""
        return bool(self.mlp_gates.any())

    def closed(self, coalitions: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Gates that coalitions `[rows, players]` close: `[rows, layers, heads]` and `[rows, layers]`."""
        absent = ~coalitions
        heads = absent.astype(np.float32) @ self.head_gates.reshape(len(self), -1).astype(np.float32) > 0
        mlps = absent.astype(np.float32) @ self.mlp_gates.astype(np.float32) > 0
        return heads.reshape(len(coalitions), self.layers, self.heads), mlps

    def coalition(self, removed: Iterable[Player]) -> NDArray[np.bool_]:
        """Who is left without `removed`: `[players]`. ModelError for a player that is not in the game."""
        index = {name: place for place, name in enumerate(self.names)}
        left = np.ones(len(self), dtype=np.bool_)
        for player in removed:
            if player not in index:
                raise ModelError(
                    f"{player} is not in the game of {self.layers} layers with {self.heads} heads and "
                    f"{len(self)} players."
                )
            left[index[player]] = False
        return left


def players_of(
    kinds: Sequence[str], layers: int, heads: int, groups: Sequence[Sequence[str]] = ()
) -> Players:
    """The game of all players of some kinds, in the order of the kinds, then of the layers.

    `groups` are lists of heads written `<layer>.<head>`. ModelError for a head that the model has not, or one that
    two players share (then removing a player would not be one thing).
    """
    names: list[Player] = []
    for kind in kinds:
        if kind == "head":
            names += [Player("head", layer, head) for layer in range(layers) for head in range(heads)]
        elif kind == "group":
            names += [Player("group", 0, number) for number in range(len(groups))]
        else:
            names += [Player(kind, layer) for layer in range(layers)]
    head_gates = np.zeros((len(names), layers, heads), dtype=np.bool_)
    mlp_gates = np.zeros((len(names), layers), dtype=np.bool_)
    for place, player in enumerate(names):
        if player.unit == "head":
            head_gates[place, player.layer, player.head] = True
        elif player.unit == "layer":
            head_gates[place, player.layer] = True
        elif player.unit == "mlp":
            mlp_gates[place, player.layer] = True
        else:
            for name in groups[player.head]:
                layer, head = (int(part) for part in name.split("."))
                if layer >= layers or head >= heads:
                    raise ModelError(f"Group {player.head}: there is no head {name} in {layers} x {heads}.")
                head_gates[place, layer, head] = True
    shared = np.argwhere(head_gates.sum(axis=0) > 1)
    if len(shared):
        layer, head = shared[0].tolist()
        raise ModelError(f"Head {layer}.{head} belongs to two players; a game needs them apart.")
    return Players(tuple(names), layers, heads, head_gates, mlp_gates)
