"""What the engine asks of a model: rows in memory, each at some coalition, that are moved to other ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from xlwh.models.batches import Batch


@dataclass(frozen=True)
class Gates:
    """Gates of some rows of a batch."""

    heads: Tensor
    """`[rows, layers, heads]`"""
    mlps: Tensor | None
    """`[rows, layers]`; None where all feed-forward blocks stay."""


class Rows(Protocol):
    """A batch of rows in memory, each at some coalition."""

    @property
    def logits(self) -> Tensor:
        """Logits of the whole model, one row per example of the batch (not yet repeated for its rows)."""
        ...

    def move(self, order: Tensor, reach: list[int], gates: Gates) -> Tensor:
        """Logits after the rows `order` got new gates.

        They are sorted by the lowest layer whose gates changed; `reach[l]` rows have it at layer l or below. `gates`
        are those of the rows in `order`.
        """
        ...


class Stack(Protocol):
    """A model that can hold batches of rows."""

    num_layers: int
    num_heads: int

    def rows(self, batch: Batch, repeated: Tensor) -> Rows:
        """All gates open: row i of the result is example `repeated[i]` of the batch."""
        ...

    def row_bytes(self, length: int) -> int:
        """Memory that one row of `length` sub-tokens takes."""
        ...
