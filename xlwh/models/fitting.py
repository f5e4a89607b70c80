"""Batches that fill the device and fit it: planned by its free memory, and halved where one does not fit after all.

On a CPU batches are as small as its caches like them. On a GPU they are as large as its free memory allows, by what a
sub-token of the model was measured to take. No number depends on how work is cut.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from xlwh.errors import ModelError
from xlwh.models.batches import BATCH_ROWS, plan, to_device

if TYPE_CHECKING:
    import torch

    from xlwh.models.loaded import LoadedModel

T = TypeVar("T")
Rows = NDArray[np.int64]

GPU_ROWS = 8192
"""Rows of a batch at most on a GPU: the sub-tokens are what bounds it."""
GPU_PARTS = 4
"""Padded lengths between a length and its double on a GPU, where a batch of few rows costs as much as a full one."""
SHARE = 0.7
"""Of the free memory that a batch is planned to take: the allocator leaves gaps."""
LEAST = 1024
"""Sub-tokens of a batch at least, however little memory is free: what does not fit is halved."""
PROBE = 128
"""Sub-tokens of the input that a model's need of memory is measured with."""

_measured: WeakKeyDictionary[Any, dict[bool, float]] = WeakKeyDictionary()


def batch_tokens_for(
    loaded: LoadedModel, on_cpu: int, asked: int | None = None, gradients: bool = False
) -> int:
    """Padded sub-tokens of a batch: `asked`, or by default `on_cpu` on a CPU and on a GPU what its free memory takes.

    `gradients`: whether passes keep what a backward pass needs.
    """
    if asked is not None:
        return asked
    if loaded.device.type != "cuda":
        return on_cpu
    import torch

    try:
        need = bytes_per_token(loaded, gradients)
    except torch.OutOfMemoryError:
        # Something else has nearly all of it: as little as can be is tried at a time.
        return LEAST
    return max(LEAST, int(SHARE * free_bytes(loaded.device) / need))


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that can still be had: the free, and what torch keeps for later."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def bytes_per_token(loaded: LoadedModel, gradients: bool) -> float:
    """Memory that a pass takes for each padded sub-token at most, measured once for each model with one input."""
    import torch

    known = _measured.setdefault(loaded.model, {})
    if gradients not in known:
        length, device = min(PROBE, loaded.max_length), loaded.device
        ids = np.full((1, length), loaded.tokenizer.pad_token_id, dtype=np.int64)
        end = loaded.tokenizer.eos_token_id  # T5's classifier reads its decoder there
        ids[0, -1] = end if isinstance(end, int) else ids[0, -1]
        shown, mask = to_device(ids, device), to_device(np.ones_like(ids), device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        with torch.set_grad_enabled(gradients):
            vectors = loaded.family.word_embedding(loaded.model)(shown).detach().requires_grad_(gradients)
            _pass(loaded, loaded.family.model_inputs(loaded.model, shown, mask), vectors)
        known[gradients] = max(1.0, (torch.cuda.max_memory_allocated(device) - before) / length)
    return known[gradients]


def _pass(loaded: LoadedModel, inputs: dict[str, Any], vectors: torch.Tensor) -> None:
    import torch

    from xlwh.models.outputs import output_replaced

    with output_replaced(loaded.family.word_embedding(loaded.model), vectors):
        output = loaded.model(**inputs)
    if vectors.requires_grad:
        torch.autograd.grad(output[0].float().sum(), vectors)


def each_batch(
    loaded: LoadedModel,
    lengths: Sequence[int] | NDArray[np.int64],
    compute: Callable[[Rows, int], T],
    batch_tokens: int,
    batch_rows: int | None = None,
) -> Iterator[tuple[Rows, T]]:
    """(rows, what `compute(rows, padded length)` returned) for batches of all rows, longest first; see `fitted`.

    A batch has at most `batch_tokens` padded sub-tokens, and `batch_rows` rows (None: by the device).
    """
    on_gpu = loaded.device.type == "cuda"
    rows = batch_rows or (GPU_ROWS if on_gpu else BATCH_ROWS)
    return fitted(loaded, plan(lengths, loaded.max_length, batch_tokens, rows, **_parts(loaded)), compute)


def by_padded_length(
    loaded: LoadedModel, lengths: Sequence[int] | NDArray[np.int64]
) -> list[tuple[Rows, int]]:
    """(rows, padded length) of all rows, those of one padded length together, as `each_batch` has them."""
    return plan(lengths, loaded.max_length, sys.maxsize, max(1, len(lengths)), **_parts(loaded))


def _parts(loaded: LoadedModel) -> dict[str, int]:
    return {"parts": GPU_PARTS} if loaded.device.type == "cuda" else {}


def fitted(
    loaded: LoadedModel, batches: Iterable[tuple[Rows, int]], compute: Callable[[Rows, int], T]
) -> Iterator[tuple[Rows, T]]:
    """(rows, what `compute(rows, padded length)` returned) for every batch, or for its halves where memory ran out.

    After that no batch is larger than the half that fitted. ModelError where a single row does not fit.
    """
    import torch

    waiting, most = deque(batches), float("inf")
    while waiting:
        rows, length = waiting.popleft()
        if len(rows) > 1 and len(rows) * length > most:
            waiting.extendleft((half, length) for half in reversed(np.array_split(rows, 2)))
            continue
        try:
            made = compute(rows, length)
        except torch.OutOfMemoryError as error:
            # Its traceback holds the batch's tensors: it must be gone before anything else is tried.
            reason = str(error).partition("\n")[0]
        else:
            yield rows, made
            continue
        if loaded.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(rows) == 1:
            raise ModelError(
                f"Model `{loaded.key}`: a single input of {length} sub-tokens does not fit in the memory of "
                f"{loaded.device} ({reason}). Set a lower `max_length` under `[models.{loaded.key}]`, or stop what "
                "else uses the device."
            )
        most = len(rows) * length / 2
        waiting.appendleft((rows, length))
