"""What heads are worth by other measures: gradients of the loss to the gates, and what their attention looks like."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from xlwh.heads.examples import keys_of
from xlwh.heads.scores import NO_GOLD, gold_of
from xlwh.models.attentions import attentions
from xlwh.models.batches import Batch, collate, to_device, to_host
from xlwh.models.fitting import batch_tokens_for, each_batch
from xlwh.models.gates import gated, open_gates
from xlwh.models.tokenize import encode

if TYPE_CHECKING:
    import polars as pl

    from xlwh.heads.scores import Gold
    from xlwh.models.loaded import LoadedModel
    from xlwh.models.tokenize import Encoded

T = TypeVar("T")
Values = NDArray[np.float64]
BATCH_TOKENS = 2048
"""Padded sub-tokens per pass on a CPU: gradients and eager attention keep every layer in memory."""


def gradient_importance(loaded: LoadedModel, encoded: Encoded, gold: Gold) -> Values:
    """|dL/d gate| of every head on each example: `[examples, layers, heads]`.

    The gate multiplies the head's output, so this is |sum ctx * dL/dctx|. Source: Michel, Levy and Neubig (2019),
    "Are sixteen heads really better than one?", section 4.1. L is the cross entropy of the gold class, in tagging
    the mean over the words.
    """
    model = loaded.model
    found: Values | None = None

    def compute(batch: Batch) -> Values:
        gates = open_gates(model, len(batch.rows)).requires_grad_(True)
        with torch.enable_grad(), gated(model, gates):
            logits = model(**batch.inputs(loaded)).logits.float()
            (gradient,) = torch.autograd.grad(_losses(logits, gold, batch.rows).sum(), gates)
        (part,) = to_host(gradient.abs().double())
        return part

    for rows, part in _each_batch(loaded, encoded, compute, gradients=True):
        if found is None:
            found = np.zeros((len(encoded), *part.shape[1:]))
        found[rows] = part
    return np.zeros((0, 0, 0)) if found is None else found


def _losses(logits: Tensor, gold: Gold, rows: NDArray[np.int64]) -> Tensor:
    classes = to_device(gold.classes[rows], logits.device)
    if not gold.tagging:
        return functional.cross_entropy(logits, classes, reduction="none")
    length = min(classes.shape[1], logits.shape[1])
    classes = classes[:, :length]
    each = functional.cross_entropy(
        logits[:, :length].transpose(1, 2), classes, ignore_index=NO_GOLD, reduction="none"
    )
    return each.sum(dim=1) / (classes != NO_GOLD).sum(dim=1).clamp(min=1)


def layer_normalised(values: Values) -> Values:
    """Divide `[..., layers, heads]` by each layer's L2 norm over its heads' means (Michel et al., section 4.1)."""
    means = values.mean(axis=0)
    norms = np.sqrt((means**2).sum(axis=-1, keepdims=True))
    result: Values = values / np.where(norms > 0, norms, 1.0)
    return result


def attention_entropy(weights: Tensor, batch: Batch) -> Tensor:
    """Mean over the real tokens of the entropy of what they attend to, in nats: `[rows, heads]`."""
    entropy = torch.special.entr(weights.float()).sum(dim=-1)
    return _mean_over_queries(entropy, batch)


def attention_confidence(weights: Tensor, batch: Batch) -> Tensor:
    """Mean over the real tokens of their largest weight (Voita et al. 2019): `[rows, heads]`."""
    return _mean_over_queries(weights.float().amax(dim=-1), batch)


def separator_attention(weights: Tensor, batch: Batch) -> Tensor:
    """1 where separators (added tokens but the first) get more than half of the attention: `[rows, heads]`."""
    first = batch.attention_mask.argmax(dim=1)
    separators = batch.special.clone()
    separators.scatter_(1, first[:, None], False)
    mass = (weights.float() * separators[:, None, None, :]).sum(dim=-1)
    return (_mean_over_queries(mass, batch) > 0.5).float()


LOOKS: dict[str, Callable[[Tensor, Batch], Tensor]] = {
    "attention_entropy": attention_entropy,
    "attention_confidence": attention_confidence,
    "separator_attention": separator_attention,
}
"""Measures of what attention looks like, by name."""


def attention_looks(loaded: LoadedModel, encoded: Encoded, names: Sequence[str]) -> dict[str, Values]:
    """Chosen measures of every head's attention on each example: `[examples, layers, heads]` each.

    For encoders; ModelError where the family gives no self-attention of the input's own length.
    """
    sites = loaded.family.attention_sites(loaded.model)
    shape = (len(encoded), len(sites), sites[0].num_heads)
    found = {name: np.zeros(shape) for name in names}

    def compute(batch: Batch) -> None:
        attended = attentions(loaded, batch.inputs(loaded))
        looks = {
            (name, site): LOOKS[name](weights, batch)
            for site, weights in attended.weights.items()
            for name in names
        }
        for (name, site), values in zip(looks, to_host(*looks.values()), strict=True):
            found[name][batch.rows, site] = values

    with torch.inference_mode():
        deque(_each_batch(loaded, encoded, compute, gradients=False), maxlen=0)
    return found


def head_importance(
    loaded: LoadedModel, examples: pl.DataFrame, methods: Sequence[str], tagged_piece: str = "first"
) -> pl.DataFrame:
    """Rows of `head_importance`: mean and standard deviation of each measure over examples that all have gold.

    In tagging the mean counts each example by its words.
    """
    import polars as pl

    encoded = encode(loaded, examples)
    gold = gold_of(loaded, encoded, examples, tagged_piece)
    found: dict[str, Values] = {}
    if not LOOKS.keys() >= set(methods):
        gradients = gradient_importance(loaded, encoded, gold)
        found |= {"gradient": gradients, "gradient_layer_norm": layer_normalised(gradients)}
    if looks := [method for method in methods if method in LOOKS]:
        found |= attention_looks(loaded, encoded, looks)
    weights, parts = gold.weights / gold.weights.sum(), []
    for method in methods:
        mean = np.tensordot(weights, found[method], axes=1)
        sd = found[method].std(axis=0, ddof=1) if len(examples) > 1 else np.full(mean.shape, np.nan)
        layer, head = np.indices(mean.shape)
        columns = {"layer": layer, "head": head, "value": mean, "sd": sd}
        part = pl.DataFrame({name: values.ravel() for name, values in columns.items()})
        parts.append(part.with_columns(pl.col("sd").fill_nan(None), method=pl.lit(method)))
    frame = pl.concat(parts).with_columns(unit=pl.lit("head"), num_examples=len(examples))
    return frame.join(keys_of(examples, loaded.key), how="cross")


def _mean_over_queries(values: Tensor, batch: Batch) -> Tensor:
    real = batch.attention_mask[:, None, :].to(values.dtype)
    return (values * real).sum(dim=-1) / real.sum(dim=-1)


def _each_batch(
    loaded: LoadedModel, encoded: Encoded, compute: Callable[[Batch], T], gradients: bool
) -> Iterator[tuple[NDArray[np.int64], T]]:
    tokens = batch_tokens_for(loaded, BATCH_TOKENS, gradients=gradients)
    return each_batch(
        loaded,
        encoded.lengths,
        lambda rows, length: compute(collate(loaded, encoded, rows, length)),
        tokens,
    )
