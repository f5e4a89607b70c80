"""Batches of tokenized examples: sorted by length, padded to a few sizes, bounded in sub-tokens.

Few sizes because memory allocators and convolution caches on CPU thrash on ever new shapes; the bound on
sub-tokens per batch is the bound on memory, whatever the corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from xlwh.models.loaded import LoadedModel
    from xlwh.models.tokenize import Encoded

BATCH_TOKENS = 4096
"""Padded sub-tokens per batch. Larger ones are no faster on CPU."""
BATCH_ROWS = 64
"""Rows per batch at most."""


@dataclass(frozen=True)
class Batch:
    """A padded batch on the model's device."""

    rows: NDArray[np.int64]
    """Index of each row's example."""
    input_ids: Tensor
    """`[rows, length]`"""
    attention_mask: Tensor
    """`[rows, length]`, 1 at tokens, 0 at padding."""
    token_type_ids: Tensor | None
    """`[rows, length]`, or None where the tokenizer makes none."""
    special: Tensor
    """`[rows, length]`, True at tokens that the tokenizer added; False at padding."""
    real: NDArray[np.bool_]
    """`[rows, length]`, True at tokens, on the host: what is known here is not to be asked of the device."""
    forced: tuple[Tensor, Tensor] | None = None
    """Ids and mask `[rows, output length]` of the output texts that are forced on the decoder, padded on the right."""

    def inputs(self, loaded: LoadedModel) -> dict[str, Tensor]:
        """Keyword arguments of the model's forward pass."""
        inputs = loaded.family.model_inputs(
            loaded.model, self.input_ids, self.attention_mask, self.token_type_ids
        )
        if self.forced is None:
            return inputs
        return loaded.family.teacher_forced(loaded.model, inputs, *self.forced)


def padded_length(length: int, limit: int, parts: int = 8) -> int:
    """Smallest bucket that holds `length`: multiples of 8 up to 8 `parts`, then steps of 1 / `parts` to twice that."""
    step = 8
    while step * parts < length:
        step *= 2
    return min(-(-length // step) * step, max(limit, length))


def plan(
    lengths: Sequence[int] | NDArray[np.int64],
    limit: int,
    batch_tokens: int = BATCH_TOKENS,
    batch_rows: int = BATCH_ROWS,
    parts: int = 8,
) -> list[tuple[NDArray[np.int64], int]]:
    """Batches as (examples, padded length), longest first, so that the largest memory need shows at once.

    Every example is in exactly one batch; a batch has at most `batch_rows` rows and `batch_tokens` padded
    sub-tokens, but always at least one row. `parts`: see `padded_length`.
    """
    values = np.asarray(lengths, dtype=np.int64)
    sizes, which = np.unique(values, return_inverse=True)
    padded = np.array([padded_length(size, limit, parts) for size in sizes.tolist()], dtype=np.int64)[which]
    batches = []
    for size in np.unique(padded)[::-1].tolist():
        members = np.flatnonzero(padded == size)
        rows = max(1, min(batch_rows, batch_tokens // size))
        batches += [(members[start : start + rows], size) for start in range(0, len(members), rows)]
    return batches


def to_device(values: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on a device; on its way to a GPU nobody waits for what the GPU still computes."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def to_host(*tensors: Tensor) -> tuple[NDArray[Any], ...]:
    """Tensors of one device as arrays, in their own number format; from a GPU they are waited for once, all together."""
    import torch

    device = tensors[0].device
    if device.type != "cuda":
        return tuple(tensor.detach().cpu().numpy() for tensor in tensors)
    # Into pinned memory; they may be read once the stream has come by.
    copies = [tensor.detach().to("cpu", non_blocking=True) for tensor in tensors]
    torch.cuda.current_stream(device).synchronize()
    return tuple(copy.numpy() for copy in copies)


def collate(
    loaded: LoadedModel,
    encoded: Encoded,
    rows: NDArray[np.int64],
    length: int,
    side: Literal["left", "right"] | None = None,
) -> Batch:
    """The chosen examples padded to `length` on one side (None: the family's), on the model's device.

    The heads of decoders take the rightmost token that is not PAD, and the first column where there is none: an
    example of PADs alone (an empty text whose closing token is PAD too) is padded on the right, so that the first
    column is its own.
    """
    pad = loaded.tokenizer.pad_token_id
    left = (side or loaded.family.padding_side) == "left"
    sizes = encoded.lengths[rows]
    owner = np.repeat(np.arange(len(rows)), sizes)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    source = np.repeat(encoded.bounds[rows], sizes) + within
    tokens, column = encoded.input_ids[source], within
    if left:
        moved = length - sizes
        if loaded.task == "sequence_classification":
            moved[np.bincount(owner[tokens != pad], minlength=len(rows)) == 0] = 0
        column = within + moved[owner]

    def padded(values: NDArray[Any], padding: int, dtype: type) -> NDArray[Any]:
        whole: NDArray[Any] = np.full((len(rows), length), padding, dtype=dtype)
        whole[owner, column] = values
        return whole

    device, types = loaded.device, encoded.token_type_ids
    real = padded(np.ones(len(owner), dtype=np.bool_), 0, np.bool_)
    return Batch(
        rows=rows,
        input_ids=to_device(padded(tokens, pad, np.int64), device),
        attention_mask=to_device(real.astype(np.int64), device),
        token_type_ids=None if types is None else to_device(padded(types[source], 0, np.int64), device),
        special=to_device(padded(encoded.special[source], 0, np.bool_), device),
        real=real,
        forced=None if encoded.forced is None else _forced(loaded, [encoded.forced[row] for row in rows]),
    )


def _forced(loaded: LoadedModel, texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Output texts padded on the right, and their mask, on the model's device."""
    longest = padded_length(max(map(len, texts)), loaded.max_length)
    ids = np.full((len(texts), longest), loaded.tokenizer.pad_token_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return to_device(ids, loaded.device), to_device(mask, loaded.device)
