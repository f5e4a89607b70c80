"""What an attribution method is given and what it returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from xlwh.models.loaded import LoadedModel
    from xlwh.models.tokenize import Encoded

CPU_BATCH_TOKENS = 2048
"""Padded sub-tokens per model call on a CPU, unless a study says otherwise."""

EPSILON = 1e-6
"""Floor of |F(x) - F(baseline)| where completeness errors are taken relative to it."""


@dataclass(frozen=True)
class Item:
    """One explanation to make: an example (its index in the encoded batch) and one of the model's outputs for it."""

    example: int
    target: int
    """Column of the logits: a class, a tag, or a token to write; 0 where an output has one number per sub-token."""
    position: int | None = None
    """Sub-token of the example whose output it is, for models that have one per sub-token; of a translation, the
    sub-token of the forced output (`Encoded.forced`) that `target` is the prediction of."""
    output: str = "logits"
    """Attribute of the model's output: `logits`, `start_logits` or `end_logits`."""


@dataclass(frozen=True)
class Attribution:
    """Signed attributions [num_tokens] of one item, in logits, and the account of how they were made.

    `f_baseline` is None for methods without a baseline; so are the convergence properties then.
    """

    values: NDArray[np.float64]
    f_input: float | None = None
    f_baseline: float | None = None
    num_gradient_rows: int = 0
    num_forward_rows: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
    """What a reader must know of this method on this model; stored beside the parameters."""
    errors: NDArray[np.float64] | None = None
    """Estimated quadrature error of each attribution, absolute, in logits; None for methods that have no estimate."""
    stopped: str | None = None
    """Why the refinement ended (`xlwh.attribution.quadrature.Stop`); None where nothing is refined."""

    @property
    def delta(self) -> float | None:
        """Sum of the attributions minus (F(x) - F(baseline)): captum's convergence delta."""
        if self.f_baseline is None or self.f_input is None:
            return None
        return float(self.values.sum() - (self.f_input - self.f_baseline))

    @property
    def relative_delta(self) -> float | None:
        """|delta| / max(|F(x) - F(baseline)|, EPSILON)."""
        if self.delta is None or self.f_baseline is None or self.f_input is None:
            return None
        return abs(self.delta) / max(abs(self.f_input - self.f_baseline), EPSILON)


class Method(Protocol):
    """An attribution method: yields (position in `items`, attribution) in any order, as they are finished.

    `parameters` is the method's part of the study; `batch_tokens` bounds the sub-tokens of one model call.
    """

    def __call__(
        self,
        loaded: LoadedModel,
        encoded: Encoded,
        items: Sequence[Item],
        parameters: Any,
        batch_tokens: int,
    ) -> Iterator[tuple[int, Attribution]]: ...


class SharedPass(Protocol):
    """Several methods in one pass: as `Method`, with the parameters and the attributions by method name.

    Only the methods that are keys of `parameters` are made.
    """

    def __call__(
        self,
        loaded: LoadedModel,
        encoded: Encoded,
        items: Sequence[Item],
        parameters: Mapping[str, Any],
        batch_tokens: int,
    ) -> Iterator[tuple[int, dict[str, Attribution]]]: ...
