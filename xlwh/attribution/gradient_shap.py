"""Mean gradient at random points between baselines and the noisy input (`gradient_shap`), at the word vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.baselines import SINGULAR, Baseline, available, baseline_of, length_at, stand_in
from xlwh.attribution.vectors import (
    Points,
    at_once,
    explained,
    in_batches,
    unpadded,
    without,
    word_vectors,
)
from xlwh.draws import key_of, keys_from, stream, torch_normal
from xlwh.models.batches import Batch, padded_length, to_device, to_host
from xlwh.models.loaded import LoadedModel
from xlwh.models.masking import pad_token_id
from xlwh.models.outputs import output_replaced
from xlwh.models.tokenize import Encoded

if TYPE_CHECKING:
    from xlwh.study import GradientShap


def gradient_shap(
    loaded: LoadedModel, encoded: Encoded, items: Sequence[Item], parameters: GradientShap, batch_tokens: int
) -> Iterator[tuple[int, Attribution]]:
    """Mean over samples of (x - b) times the gradient of F at b + a (x - b) (Lundberg and Lee 2017).

    x is the input with normal noise, b a baseline, a uniform in [0, 1): on the same draws it is captum's GradientShap.
    The baselines are the PAD and the mask vectors, drawn at random, as far as they are not singular; where both are, the
    model's default baseline. `details` names them. Draws are seeded by the example and made on the device: neither the
    order nor the batch changes one.
    """
    asked: tuple[Baseline, ...] = ("pad", "mask")
    kinds = [
        kind for kind in asked if available(loaded, kind) == kind and length_at(loaded, kind) >= SINGULAR
    ]
    kinds = kinds or [baseline_of(loaded, "default")]
    stand_ins = torch.stack([stand_in(loaded, kind) for kind in kinds])
    order = sorted(range(len(items)), key=lambda index: int(encoded.lengths[items[index].example]))
    some = at_once(loaded, items)
    for start in range(0, len(order), some):
        chosen = order[start : start + some]
        mine = [items[index] for index in chosen]
        whole = Points.of(np.arange(len(mine)), [np.zeros(0, dtype=np.int64)] * len(mine))
        f = without(loaded, encoded, mine, whole, pad_token_id(loaded), batch_tokens)
        means = _means(loaded, encoded, mine, stand_ins, parameters, batch_tokens)
        for index, values, f_input in zip(chosen, means, f.tolist(), strict=True):
            yield (
                index,
                Attribution(
                    values,
                    f_input,
                    num_gradient_rows=parameters.samples,
                    num_forward_rows=1,
                    details={"baselines": kinds},
                ),
            )


def _means(
    loaded: LoadedModel,
    encoded: Encoded,
    items: Sequence[Item],
    stand_ins: Tensor,
    parameters: GradientShap,
    batch_tokens: int,
) -> list[NDArray[np.float64]]:
    """Of each item the mean over its samples, all of them in one plan: `[tokens]`."""
    samples = parameters.samples
    draws = _Draws(loaded, encoded, items, len(stand_ins), parameters)
    rows = [item for item in items for _ in range(samples)]
    found: list[NDArray[np.float64]] = [np.zeros(0)] * len(rows)
    embedding = loaded.family.word_embedding(loaded.model)

    def compute(chosen: list[int], batch: Batch) -> Iterator[None]:
        mine = [rows[row] for row in chosen]
        at = np.array(chosen, dtype=np.int64)
        vectors = word_vectors(loaded, batch)
        baseline = stand_ins[to_device(draws.baseline[at], loaded.device)].to(vectors)
        source = torch.where(batch.special[..., None], vectors, baseline[:, None])
        step = vectors - source
        if parameters.noise:
            step += parameters.noise * draws.noise(at, batch, vectors.shape[2])
        position = to_device(draws.position[at], loaded.device).to(vectors)
        point = (source + position[:, None, None] * step).requires_grad_(True)
        with torch.enable_grad(), output_replaced(embedding, point):
            explains = explained(loaded, batch, loaded.model(**batch.inputs(loaded)), mine)
            (gradient,) = torch.autograd.grad(explains.sum(), point)
        (values,) = to_host((gradient * step).float().sum(-1))
        for row, each in zip(chosen, unpadded(loaded, batch, values), strict=True):
            found[row] = each
        yield

    for _ in in_batches(loaded, encoded, rows, batch_tokens, compute):
        pass
    # Summed in the order of the samples, whatever batches they were in.
    return [
        np.mean(found[place * samples : (place + 1) * samples], axis=0, dtype=np.float64)
        for place in range(len(items))
    ]


class _Draws:
    """Of every sample of every item: the number of a baseline, the place on the path, and the noise.

    Streams are the examples': the numbers of baselines, the places, and a noise for each entry of the word vectors,
    padded as the example is by itself.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        encoded: Encoded,
        items: Sequence[Item],
        baselines: int,
        parameters: GradientShap,
    ) -> None:
        self._samples = parameters.samples
        names = [encoded.names[item.example] for item in items]
        streams = [stream("gradient_shap", name) for name in names]
        none = [np.zeros(0)]
        self.baseline = np.concatenate(
            [np.zeros(0, dtype=np.int64), *(each.integers(baselines, self._samples) for each in streams)]
        )
        self.position = np.concatenate([*none, *(each.uniform(self._samples) for each in streams)])
        self._keys = np.array([key_of("gradient_shap", name) for name in names], dtype=np.uint64)
        lengths = [int(encoded.lengths[item.example]) for item in items]
        self._padded = np.array([padded_length(each, loaded.max_length) for each in lengths], dtype=np.int64)

    def noise(self, rows: NDArray[np.int64], batch: Batch, width: int) -> Tensor:
        """Standard normal variates of some samples where the batch has their tokens: `[rows, length, width]`."""
        item, sample = np.divmod(rows, self._samples)
        length, own = batch.real.shape[1], self._padded[item]
        used = 2 * self._samples + sample * own * width
        # Padded on the left a row begins later in a longer batch; see `collate` for those that begin at once.
        used -= np.where(batch.real.argmax(axis=1) > 0, length - own, 0) * width
        keys = to_device(keys_from(self._keys[item], used), batch.input_ids.device)
        return torch_normal(keys, length * width).float().view(len(rows), length, width)
