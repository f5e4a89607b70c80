"""What is correct, as a model is given it, and who judges a model by it: shared by the tasks that are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Gold = Mapping[str, NDArray[np.int64] | Sequence[Sequence[int]]]
"""Arguments of a model's `forward` beside its inputs, one entry per example: a number, or one per sub-token."""


class Scorer(Protocol):
    """Gathers the predictions of an evaluation, batch by batch, and says how good they are."""

    def add(
        self, rows: NDArray[np.int64], output: Any, gold: Mapping[str, Tensor], real: NDArray[np.bool_]
    ) -> int:
        """Take a batch: the inputs `rows`, the model's output and their gold; `real` `[rows, length]` marks what is
        no padding. Returns how many predictions the loss of the batch is a mean of."""
        ...

    def scores(self) -> dict[str, float]:
        """Measures by name, shares, larger is better; the best checkpoint is chosen by the first of them."""
        ...
