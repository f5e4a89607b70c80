"""Passes that start at the word vectors: batches of items, their baselines, and the model as a function of vectors.

Everything that is not a word vector (mask, positions, token types, a decoder's input) is that of the real input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xlwh.attribution.base import Item
from xlwh.errors import ModelError
from xlwh.models.batches import Batch, collate, plan
from xlwh.models.masking import mask_token_id, pad_token_id
from xlwh.models.tokenize import Encoded
from xlwh.models.zoo import LoadedModel

Baseline = Literal["pad", "mask", "zero"]


def batches(
    loaded: LoadedModel, encoded: Encoded, items: Sequence[Item], batch_tokens: int
) -> Iterator[tuple[list[int], Batch]]:
    """(positions in `items`, batch of their examples): every item once, at most `batch_tokens` padded sub-tokens."""
    examples = np.array([item.example for item in items], dtype=np.int64)
    for chosen, length in plan(encoded.lengths[examples], loaded.max_length, batch_tokens):
        yield chosen.tolist(), collate(loaded, encoded, examples[chosen], length)


def word_vectors(loaded: LoadedModel, batch: Batch) -> Tensor:
    """Output of the word embedding: `[rows, length, width]`, a leaf without gradient."""
    with torch.no_grad():
        vectors: Tensor = loaded.family.word_embedding(loaded.model)(batch.input_ids)
    return vectors


def baseline_vectors(loaded: LoadedModel, batch: Batch, kind: Baseline) -> Tensor:
    """Word vectors where all but the special tokens are PAD, the mask token, or zero: `[rows, length, width]`.

    A tokenizer without a mask token has PAD in its place.
    """
    embedding = loaded.family.word_embedding(loaded.model)
    with torch.no_grad():
        if kind == "zero":
            vectors: Tensor = embedding(batch.input_ids) * batch.special[..., None]
        else:
            stand_in = mask_token_id(loaded) if kind == "mask" else pad_token_id(loaded)
            vectors = embedding(torch.where(batch.special, batch.input_ids, stand_in))
    return vectors


def targets(loaded: LoadedModel, items: Sequence[Item]) -> Tensor:
    """Column of the logits that each item explains: `[rows]`."""
    return torch.tensor([item.target for item in items], device=loaded.device)


@contextmanager
def output_replaced(module: nn.Module, output: Tensor) -> Iterator[None]:
    """Inside, a module returns `output` whatever it is called with."""
    handle = module.register_forward_hook(lambda *_: output)
    try:
        yield
    finally:
        handle.remove()


def per_token(loaded: LoadedModel, batch: Batch, values: Tensor) -> list[NDArray[np.float64]]:
    """Values `[rows, length]` without the padding, in float64; ModelError if one is not finite."""
    found = values.detach().double().cpu().numpy()
    real = batch.attention_mask.bool().cpu().numpy()
    if not np.isfinite(found[real]).all():
        raise ModelError(f"Model `{loaded.key}` gives attributions that are not finite.")
    return [row[mask] for row, mask in zip(found, real, strict=True)]


class VectorModel(nn.Module):
    """The model as a function of its word vectors, for captum: logits of `forward(vectors, *inputs)`.

    `arguments(batch)` are the tensors of the real input that go with them, each with a row per example, so that
    captum may repeat them.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__()
        self._loaded = loaded
        self.model: nn.Module = loaded.model
        self._names: tuple[str, ...] = ()

    def arguments(self, batch: Batch) -> tuple[Tensor, ...]:
        """The other inputs of the forward pass, in a fixed order."""
        inputs = batch.inputs(self._loaded)
        self._names = tuple(inputs)
        return tuple(inputs.values())

    def forward(self, vectors: Tensor, *inputs: Tensor) -> Tensor:
        with output_replaced(self._loaded.family.word_embedding(self._loaded.model), vectors):
            logits: Tensor = self.model(**dict(zip(self._names, inputs, strict=True))).logits
        return logits
