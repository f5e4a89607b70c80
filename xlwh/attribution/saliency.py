"""`input_x_gradient`, `attention` and `scaled_attention`: all that one pass forward and back can tell.

Asked for together they share it: the gradient of the target logit to the word vectors and to the last attention
weights comes from one backward pass. Attention needs the eager implementation, gradients alone do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.vectors import (
    by_example,
    explained,
    in_batches,
    positions,
    word_vectors,
)
from xlwh.models.attentions import attentions, last_reading_site, rows_at
from xlwh.models.batches import Batch
from xlwh.models.loaded import LoadedModel
from xlwh.models.outputs import output_replaced
from xlwh.models.reading import reading
from xlwh.models.tokenize import Encoded

GRADIENTS = frozenset({"input_x_gradient", "scaled_attention"})
Made = Iterator[tuple[int, dict[str, Attribution]]]
ATTENTION = frozenset({"attention", "scaled_attention"})


def saliency(
    loaded: LoadedModel,
    encoded: Encoded,
    items: Sequence[Item],
    parameters: Mapping[str, Any],
    batch_tokens: int,
) -> Iterator[tuple[int, dict[str, Attribution]]]:
    """Yield (position in `items`, method -> attribution) of the methods that are keys of `parameters`.

    - `input_x_gradient`: word vector times gradient of the target logit, at each position, summed over dimensions
      (`signed`) or as the L2 norm of the products (`l2`).
    - `attention`: last layer, the row of the position that the classifier reads (or of the sub-token whose output is
      explained), mean over heads.
    - `scaled_attention`: the same, times the mean over heads of the gradient of the target logit to it.
    """
    wanted = frozenset(parameters)
    embedding = loaded.family.word_embedding(loaded.model)
    gradients = bool(wanted & GRADIENTS)

    def compute(chosen: list[int], batch: Batch) -> Made:
        vectors = word_vectors(loaded, batch).requires_grad_(gradients)
        mine = [items[index] for index in chosen]
        read = positions(loaded, batch, mine)
        # Of a classifier the position that its head reads is found in the same pass.
        find = read is None and bool(wanted & ATTENTION)
        with (
            torch.set_grad_enabled(gradients or find),
            loaded.family.pooled_only(loaded.model),
            output_replaced(embedding, vectors) if gradients else nullcontext(),
            reading(loaded) if find else nullcontext() as head,
        ):
            output, weights = _forward(loaded, batch, bool(wanted & ATTENTION))
            f = explained(loaded, batch, output, mine)
            checked: list[tuple[Tensor, Callable[[NDArray[Any]], None]]] = []
            if head is not None:
                read, counts = head.found(output.logits)
                # What is wrong is seen when the results come: nobody waits for it alone.
                checked.append((counts, head.require_one))
            found = _attributions(wanted, f, vectors, weights, read, parameters)
        passes = {name: (1, 0) if name in GRADIENTS else (0, 1) for name in found}
        yield from by_example(loaded, batch, chosen, f, found, passes, checked)

    yield from in_batches(loaded, encoded, items, batch_tokens, compute)


def _forward(loaded: LoadedModel, batch: Batch, with_attention: bool) -> tuple[Any, Tensor | None]:
    """The model's output, and the weights `[rows, heads, queries, keys]` of the last attention that reads the input."""
    if not with_attention:
        return loaded.model(**batch.inputs(loaded)), None
    site = last_reading_site(loaded)
    attended = attentions(loaded, batch.inputs(loaded), [site])
    return attended.output, attended.weights[site]


def _attributions(
    wanted: frozenset[str],
    f: Tensor,
    vectors: Tensor,
    weights: Tensor | None,
    read: Tensor | None,
    parameters: Mapping[str, Any],
) -> dict[str, Tensor]:
    """Method -> `[rows, length]`; `read` `[rows]` are the positions whose attention is taken."""
    inputs = {"input_x_gradient": vectors} if "input_x_gradient" in wanted else {}
    if "scaled_attention" in wanted and weights is not None:
        inputs["scaled_attention"] = weights
    slopes = (
        dict(zip(inputs, torch.autograd.grad(f.sum(), list(inputs.values())), strict=True)) if inputs else {}
    )
    found = {}
    if "input_x_gradient" in wanted:
        product = (slopes["input_x_gradient"] * vectors).float()
        reduction = parameters["input_x_gradient"].reduction
        found["input_x_gradient"] = product.norm(dim=-1) if reduction == "l2" else product.sum(-1)
    if weights is not None and read is not None:
        attention = rows_at(weights, read).mean(1)
        if "attention" in wanted:
            found["attention"] = attention
        if "scaled_attention" in wanted:
            found["scaled_attention"] = attention * rows_at(slopes["scaled_attention"], read).mean(1)
    return found
