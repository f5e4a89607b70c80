"""Hooks on one call of a module: layers that share their weights are one module, called several times in a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from torch import nn

from xlwh.models.families import Call
from xlwh.models.families.base import base_model


@contextmanager
def on_call(
    model: nn.Module, module: nn.Module, call: Call, at: Literal["input", "output"], hook: Callable[..., Any]
) -> Iterator[None]:
    """Inside, `hook` runs at one of the calls of a module in each forward pass of `model`, before or after it.

    It gets and returns what torch's forward (pre-)hooks do.
    """
    register: Any = module.register_forward_pre_hook if at == "input" else module.register_forward_hook
    if call.of == 1:
        handles = [register(hook)]
    else:
        seen = [0]

        def start(*_: Any) -> None:
            seen[0] = 0

        def counted(*arguments: Any) -> Any:
            seen[0] += 1
            return hook(*arguments) if seen[0] == call.number + 1 else None

        # The pass before may have been broken off.
        handles = [base_model(model).register_forward_pre_hook(start), register(counted)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
