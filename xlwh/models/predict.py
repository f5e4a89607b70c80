"""Logits of tokenized examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from xlwh.errors import ModelError
from xlwh.models.batches import BATCH_ROWS, BATCH_TOKENS, collate, plan

if TYPE_CHECKING:
    from xlwh.models.tokenize import Encoded
    from xlwh.models.zoo import LoadedModel


def predict(
    loaded: LoadedModel,
    encoded: Encoded,
    batch_tokens: int = BATCH_TOKENS,
    batch_rows: int = BATCH_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Class logits `[examples, labels]` in the order of the examples, float32 whatever the model computes in.

    `progress` is called with (examples done, examples). ModelError if the model has no sequence classification
    head, or if a logit is not finite (half precision can overflow).
    """
    if loaded.labels is None or loaded.task != "sequence_classification":
        raise ModelError(f"Model `{loaded.key}` has no sequence classification head.")
    logits = np.zeros((len(encoded), len(loaded.labels)), dtype=np.float32)
    done = 0
    with torch.inference_mode():
        for rows, length in plan(encoded.lengths, loaded.max_length, batch_tokens, batch_rows):
            batch = collate(loaded, encoded, rows, length)
            logits[rows] = loaded.model(**batch.inputs(loaded)).logits.float().cpu().numpy()
            done += len(rows)
            if progress is not None:
                progress(done, len(encoded))
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad):
        example = encoded.keys["example_id"][int(bad[0])]
        raise ModelError(
            f"Model `{loaded.key}`: logits of {len(bad)} examples are not finite, the first is `{example}` "
            f"(computed in {loaded.model.dtype}; float32 or bfloat16 may help)."
        )
    return logits


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities `[examples, labels]`, computed in float64."""
    shifted: NDArray[np.float64] = np.exp(
        logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf)
    )
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32)
