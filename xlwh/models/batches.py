"""Batches of tokenized examples: sorted by length, padded to a few sizes, bounded in sub-tokens.

Few sizes because memory allocators and convolution caches on CPU thrash on ever new shapes; the bound on
sub-tokens per batch is the bound on memory, whatever the corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

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


def padded_length(length: int, limit: int) -> int:
    """Smallest bucket that holds `length`: multiples of 8 up to 64, then steps of an eighth to a quarter."""
    step = 8
    while step * 8 < length:
        step *= 2
    return min(-(-length // step) * step, max(limit, length))


def plan(
    lengths: Sequence[int] | NDArray[np.int64],
    limit: int,
    batch_tokens: int = BATCH_TOKENS,
    batch_rows: int = BATCH_ROWS,
) -> list[tuple[NDArray[np.int64], int]]:
    """Batches as (examples, padded length), longest first, so that the largest memory need shows at once.

    Every example is in exactly one batch; a batch has at most `batch_rows` rows and `batch_tokens` padded
    sub-tokens, but always at least one row.
    """
    values = np.asarray(lengths, dtype=np.int64)
    padded = np.array([padded_length(int(value), limit) for value in values], dtype=np.int64)
    batches = []
    for size in np.unique(padded)[::-1].tolist():
        members = np.flatnonzero(padded == size)
        rows = max(1, min(batch_rows, batch_tokens // size))
        batches += [(members[start : start + rows], size) for start in range(0, len(members), rows)]
    return batches


def to_device(values: NDArray[np.int64] | NDArray[np.bool_], device: torch.device) -> Tensor:
    """An array as a tensor on a device; on its way to a GPU nobody waits for what the GPU still computes."""
    import torch

    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


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
    pooled = left and loaded.task == "sequence_classification"
    shape = (len(rows), length)
    ids = np.full(shape, pad, dtype=np.int64)
    mask, types = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    special = np.zeros(shape, dtype=bool)
    for place, index in enumerate(rows.tolist()):
        source = encoded.row(index)
        size = source.stop - source.start
        own_left = left and not (pooled and bool((encoded.input_ids[source] == pad).all()))
        target = slice(length - size, length) if own_left else slice(0, size)
        ids[place, target] = encoded.input_ids[source]
        mask[place, target] = 1
        special[place, target] = encoded.special[source]
        if encoded.token_type_ids is not None:
            types[place, target] = encoded.token_type_ids[source]

    device = loaded.device
    return Batch(
        rows=rows,
        input_ids=to_device(ids, device),
        attention_mask=to_device(mask, device),
        token_type_ids=None if encoded.token_type_ids is None else to_device(types, device),
        special=to_device(special, device),
        forced=None if encoded.forced is None else _forced(loaded, [encoded.forced[row] for row in rows]),
    )


def _forced(loaded: LoadedModel, texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Output texts padded on the right, and their mask, on the model's device."""
    import torch

    longest = padded_length(max(map(len, texts)), loaded.max_length)
    pad = loaded.tokenizer.pad_token_id
    ids = torch.tensor([[*text, *[pad] * (longest - len(text))] for text in texts], device=loaded.device)
    columns = torch.arange(longest, device=loaded.device)
    lengths = torch.tensor([len(text) for text in texts], device=loaded.device)
    return ids, (columns < lengths[:, None]).long()
