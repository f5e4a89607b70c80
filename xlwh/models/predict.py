"""Logits of tokenized examples: one row per example, or one per sub-token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xlwh.errors import ModelError
from xlwh.models.batches import BATCH_TOKENS, collate, to_host
from xlwh.models.fitting import batch_tokens_for, each_batch

if TYPE_CHECKING:
    from xlwh.models.loaded import LoadedModel
    from xlwh.models.tokenize import Encoded

CPU_BATCH_TOKENS = 1024
"""Padded sub-tokens per batch of a classifier on a CPU: what a layer works on stays in the cache."""


def predict(
    loaded: LoadedModel,
    encoded: Encoded,
    batch_tokens: int | None = None,
    batch_rows: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Class logits `[examples, labels]` in the order of the examples, float32 whatever the model computes in.

    `batch_tokens` is by default CPU_BATCH_TOKENS on a CPU, else what fits the device; `batch_rows` is by the device.
    What the head does not read of the last layer is not computed.

    `progress` is called with (examples done, examples). ModelError if the model has no sequence classification
    head, or if a logit is not finite (half precision can overflow).
    """
    import torch

    if loaded.labels is None or loaded.task != "sequence_classification":
        raise ModelError(f"Model `{loaded.key}` has no sequence classification head.")
    logits = np.zeros((len(encoded), len(loaded.labels)), dtype=np.float32)
    done = 0

    def compute(rows: NDArray[np.int64], length: int) -> None:
        batch = collate(loaded, encoded, rows, length)
        (logits[rows],) = to_host(loaded.model(**batch.inputs(loaded)).logits.float())

    with torch.inference_mode(), loaded.family.pooled_only(loaded.model):
        tokens = batch_tokens_for(loaded, CPU_BATCH_TOKENS, batch_tokens)
        for rows, _ in each_batch(loaded, encoded.lengths, compute, tokens, batch_rows):
            done += len(rows)
            if progress is not None:
                progress(done, len(encoded))
    _require_finite(loaded, encoded, np.asarray(np.isfinite(logits).all(axis=1)))
    return logits


def predict_tokens(
    loaded: LoadedModel,
    encoded: Encoded,
    outputs: Sequence[str] = ("logits",),
    batch_tokens: int | None = None,
    batch_rows: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], ...]:
    """Outputs per sub-token, `[tokens]` or `[tokens, labels]` each, in the order of `encoded.input_ids`.

    `outputs` names attributes of the model's output: `logits` of a tagger, `start_logits` and `end_logits` of a model
    that answers questions. float32 whatever the model computes in. ModelError as in `predict`.
    """
    import torch

    found: list[NDArray[np.float32] | None] = [None] * len(outputs)
    done = 0

    def compute(rows: NDArray[np.int64], length: int) -> None:
        batch = collate(loaded, encoded, rows, length)
        output = loaded.model(**batch.inputs(loaded))
        places = np.concatenate([np.arange(s.start, s.stop) for s in map(encoded.row, rows.tolist())])
        for index, padded in enumerate(to_host(*(getattr(output, name).float() for name in outputs))):
            values = padded[batch.real]
            whole = found[index]
            if whole is None:
                whole = np.zeros((len(encoded.input_ids), *values.shape[1:]), dtype=np.float32)
                found[index] = whole
            whole[places] = values

    with torch.inference_mode():
        tokens = batch_tokens_for(loaded, BATCH_TOKENS, batch_tokens)
        for rows, _ in each_batch(loaded, encoded.lengths, compute, tokens, batch_rows):
            done += len(rows)
            if progress is not None:
                progress(done, len(encoded))
    width = () if loaded.labels is None else (len(loaded.labels),)
    arrays = tuple(np.zeros((0, *width), np.float32) if whole is None else whole for whole in found)
    for whole in arrays:
        finite = np.asarray(np.isfinite(whole).reshape(len(whole), -1).all(axis=1))
        if not finite.all():
            good = [bool(finite[encoded.row(i)].all()) for i in range(len(encoded))]
            _require_finite(loaded, encoded, np.array(good))
    return arrays


def _require_finite(loaded: LoadedModel, encoded: Encoded, finite: NDArray[np.bool_]) -> None:
    bad = np.flatnonzero(~finite)
    if len(bad):
        example = encoded.keys["example_id"][int(bad[0])]
        raise ModelError(
            f"Model `{loaded.key}`: logits of {len(bad)} examples are not finite, the first is `{example}` "
            f"(computed in {loaded.model.dtype}; float32 or bfloat16 may help)."
        )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities `[examples, labels]`, computed in float64."""
    shifted: NDArray[np.float64] = np.exp(
        logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf)
    )
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32)
