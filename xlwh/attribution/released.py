"""Attributions as the released code of arXiv 2403.12809 computes them, so that its tables can be compared like with like.

Source: casszhao/multilingual-faith, `extract_importance_` and `integrated_grads`. Its gradients are those of the word
embedding's *weight*, looked up by token id: a token has the sum over every place in the batch that has its id. Here an
example is a batch of its own, as the released code has it at batch size 1; larger ones depend on what else is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.vectors import batches, explained, output_replaced, per_token, positions, word_vectors
from xlwh.errors import ModelError
from xlwh.models.attentions import attentions, last_reading_site, pooled_row
from xlwh.models.batches import Batch
from xlwh.models.tokenize import Encoded
from xlwh.models.zoo import LoadedModel

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

    - `released_scaled_attention`: the square of `attention`: the code multiplies it by itself, not by its gradient.
    - `released_input_x_gradient`: |Σ over dimensions of word vector times gradient|.
    - `released_integrated_gradients`: word vector times the mean of 11 gradients, at the input and with what leaves the
      embedding's LayerNorm scaled by 0, .1, …, .9; summed over dimensions.

    ModelError for models without such a LayerNorm, and for what is explained token by token.
    """
    module = loaded.family.embedding_output(loaded.model)
    if module is None or any(item.position is not None for item in items):
        raise ModelError(
            f"Model `{loaded.key}` ({loaded.config.model_type}): the methods {', '.join(parameters)} are those of code "
            "for classifiers of BERT's layout. Leave them out of `attribution.methods`, or this model out of the study."
        )
    for chosen, batch in batches(loaded, encoded, items, batch_tokens):
        mine = [items[index] for index in chosen]
        found: dict[str, Tensor] = {}
        values: Tensor | None = None
        if "released_scaled_attention" in parameters:
            found["released_scaled_attention"] = _attention(loaded, batch) ** 2
        if "released_input_x_gradient" in parameters or "released_integrated_gradients" in parameters:
            vectors = word_vectors(loaded, batch)
            gradient, values = _gradient(loaded, batch, mine, module, 1.0)
            found["released_input_x_gradient"] = (gradient * vectors).sum(-1).abs()
            if "released_integrated_gradients" in parameters:
                total = gradient
                for factor in STEPS:
                    total = total + _gradient(loaded, batch, mine, module, factor)[0]
                found["released_integrated_gradients"] = (total / (len(STEPS) + 1) * vectors).sum(-1)
        rows = {name: per_token(loaded, batch, found[name]) for name in parameters}
        outputs = [None] * len(chosen) if values is None else values.double().cpu().tolist()
        evaluated = {"released_input_x_gradient": 1, "released_integrated_gradients": len(STEPS) + 1}
        for place, index in enumerate(chosen):
            yield (
                index,
                {
                    name: Attribution(
                        rows[name][place],
                        outputs[place] if name in evaluated else None,
                        num_gradient_rows=evaluated.get(name, 0),
                        num_forward_rows=int(name not in evaluated),
                    )
                    for name in rows
                },
            )


def _attention(loaded: LoadedModel, batch: Batch) -> Tensor:
    """Last layer, the row that the classifier reads, mean over heads: `[rows, length]`."""
    site = last_reading_site(loaded)
    with torch.inference_mode():
        attended = attentions(loaded, batch.inputs(loaded), [site])
    return pooled_row(loaded, batch.attention_mask, attended.weights[site]).mean(1)


def _gradient(
    loaded: LoadedModel, batch: Batch, items: Sequence[Item], module: torch.nn.Module, factor: float
) -> tuple[Tensor, Tensor]:
    """Gradient of the target to the word embedding's weight, of each token's id `[rows, length, width]`; and F `[rows]`."""
    embedding = loaded.family.word_embedding(loaded.model)
    vectors = word_vectors(loaded, batch).requires_grad_()
    handle = module.register_forward_hook(lambda _, __, output: output * factor)
    try:
        with torch.enable_grad(), output_replaced(embedding, vectors):
            f = explained(loaded, batch, loaded.model(**batch.inputs(loaded)), items)
        (slope,) = torch.autograd.grad(f.sum(), [vectors])
    finally:
        handle.remove()
    slope = slope * batch.attention_mask[..., None]
    # The embedding of PAD is not trained: its gradient is 0.
    if embedding.padding_idx is not None:
        slope = slope * (batch.input_ids != embedding.padding_idx)[..., None]
    same = (batch.input_ids[:, :, None] == batch.input_ids[:, None, :]).to(slope.dtype)
    return same @ slope, f.detach()
