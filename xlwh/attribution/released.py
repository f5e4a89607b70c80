"""Attributions as the released code of arXiv 2403.12809 computes them, so that its tables can be compared like with like.

Source: casszhao/multilingual-faith, `extract_importance_` and `integrated_grads`. Its gradients are those of the word
embedding's *weight*, looked up by token id: a token has the sum over every place in the batch that has its id. Here an
example is a batch of its own, as the released code has it at batch size 1; larger ones depend on what else is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.vectors import (
    by_example,
    explained,
    in_batches,
    positions,
    word_vectors,
)
from xlwh.errors import ModelError
from xlwh.models.attentions import attentions, last_reading_site, rows_at
from xlwh.models.batches import Batch
from xlwh.models.loaded import LoadedModel
from xlwh.models.outputs import output_replaced, output_scaled
from xlwh.models.reading import reading
from xlwh.models.tokenize import Encoded

ATTENTION = "released_scaled_attention"
GRADIENT = "released_input_x_gradient"
INTEGRATED = "released_integrated_gradients"

PASSES = {ATTENTION: (0, 2), GRADIENT: (1, 0), INTEGRATED: (11, 0)}
"""Gradient rows and forward rows that a method takes for each example."""

STEPS = tuple(step / 10 for step in range(10))
"""Factors of the embeddings that gradients are taken at, beside that of the whole input."""


def released(
    loaded: LoadedModel,
    encoded: Encoded,
    items: Sequence[Item],
    parameters: Mapping[str, Any],
    batch_tokens: int,
) -> Iterator[tuple[int, dict[str, Attribution]]]:
    """Yield (position in `items`, method -> attribution) of the methods that are keys of `parameters`.

    - `released_scaled_attention`: `attention`, times the attention that the code last computed, which is not its gradient
      but that of the input with what leaves the embedding's LayerNorm scaled by .9, the last step of its integrated
      gradients. That is nearly the square.
    - `released_input_x_gradient`: |Σ over dimensions of word vector times gradient|.
    - `released_integrated_gradients`: word vector times the mean of 11 gradients, at the input and with what leaves the
      embedding's LayerNorm scaled by 0, .1, …, .9; summed over dimensions.

    ModelError for the first and the last of them where a model has no such LayerNorm.
    """
    wanted = frozenset(parameters)
    module = loaded.family.embedding_output(loaded.model)
    scaling = sorted(wanted & {ATTENTION, INTEGRATED})
    if module is None and scaling:
        raise ModelError(
            f"Model `{loaded.key}` ({loaded.config.model_type}) does not normalise a sum of word, position and type "
            f"vectors, which {' and '.join(f'`{name}`' for name in scaling)} scale. Leave them out of "
            "`attribution.methods`, or this model out of the study."
        )

    def compute(chosen: list[int], batch: Batch) -> Iterator[tuple[int, dict[str, Attribution]]]:
        mine = [items[index] for index in chosen]
        found: dict[str, Tensor] = {}
        f = torch.zeros(0)
        if ATTENTION in wanted and module is not None:
            attention, f = _attention(loaded, batch, mine)
            with output_scaled(module, STEPS[-1]):
                found[ATTENTION] = attention * _attention(loaded, batch, mine)[0]
        if wanted & {GRADIENT, INTEGRATED}:
            vectors = word_vectors(loaded, batch)
            gradient, f = _gradient(loaded, batch, mine)
            found[GRADIENT] = (gradient * vectors).sum(-1).abs()
            if INTEGRATED in wanted:
                for factor in STEPS:
                    gradient = gradient + _gradient(loaded, batch, mine, module, factor)[0]
                found[INTEGRATED] = (gradient / (len(STEPS) + 1) * vectors).sum(-1)
        asked = {name: found[name] for name in parameters}
        yield from by_example(loaded, batch, chosen, f, asked, PASSES)

    yield from in_batches(loaded, encoded, items, batch_tokens, compute)


def _attention(loaded: LoadedModel, batch: Batch, items: Sequence[Item]) -> tuple[Tensor, Tensor]:
    """Last layer, the row that is read, mean over heads: `[rows, length]`; and F `[rows]`."""
    site = last_reading_site(loaded)
    read = positions(loaded, batch, items)
    find = read is None
    with torch.set_grad_enabled(find), reading(loaded) if find else nullcontext() as head:
        attended = attentions(loaded, batch.inputs(loaded), [site])
        f = explained(loaded, batch, attended.output, items)
        if head is not None:
            read = head.positions(attended.output.logits)
    assert read is not None
    return rows_at(attended.weights[site], read).mean(1).detach(), f.detach()


def _gradient(
    loaded: LoadedModel,
    batch: Batch,
    items: Sequence[Item],
    module: torch.nn.Module | None = None,
    factor: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Gradient of F to the word embedding's weight, of each token's id: `[rows, length, width]`; and F `[rows]`.

    What leaves `module` is multiplied by `factor` on the way.
    """
    embedding = loaded.family.word_embedding(loaded.model)
    vectors = word_vectors(loaded, batch).requires_grad_()
    scaled = nullcontext() if module is None else output_scaled(module, factor)
    with torch.enable_grad(), output_replaced(embedding, vectors), scaled:
        f = explained(loaded, batch, loaded.model(**batch.inputs(loaded)), items)
    (slope,) = torch.autograd.grad(f.sum(), [vectors])
    slope = slope * batch.attention_mask[..., None]
    # The embedding of PAD is not trained: its gradient is 0.
    if embedding.padding_idx is not None:
        slope = slope * (batch.input_ids != embedding.padding_idx)[..., None]
    same = (batch.input_ids[:, :, None] == batch.input_ids[:, None, :]).to(slope.dtype)
    return same @ slope, f.detach()
