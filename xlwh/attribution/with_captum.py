"""What captum computes: `deeplift`, at the word vectors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.vectors import (
    VectorModel,
    baseline_vectors,
    in_batches,
    targets,
    unpadded,
    word_vectors,
)
from xlwh.models.batches import Batch, to_host
from xlwh.models.loaded import LoadedModel
from xlwh.models.tokenize import Encoded

if TYPE_CHECKING:
    from xlwh.study import DeepLift


def deeplift(
    loaded: LoadedModel, encoded: Encoded, items: Sequence[Item], parameters: DeepLift, batch_tokens: int
) -> Iterator[tuple[int, Attribution]]:
    """captum's DeepLift (Shrikumar et al. 2017, rescale rule) from the word vectors of a baseline.

    Its rules apply to activations that are modules of a few types; `details` names those that the model has.
    LayerNorm, GELU, products and softmax inside attention are passed by plain gradients, so on a transformer
    this is close to (input - baseline) times gradient, and does not add up to the change of the logit.
    """
    from captum.attr import DeepLift as Explainer

    covered = rules_cover(loaded)
    model = VectorModel(loaded)
    explainer = Explainer(model)

    def compute(chosen: list[int], batch: Batch) -> Iterator[tuple[int, Attribution]]:
        vectors, baseline = word_vectors(loaded, batch), baseline_vectors(loaded, batch, parameters.baseline)
        mine = [items[index] for index in chosen]
        model.output = mine[0].output
        arguments, target = model.arguments(batch), targets(loaded, batch, mine)
        with _quiet():
            found = explainer.attribute(vectors, baseline, target=target, additional_forward_args=arguments)
        with torch.no_grad():
            ends = [
                model(point, *arguments).gather(1, target[:, None])[:, 0] for point in (vectors, baseline)
            ]
        values, *told = to_host(found.sum(-1).double(), *(end.double() for end in ends))
        f_input, f_baseline = (end.tolist() for end in told)
        rows = unpadded(loaded, batch, values)
        for place, index in enumerate(chosen):
            yield (
                index,
                Attribution(
                    rows[place],
                    f_input[place],
                    f_baseline[place],
                    num_gradient_rows=2,
                    num_forward_rows=2,
                    details={"rules_cover": covered},
                ),
            )

    # Each row goes with one for its baseline.
    yield from in_batches(loaded, encoded, items, max(64, batch_tokens // 2), compute)


def rules_cover(loaded: LoadedModel) -> list[str]:
    """Modules of the model that captum's DeepLift has a rule for, as `name (Type)`."""
    from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR

    return [
        f"{name} ({type(module).__name__})"
        for name, module in loaded.model.named_modules()
        if type(module) in SUPPORTED_NON_LINEAR
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """captum announces on every call that it sets hooks, and that it makes inputs require gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
