"""A module's output scaled, or replaced, on the way."""

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


@contextmanager
def output_replaced(module: nn.Module, output: Tensor) -> Iterator[None]:
    """Inside, a module returns `output` whatever it is called with."""
    handle = module.register_forward_hook(lambda *_: output)
    try:
        yield
    finally:
        handle.remove()
