"""Which position of the last hidden state a classification head reads: found by what the model does.

Heads differ (the first token, the last one that is not PAD, the last end token), and a rule that is right for one
checkpoint is wrong for the next: where PAD also closes each text, a decoder reads the token before the closing one.
The gradient of the logits to the last hidden state is zero wherever the head does not look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xlwh.errors import ModelError
from xlwh.models.batches import to_host
from xlwh.models.hooks import on_call

if TYPE_CHECKING:
    from xlwh.models.loaded import LoadedModel


class Reading:
    """The last hidden state of one forward pass, and what a head makes of it."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._state: Tensor | None = None

    def record(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        """Forward hook of the module that the last hidden state leaves."""
        state: Tensor = output[0] if isinstance(output, tuple) else output
        self._state = state if state.requires_grad else state.detach().requires_grad_(True)
        # A copy goes on: what comes after may change it in place.
        passed = self._state * 1
        return (passed, *output[1:]) if isinstance(output, tuple) else passed

    def sensitivity(self, logits: Tensor) -> Tensor:
        """Largest slope of the logits `[rows, classes]` to each position of the last hidden state: `[rows, length]`.

        The pass that computed them is kept for further gradients.
        """
        if self._state is None:
            raise ModelError(
                f"The forward pass of model `{self._key}` did not go through its last hidden state."
            )
        # Unequal weights: the classes of a head may cancel out in a plain sum.
        weights = torch.linspace(1, 2, logits.shape[-1], device=logits.device, dtype=torch.float32)
        total = (logits.float() * weights).sum()
        (slope,) = torch.autograd.grad(total, self._state, retain_graph=True, allow_unused=True)
        if slope is None:
            return self._state.new_zeros(self._state.shape[:2])
        return slope.abs().amax(dim=-1)

    def found(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The position that each row's logits depend on, and how many they are: `[rows]` each. See `require_one`."""
        read = self.sensitivity(logits) > 0
        return read.int().argmax(dim=1), read.sum(dim=1)

    def require_one(self, counts: NDArray[np.int64]) -> None:
        """ModelError where the logits of some row do not depend on exactly one position."""
        if not (counts == 1).all():
            raise ModelError(
                f"Model `{self._key}`: its head reads {counts.max()} positions of the last hidden state"
                f"{'' if counts.min() == counts.max() else f' (of some examples {counts.min()})'}, not "
                "one: there is no row of attention that is the classifier's. Leave out `attention` and "
                "`scaled_attention` for it."
            )

    def positions(self, logits: Tensor) -> Tensor:
        """The position that each row's logits depend on: `[rows]`. ModelError where it is not exactly one."""
        read, counts = self.found(logits)
        self.require_one(*to_host(counts))
        return read


@contextmanager
def reading(loaded: LoadedModel) -> Iterator[Reading]:
    """Record the last hidden state of the forward pass inside, which has to run with gradients enabled.

    With frozen weights and nothing before it that needs a gradient, only the head is differentiated.
    """
    found = Reading(loaded.key)
    last = loaded.family.hidden_sites(loaded.model)[-1]
    with on_call(loaded.model, last.module, last.call, "output", found.record):
        yield found


def read_positions(loaded: LoadedModel, inputs: Mapping[str, Tensor]) -> Tensor:
    """The position that the classification head reads in each row, `[rows]`, by a forward pass on `inputs`.

    ModelError where the head reads several positions, or none.
    """
    with torch.enable_grad(), reading(loaded) as found:
        return found.positions(loaded.model(**inputs).logits)
