"""Perturbed inputs: token ids with some removed, and the model's probabilities for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xlwh.errors import ModelError
from xlwh.faithfulness.selection import Mask
from xlwh.models.batches import BATCH_TOKENS, Batch, collate, to_device, to_host, within
from xlwh.models.fitting import batch_tokens_for, each_batch
from xlwh.models.loaded import LoadedModel
from xlwh.models.masking import mask_token_id, pad_token_id
from xlwh.models.outputs import output_scaled
from xlwh.models.tokenize import Encoded

Multiplier = Callable[[NDArray[np.int64], Batch], Tensor]
"""multiplier(rows, their batch): which entries of the word vectors are kept, `[rows, length, width]`, on the device."""


def stand_in(loaded: LoadedModel, masking: str) -> int | None:
    """Id that removed tokens become; None where they become nothing."""
    if masking in ("mask", "pad"):
        return mask_token_id(loaded) if masking == "mask" else pad_token_id(loaded)
    return 0 if masking == "zero_id" else None


def perturbed(
    loaded: LoadedModel, encoded: Encoded, examples: Sequence[int], keeps: Sequence[Mask], masking: str
) -> Encoded:
    """Inputs that keep only some tokens: row i is `examples[i]` with `keeps[i]` `[tokens]` of it.

    `delete` makes inputs shorter; one of which nothing would be left is a single PAD.
    """
    replaced = stand_in(loaded, masking)
    starts = encoded.bounds[list(examples)]
    keep = np.concatenate([np.zeros(0, dtype=np.bool_), *keeps])
    sizes = np.array([len(mask) for mask in keeps], dtype=np.int64)
    within = np.arange(len(keep)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    source = np.repeat(starts, sizes) + within
    if replaced is not None:
        shown = np.where(keep, encoded.input_ids[source], replaced).astype(np.int32)
        return _gathered(encoded, examples, source, sizes, shown)
    row = np.repeat(np.arange(len(keeps)), sizes)
    left = np.bincount(row[keep], minlength=len(keeps))
    # An input must have a token: where none is left, the first one stays as a PAD.
    emptied = (left == 0)[row] & (within == 0)
    stays = keep | emptied
    shown = np.where(emptied, pad_token_id(loaded), encoded.input_ids[source]).astype(np.int32)[stays]
    return _gathered(encoded, examples, source[stays], np.maximum(left, 1), shown)


def repeated(encoded: Encoded, examples: Sequence[int]) -> Encoded:
    """The given examples as they are, one row each."""
    sizes = encoded.lengths[list(examples)]
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    source = np.repeat(encoded.bounds[list(examples)], sizes) + within
    return _gathered(encoded, examples, source, sizes, encoded.input_ids[source])


def _gathered(
    encoded: Encoded,
    examples: Sequence[int],
    source: NDArray[np.int64],
    sizes: NDArray[np.int64],
    ids: NDArray[np.int32],
) -> Encoded:
    """Rows made of the tokens at `source`, with the given ids."""
    types = encoded.token_type_ids
    return replace(
        encoded,
        keys=encoded.keys[list(examples)],
        bounds=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)]),
        input_ids=ids,
        token_type_ids=None if types is None else types[source],
        special=encoded.special[source],
        segment=encoded.segment[source],
        char_start=encoded.char_start[source],
        char_end=encoded.char_end[source],
        word_index=encoded.word_index[source],
        occurrences=tuple(encoded.occurrences[example] for example in examples),
        segmenters=tuple(encoded.segmenters[example] for example in examples),
        num_truncated=encoded.num_truncated[list(examples)],
    )


def probabilities(
    loaded: LoadedModel,
    inputs: Encoded,
    targets: NDArray[np.int64],
    batch_tokens: int | None,
    multiplier: Multiplier | None = None,
    unperturbed: Encoded | None = None,
    after_norm: bool = False,
) -> NDArray[np.float64]:
    """Probability of class `targets[i]` for row i: `[rows]`, softmax in float64.

    A batch has `batch_tokens` padded sub-tokens; None: what fits the device.

    `multiplier` keeps entries of the word vectors or, with `after_norm`, of what enters the first layer: word, position
    and type vectors, added up and normalised. `unperturbed` are the same rows before tokens of theirs were replaced: a
    head that looks for the place it reads in the token ids (decoders: the last that is not PAD; T5: the last end token)
    looks there, so that a PAD in place of a word does not move it. ModelError if a logit is not finite, or where a model
    has no such sum.
    """
    embedding = loaded.family.word_embedding(loaded.model)
    normalised = embedding_output(loaded) if after_norm else None
    found = np.zeros(len(inputs))

    def compute(rows: NDArray[np.int64], length: int) -> None:
        batch = collate(loaded, inputs if unperturbed is None else unperturbed, rows, length)
        shown = batch.input_ids
        if unperturbed is not None:
            ids = inputs.input_ids[within(inputs.bounds[rows], inputs.lengths[rows])]
            shown = torch.where(batch.attention_mask.bool(), at_tokens(loaded, batch, ids, np.int64), shown)
        vectors = embedding(shown)
        scaled: AbstractContextManager[None] = nullcontext()
        if multiplier is not None:
            factors = multiplier(rows, batch).to(vectors.dtype)
            if normalised is None:
                vectors = vectors * factors
            else:
                scaled = output_scaled(normalised, factors)
        target = to_device(targets[rows], loaded.device)
        with scaled:
            logits = _logits(loaded, batch, embedding, shown, vectors)
        chosen = logits.double().softmax(-1).gather(1, target[:, None])[:, 0]
        found[rows], finite = to_host(chosen, torch.isfinite(logits).all())
        if not finite:
            raise ModelError(f"Model `{loaded.key}`: logits of a perturbed input are not finite.")

    with torch.inference_mode(), loaded.family.pooled_only(loaded.model):
        tokens = batch_tokens_for(loaded, BATCH_TOKENS, batch_tokens)
        deque(each_batch(loaded, inputs.lengths, compute, tokens), maxlen=0)
    return found


def at_tokens(loaded: LoadedModel, batch: Batch, values: NDArray[Any], dtype: type) -> Tensor:
    """The values of the tokens of all rows, `[tokens]`, where the batch has them; zeros at padding: `[rows, length]`."""
    padded: NDArray[Any] = np.zeros(batch.real.shape, dtype=dtype)
    padded[batch.real] = values
    return to_device(padded, loaded.device)


def _logits(
    loaded: LoadedModel, batch: Batch, embedding: nn.Module, shown: Tensor, vectors: Tensor
) -> Tensor:
    """Logits of a batch with the given word vectors, of the ids `shown`; the head looks for its place in the batch's.

    A decoder beside an encoder reads the text that is shown too.
    """
    inputs = replace(batch, input_ids=shown).inputs(loaded) | {"input_ids": batch.input_ids}
    handle = embedding.register_forward_hook(lambda *_: vectors)
    try:
        logits: Tensor = loaded.model(**inputs).logits
    finally:
        handle.remove()
    return logits


def embedding_output(loaded: LoadedModel) -> nn.Module:
    """What leaves the normalised sum of word, position and type vectors; ModelError where a model has no such sum."""
    module = loaded.family.embedding_output(loaded.model)
    if module is None:
        raise ModelError(
            f"Model `{loaded.key}` ({loaded.config.model_type}) does not normalise a sum of word, position and type "
            "vectors, which the soft masks `bernoulli_reversed` are multiplied into. Leave it out of "
            "`faithfulness.soft_masking`, or this model out of the study; `bernoulli` works for every model."
        )
    return module
