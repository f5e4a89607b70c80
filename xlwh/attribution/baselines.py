"""Where paths begin: a baseline that the model has a gradient at.

A normalisation divides by the length of its input, so at an input of length zero the model is no smooth function: along
a path from there integrated gradients explode and never add up. Whether a baseline is such a point depends on the model:
BERT adds positions before it normalises, so that zero word vectors are an input like any other; T5, Llama and Qwen
normalise the word vectors themselves. It is asked of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from xlwh.errors import ModelError
from xlwh.models.batches import to_device, to_host
from xlwh.models.masking import mask_token_id, pad_token_id
from xlwh.models.outputs import output_replaced

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xlwh.models.loaded import LoadedModel

Baseline = Literal["pad", "mask", "zero", "mean"]
"""What stands in the place of all tokens but the special ones; mean: the mean of all word vectors."""

PREFERRED: tuple[Baseline, ...] = ("zero", "mask", "pad", "mean")
"""Baselines in the order in which the default is sought."""

SINGULAR = 0.01
"""A baseline is singular where what a normalisation gets is shorter than this share of what it gets of a text."""

ROWS = 1 << 14
"""Word vectors that are added up at once."""

PROBE = 16
"""Tokens, taken evenly from the vocabulary, that a model is asked with."""


PREFERRED_BY_LIG: tuple[Baseline, ...] = ("pad", "mask", "mean")
"""The same for `lig`, which starts from PAD wherever it can."""


def first_regular(loaded: LoadedModel, preferred: Sequence[Baseline]) -> Baseline:
    """The first of some baselines that is not singular for the model; ModelError where all are."""
    for kind in preferred:
        if available(loaded, kind) == kind and length_at(loaded, kind) >= SINGULAR:
            return kind
    raise ModelError(
        f"Model `{loaded.key}`: there is no baseline for integrated gradients: at each of "
        f"{', '.join(preferred)} word vectors, a normalisation gets an input of length zero. Leave `lig` out "
        "(`lig = false` under `[attribution.methods]`) and the other methods that integrate."
    )


def baseline_of(loaded: LoadedModel, asked: Baseline | Literal["default"]) -> Baseline:
    """The baseline to use: `asked`, or the first of PREFERRED that is not singular for the model.

    A tokenizer without a mask token has `pad` in its place. ModelError where what is asked for is singular.
    """
    if asked == "default":
        return first_regular(loaded, PREFERRED)
    used = available(loaded, asked)
    if length_at(loaded, used) < SINGULAR:
        good = [kind for kind in PREFERRED if available(loaded, kind) == kind and kind != used]
        good = [kind for kind in good if length_at(loaded, kind) >= SINGULAR]
        raise ModelError(
            f"Model `{loaded.key}`: a path from `{used}` word vectors is singular: {type(loaded.model).__name__} "
            "normalises them, and they have no length, so integrated gradients explode there. Not singular: "
            f"{', '.join(good) or 'none'}. Name one of these as the method's `baseline`, or leave `baseline` out: the "
            "default is the first of them."
        )
    return used


def available(loaded: LoadedModel, kind: Baseline) -> Baseline:
    """The baseline, but `pad` for the mask of a tokenizer that has no mask token."""
    return "pad" if kind == "mask" and not isinstance(loaded.tokenizer.mask_token_id, int) else kind


def length_at(loaded: LoadedModel, kind: Baseline) -> float:
    """How long a normalisation's shortest input is at a baseline, as a share of its length at a text of random tokens.

    0 where one gets nothing at all; of a LayerNorm, the length is that of the input's deviation from its mean.
    """
    embedding = loaded.family.word_embedding(loaded.model)
    ids, plain = _probe(loaded)
    vectors = embedding(ids).detach()
    replaced = to_device(plain, loaded.device)[None, :, None]
    point = torch.where(replaced, stand_in(loaded, kind).to(vectors), vectors)
    with torch.no_grad():
        there, here = (_norm_inputs(loaded, ids, x) for x in (point, vectors))
    shares = [1.0]
    names = [name for name, lengths in here.items() if lengths.shape == plain.shape]
    found = to_host(*(lengths[name] for name in names for lengths in (here, there))) if names else ()
    for lengths, moved in zip(found[::2], found[1::2], strict=True):
        # A decoder's start may have no length whatever the text is.
        counted = plain & (lengths >= SINGULAR * lengths.mean())
        shares += (moved[counted] / lengths.mean()).tolist()
    return min(shares)


def stand_in(loaded: LoadedModel, kind: Baseline) -> Tensor:
    """The word vector of a baseline: `[width]`."""
    weight = loaded.family.word_embedding(loaded.model).weight.detach()
    if kind == "zero":
        return torch.zeros_like(weight[0])
    embedding = loaded.family.word_embedding(loaded.model)
    with torch.no_grad():
        # Through the module: some scale their rows.
        if kind == "mean":
            total = torch.zeros_like(weight[0], dtype=torch.float64)
            for start in range(0, len(weight), ROWS):
                rows = torch.arange(start, min(start + ROWS, len(weight)), device=weight.device)
                total += embedding(rows).double().sum(0)
            return (total / len(weight)).to(weight.dtype)
        token = mask_token_id(loaded) if kind == "mask" else pad_token_id(loaded)
        found: Tensor = embedding(to_device(np.array([token]), weight.device))[0]
    return found


def _probe(loaded: LoadedModel) -> tuple[Tensor, NDArray[np.bool_]]:
    """Token ids of a text of its own, the same for every corpus: `[1, length]`; and which are no special ones: `[length]`."""
    special = set(loaded.tokenizer.all_special_ids) | loaded.family.special_ids(loaded.tokenizer)
    rows = loaded.family.word_embedding(loaded.model).weight.shape[0]
    known = [index for index in sorted(set(loaded.tokenizer.get_vocab().values())) if index not in special]
    count = min(PROBE, len(known), loaded.max_length - 1)
    ids = [known[place * len(known) // count] for place in range(count)]
    end = loaded.tokenizer.eos_token_id  # T5's classifier reads its decoder there
    ids = [index for index in ids if index < rows] + ([end] if isinstance(end, int) else [])
    plain = np.array([index not in special for index in ids], dtype=np.bool_)
    return to_device(np.array([ids], dtype=np.int64), loaded.device), plain


def _norm_inputs(loaded: LoadedModel, ids: Tensor, vectors: Tensor) -> dict[str, Tensor]:
    """Length of each position's input of each normalisation, by name: `[length]`."""
    found: dict[str, Tensor] = {}
    with _observed(loaded.model, found), output_replaced(loaded.family.word_embedding(loaded.model), vectors):
        loaded.model(**loaded.family.model_inputs(loaded.model, ids, torch.ones_like(ids)))
    return found


@contextmanager
def _observed(model: nn.Module, found: dict[str, Tensor]) -> Iterator[None]:
    handles = []
    for name, module in model.named_modules():
        if "norm" in type(module).__name__.lower():

            def note(module: nn.Module, inputs: Any, name: str = name) -> None:
                if not inputs or inputs[0].dim() != 3 or len(inputs[0]) != 1:
                    return
                hidden = inputs[0].float()
                if isinstance(module, torch.nn.LayerNorm):
                    hidden = hidden - hidden.mean(-1, keepdim=True)
                found.setdefault(name, hidden[0].square().mean(-1).sqrt())

            handles.append(module.register_forward_pre_hook(note))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
