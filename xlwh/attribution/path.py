"""The model along the straight path from a baseline to the input, many examples and positions at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from xlwh.attribution.base import Item
from xlwh.attribution.baselines import Baseline, stand_in
from xlwh.attribution.vectors import by_output, explained
from xlwh.errors import ModelError
from xlwh.models.batches import collate, to_device, to_host
from xlwh.models.fitting import each_batch
from xlwh.models.loaded import LoadedModel
from xlwh.models.outputs import output_replaced
from xlwh.models.tokenize import Encoded

Value = tuple[float, NDArray[np.float32]]
"""F at a point of the path, and the token densities [num_tokens] there: they sum to dF/d(position)."""


class PathModel:
    """Evaluates F and the token densities at points of the paths of `items`.

    The path runs at the word-embedding module's output from the baseline (special tokens kept; PAD, the mask
    token, zeros or the mean vector elsewhere) to the input; attention mask, position ids and token types are those of
    the real input throughout, because RoBERTa and XLM-R would derive shifted positions from the PADs of the baseline.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        encoded: Encoded,
        items: Sequence[Item],
        batch_tokens: int,
        baseline: Baseline = "pad",
    ) -> None:
        self._loaded = loaded
        self._encoded = encoded
        self._items = items
        self._batch_tokens = batch_tokens
        self._embedding = loaded.family.word_embedding(loaded.model)
        # Once: the mean is over the whole vocabulary.
        self._stand_in = stand_in(loaded, baseline)

    def evaluate(self, points: Sequence[tuple[int, float]]) -> list[Value]:
        """F and densities for every (item, position in [0, 1]), in the order given."""
        examples = np.array([self._items[item].example for item, _ in points], dtype=np.int64)
        lengths = self._encoded.lengths[examples]
        values: dict[int, Value] = {}
        for members in by_output([self._items[item] for item, _ in points]):

            def compute(
                places: NDArray[np.int64], length: int, members: NDArray[np.int64] = members
            ) -> list[Value]:
                chosen = members[places]
                return self._batch([points[k] for k in chosen.tolist()], examples[chosen], length)

            for places, batch in each_batch(self._loaded, lengths[members], compute, self._batch_tokens):
                values.update(zip(members[places].tolist(), batch, strict=True))
        return [values[k] for k in range(len(points))]

    def _batch(
        self, points: Sequence[tuple[int, float]], examples: NDArray[np.int64], length: int
    ) -> list[Value]:
        loaded = self._loaded
        batch = collate(loaded, self._encoded, examples, length)
        position = to_device(np.array([position for _, position in points], dtype=np.float32), loaded.device)
        with torch.no_grad():
            vectors = self._embedding(batch.input_ids)
            source = torch.where(batch.special[..., None], vectors, self._stand_in.to(vectors))
            step = vectors - source
            point = source + position[:, None, None].to(source.dtype) * step
        point.requires_grad_(True)
        with (
            torch.enable_grad(),
            loaded.family.pooled_only(loaded.model),
            output_replaced(self._embedding, point),
        ):
            output = loaded.model(**batch.inputs(loaded))
            f = explained(loaded, batch, output, [self._items[item] for item, _ in points])
            (gradient,) = torch.autograd.grad(f.sum(), point)
        density, values = to_host((gradient.float() * step.float()).sum(-1), f.double())
        if not (np.isfinite(values).all() and np.isfinite(density).all()):
            raise ModelError(f"Model `{loaded.key}` gives values that are not finite along the path.")
        return [
            (value, row[mask]) for value, row, mask in zip(values.tolist(), density, batch.real, strict=True)
        ]
