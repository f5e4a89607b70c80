"""Mean gradient at random points between baselines and the noisy input (`gradient_shap`), at the word vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.baselines import SINGULAR, Baseline, available, baseline_of, length_at
from xlwh.attribution.vectors import VectorModel, baseline_vectors, targets, unpadded, word_vectors
from xlwh.draws import stream
from xlwh.models.batches import collate, padded_length, to_device, to_host
from xlwh.models.fitting import fitted
from xlwh.models.loaded import LoadedModel
from xlwh.models.tokenize import Encoded

if TYPE_CHECKING:
    from xlwh.study import GradientShap


def gradient_shap(
    loaded: LoadedModel, encoded: Encoded, items: Sequence[Item], parameters: GradientShap, batch_tokens: int
) -> Iterator[tuple[int, Attribution]]:
    """Mean over samples of (x - b) times the gradient of F at b + a (x - b) (Lundberg and Lee 2017).

    x is the input with normal noise, b a baseline, a uniform in [0, 1): on the same draws it is captum's GradientShap.
    The baselines are the PAD and the mask vectors, drawn at random, as far as they are not singular; where both are, the
    model's default baseline. `details` names them. Draws are seeded by the example, and items are taken one by one, so
    that neither the order nor the batch changes a number.
    """
    asked: tuple[Baseline, ...] = ("pad", "mask")
    kinds = [
        kind for kind in asked if available(loaded, kind) == kind and length_at(loaded, kind) >= SINGULAR
    ]
    kinds = kinds or [baseline_of(loaded, "default")]
    model = VectorModel(loaded)

    def explain(item: Item) -> Attribution:
        example = np.array([item.example])
        batch = collate(
            loaded, encoded, example, padded_length(int(encoded.lengths[item.example]), loaded.max_length)
        )
        vectors = word_vectors(loaded, batch)
        baselines = torch.cat([baseline_vectors(loaded, batch, kind) for kind in kinds])
        model.output = item.output
        arguments, target = model.arguments(batch), targets(loaded, batch, [item])
        noisy, chosen, position = _drawn(encoded.names[item.example], vectors, len(kinds), parameters)
        total = torch.zeros_like(vectors[0])
        at_once = max(1, batch_tokens // vectors.shape[1])
        planned = [
            (np.arange(start, min(start + at_once, parameters.samples)), vectors.shape[1])
            for start in range(0, parameters.samples, at_once)
        ]

        def sampled(samples: NDArray[np.int64], length: int) -> Tensor:
            rows = slice(int(samples[0]), int(samples[-1]) + 1)
            source = baselines[chosen[rows]]
            step = noisy[rows].to(vectors) - source
            point = (source + position[rows, None, None].to(vectors) * step).requires_grad_(True)
            given = (argument.expand(len(point), *argument.shape[1:]) for argument in arguments)
            with torch.enable_grad():
                f = model(point, *given).index_select(1, target)
                (gradient,) = torch.autograd.grad(f.sum(), point)
            return (gradient * step).sum(0)

        for _, part in fitted(loaded, planned, sampled):
            total += part
        with torch.no_grad():
            f = model(vectors, *arguments).index_select(1, target)
        mean = (total / parameters.samples).sum(-1)[None]
        found, f_input = to_host(mean.double(), f[0, 0].double())
        (values,) = unpadded(loaded, batch, found)
        return Attribution(
            values,
            float(f_input),
            num_gradient_rows=parameters.samples,
            num_forward_rows=1,
            details={"baselines": kinds},
        )

    for index, item in enumerate(items):
        yield index, explain(item)


def _drawn(
    example: str, vectors: Tensor, baselines: int, parameters: GradientShap
) -> tuple[Tensor, Tensor, Tensor]:
    """Per sample: the input with noise `[samples, length, width]`, the number of a baseline, the place on the path."""
    drawn, samples = stream("gradient_shap", example), parameters.samples
    chosen, position = drawn.integers(baselines, samples), drawn.uniform(samples)
    noise = parameters.noise * drawn.normal(samples, *vectors.shape[1:])
    device = vectors.device
    noisy = vectors + to_device(noise.astype(np.float32), device)
    return noisy, to_device(chosen, device), to_device(position, device)
