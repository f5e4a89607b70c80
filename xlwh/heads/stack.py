"""A model taken apart at its gates, so that a change in one layer recomputes nothing below it.

`Layered` runs encoders of BERT's layout (BERT, RoBERTa, XLM-R) layer by layer and keeps, for every row, what enters
each layer and the heads' outputs there, which lie before the gates. Closing a gate in layer l then costs layer l's
output projection and feed-forward block and the layers above it. `Prefix` (xlwh/heads/prefix.py) does so for other
families by calling their layers, and `Whole` answers the same calls with full forward passes where that cannot be.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xlwh.errors import ModelError
from xlwh.heads.prefix import Prefix
from xlwh.heads.walks import Gates, Stack
from xlwh.models.families.base import base_model
from xlwh.models.gates import gated

if TYPE_CHECKING:
    from xlwh.models.batches import Batch
    from xlwh.models.loaded import LoadedModel


def stack_of(loaded: LoadedModel, dtype: torch.dtype) -> Stack:
    """The model in `dtype`, taken apart as far as its architecture can be."""
    if loaded.family.bert_layout and not base_model(loaded.model).config.is_decoder:
        return Layered(loaded, dtype)
    model = _in(loaded, dtype)
    return Prefix.of(loaded, model) or Whole(loaded, model)


def _in(loaded: LoadedModel, dtype: torch.dtype) -> Any:
    model: Any = loaded.model
    return model if model.dtype == dtype else copy.deepcopy(model).to(dtype=dtype)


@dataclass(frozen=True)
class _Block:
    """One layer's parts, with query, key and value as one projection."""

    qkv_weight: Tensor
    qkv_bias: Tensor
    output: nn.Linear
    attention_norm: nn.LayerNorm
    intermediate: nn.Linear
    activation: Callable[[Tensor], Tensor]
    out: nn.Linear
    norm: nn.LayerNorm


class Layered:
    """Encoders of BERT's layout."""

    def __init__(self, loaded: LoadedModel, dtype: torch.dtype) -> None:
        self._loaded = loaded
        self.model = _in(loaded, dtype)
        body = base_model(self.model)
        self.num_layers = loaded.family.num_layers(body.config)
        self.num_heads = loaded.family.num_heads(body.config)
        self.head_size = loaded.family.head_size(body.config)
        self.width = loaded.family.hidden_size(body.config)
        self.item_bytes = torch.finfo(dtype).bits // 8
        self.embeddings = body.embeddings
        self.blocks = [_block(layer) for layer in body.encoder.layer]
        # A classifier reads the first token only, so in the last layer no other one is computed.
        self.first_only = loaded.task == "sequence_classification"

    def row_bytes(self, length: int) -> int:
        return 2 * self.num_layers * length * self.width * self.item_bytes

    def rows(self, batch: Batch, repeated: Tensor) -> _LayeredRows:
        return _LayeredRows(self, batch, repeated)

    def attend(self, layer: int, hidden: Tensor, seen: Tensor | None) -> Tensor:
        """The heads' outputs side by side, before any gate: `[rows, length or 1, width]`."""
        block, rows, length = self.blocks[layer], hidden.shape[0], hidden.shape[1]
        shape = (rows, length, self.num_heads, self.head_size)
        if self.first_only and layer == self.num_layers - 1:
            width = self.width
            query = functional.linear(hidden[:, :1], block.qkv_weight[:width], block.qkv_bias[:width])
            query = query.view(rows, 1, self.num_heads, self.head_size).transpose(1, 2)
            both = functional.linear(hidden, block.qkv_weight[width:], block.qkv_bias[width:])
            key, value = (part.view(shape).transpose(1, 2) for part in both.chunk(2, dim=-1))
        else:
            joint = functional.linear(hidden, block.qkv_weight, block.qkv_bias)
            query, key, value = (part.view(shape).transpose(1, 2) for part in joint.chunk(3, dim=-1))
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return context.transpose(1, 2).reshape(rows, -1, self.width)

    def finish(self, layer: int, entered: Tensor, context: Tensor, gates: Gates) -> Tensor:
        """From the heads' outputs to what leaves the layer."""
        block = self.blocks[layer]
        apart = context.view(*context.shape[:2], self.num_heads, self.head_size)
        open_ = (apart * gates.heads[:, layer, :].to(context.dtype)[:, None, :, None]).view(context.shape)
        attended: Tensor = block.attention_norm(block.output(open_).add_(entered))
        inner = block.activation(block.intermediate(attended))
        if gates.mlps is not None:
            # Before the projection, as with heads: its bias stays.
            inner = inner * gates.mlps[:, layer].to(inner.dtype)[:, None, None]
        leaving: Tensor = block.norm(block.out(inner).add_(attended))
        return leaving

    def head(self, hidden: Tensor) -> Tensor:
        """Class logits: `[rows, classes]`, or per sub-token `[rows, length, classes]`."""
        pooler = getattr(base_model(self.model), "pooler", None) if self.first_only else None
        logits: Tensor = self.model.classifier(hidden if pooler is None else pooler(hidden))
        return logits.float()


def _block(layer: Any) -> _Block:
    attention = layer.attention.self
    parts = (attention.query, attention.key, attention.value)
    return _Block(
        torch.cat([part.weight for part in parts]),
        torch.cat([part.bias for part in parts]),
        layer.attention.output.dense,
        layer.attention.output.LayerNorm,
        layer.intermediate.dense,
        layer.intermediate.intermediate_act_fn,
        layer.output.dense,
        layer.output.LayerNorm,
    )


class _LayeredRows:
    """What enters each layer, and the heads' outputs there, row by row."""

    def __init__(self, stack: Layered, batch: Batch, repeated: Tensor) -> None:
        self._stack = stack
        mask = batch.attention_mask.bool()
        seen = None if batch.real.all() else mask[:, None, None, :]
        inputs = batch.inputs(stack._loaded)
        hidden = stack.embeddings(
            input_ids=inputs["input_ids"],
            token_type_ids=inputs["token_type_ids"],
            position_ids=inputs["position_ids"],
        )
        rows = len(hidden)
        whole = Gates(hidden.new_ones(rows, stack.num_layers, stack.num_heads), None)
        self._seen = None if seen is None else seen[repeated]
        self._entered: list[Tensor] = []
        self._context: list[Tensor] = []
        for layer in range(stack.num_layers):
            context = stack.attend(layer, hidden, seen)
            entered = hidden[:, : context.shape[1]]
            self._entered.append(entered[repeated])
            self._context.append(context[repeated])
            hidden = stack.finish(layer, entered, context, whole)
        self._logits = stack.head(hidden)

    @property
    def logits(self) -> Tensor:
        return self._logits

    def move(self, order: Tensor, reach: list[int], gates: Gates) -> Tensor:
        stack = self._stack
        hidden: Tensor | None = None
        before = 0
        for layer in range(stack.num_layers):
            count = reach[layer]
            if not count:
                continue
            entered, context = [], []
            if hidden is not None:
                old = order[:before]
                seen = None if self._seen is None else self._seen[old]
                made = stack.attend(layer, hidden, seen)
                kept = hidden[:, : made.shape[1]]
                self._entered[layer].index_copy_(0, old, kept)
                self._context[layer].index_copy_(0, old, made)
                entered.append(kept)
                context.append(made)
            if count > before:
                new = order[before:count]
                entered.append(self._entered[layer][new])
                context.append(self._context[layer][new])
            some = Gates(gates.heads[:count], None if gates.mlps is None else gates.mlps[:count])
            hidden = stack.finish(layer, _joined(entered), _joined(context), some)
            before = count
        if hidden is None:
            raise ValueError("move: no row changes")
        return stack.head(hidden)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class Whole:
    """Any family with gates, by full forward passes."""

    def __init__(self, loaded: LoadedModel, model: Any) -> None:
        self.loaded = loaded
        self.model = model
        sites = loaded.family.attention_sites(self.model)
        self.num_layers, self.num_heads = len(sites), sites[0].num_heads

    def row_bytes(self, length: int) -> int:
        return 64 * length

    def rows(self, batch: Batch, repeated: Tensor) -> _WholeRows:
        return _WholeRows(self, batch, repeated)


class _WholeRows:
    def __init__(self, stack: Whole, batch: Batch, repeated: Tensor) -> None:
        self._stack = stack
        inputs = batch.inputs(stack.loaded)
        with stack.loaded.family.pooled_only(stack.model):
            self._logits: Tensor = stack.model(**inputs).logits.float()
        self._inputs = {name: value[repeated] for name, value in inputs.items()}

    @property
    def logits(self) -> Tensor:
        return self._logits

    def move(self, order: Tensor, reach: list[int], gates: Gates) -> Tensor:
        if gates.mlps is not None:
            raise ModelError(
                f"Model `{self._stack.loaded.key}`: players of kind `mlp` need an encoder of BERT's layout."
            )
        inputs = {name: value[order] for name, value in self._inputs.items()}
        family, model = self._stack.loaded.family, self._stack.model
        with family.pooled_only(model), gated(model, gates.heads):
            logits: Tensor = model(**inputs).logits
        return logits.float()
