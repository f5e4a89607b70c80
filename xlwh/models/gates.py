"""Gates on attention heads: the one place where heads are switched off or weighted.

transformers has neither head masks nor head pruning (a `head_mask` argument is ignored without an error). A
gate multiplies a head's output before the attention's output projection: at 1 nothing changes, at 0 the head
is removed while every parameter, the projection's bias included, stays. The result equals zeroing the
projection's input columns of that head, for each row of the batch on its own.

With grouped-query attention a gate belongs to a query head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xlwh.errors import ModelError
from xlwh.models.families import AttentionSite, family_of
from xlwh.models.hooks import on_call


def open_gates(model: nn.Module, rows: int = 1) -> Tensor:
    """Gates that change nothing: ones, `[rows, sites, heads]`, on the model's device.

    A site is an attention block in the order of the forward pass (`Family.attention_sites`): a layer in an
    encoder or a decoder, self and cross attention apart in an encoder-decoder.
    """
    sites = family_of(model).attention_sites(model)
    parameter = next(model.parameters())
    return torch.ones(rows, len(sites), sites[0].num_heads, device=parameter.device, dtype=parameter.dtype)


@contextmanager
def gated(model: nn.Module, gates: Tensor) -> Iterator[None]:
    """Run forward passes with `gates` `[rows, sites, heads]`; one row serves every row of a batch.

    Works under every attention implementation; gradients reach the gates. Contexts may be nested: their gates
    multiply. ModelError if the shape does not fit the model, or the rows a batch.
    """
    sites = family_of(model).attention_sites(model)
    heads = sites[0].num_heads
    if gates.dim() != 3 or gates.shape[1:] != (len(sites), heads):
        raise ModelError(
            f"Gates of shape {list(gates.shape)} do not fit {type(model).__name__}: [rows, {len(sites)}, {heads}]."
        )
    with ExitStack() as hooks:
        for index, site in enumerate(sites):
            hooks.enter_context(on_call(model, site.output, site.call, "input", gate(site, gates[:, index])))
        yield


def gate(site: AttentionSite, gates: Tensor) -> Any:
    """A forward pre-hook that multiplies the heads of one block by `gates` `[rows, heads]`."""

    def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (heads, *rest) = arguments
        rows = heads.shape[0]
        if gates.shape[0] not in (1, rows):
            raise ModelError(f"Gates for {gates.shape[0]} rows, but the batch has {rows}.")
        apart = heads.reshape(rows, -1, site.num_heads, site.head_size)
        return (apart * gates.to(heads.dtype)[:, None, :, None]).reshape(heads.shape), *rest

    return hook
