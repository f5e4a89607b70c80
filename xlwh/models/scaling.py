"""A module's output scaled on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def output_scaled(module: nn.Module, factors: Tensor | float) -> Iterator[None]:
    """Inside, what a module returns is multiplied by `factors`."""

    def scaled(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output * factors

    handle = module.register_forward_hook(scaled)
    try:
        yield
    finally:
        handle.remove()
