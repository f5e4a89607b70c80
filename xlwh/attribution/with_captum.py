"""Methods that captum computes: `deeplift` and `gradient_shap`, at the word vectors."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.baselines import SINGULAR, Baseline, available, baseline_of, length_at
from xlwh.attribution.vectors import (
    VectorModel,
    baseline_vectors,
    batches,
    per_token,
    targets,
    word_vectors,
)
from xlwh.models.loaded import LoadedModel
from xlwh.models.tokenize import Encoded
from xlwh.study import DeepLift, GradientShap


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
    for chosen, batch in batches(loaded, encoded, items, max(64, batch_tokens // 2)):
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
        f_input, f_baseline = (end.double().cpu().tolist() for end in ends)
        rows = per_token(loaded, batch, found.sum(-1))
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


def rules_cover(loaded: LoadedModel) -> list[str]:
    """Modules of the model that captum's DeepLift has a rule for, as `name (Type)`."""
    from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR

    return [
        f"{name} ({type(module).__name__})"
        for name, module in loaded.model.named_modules()
        if type(module) in SUPPORTED_NON_LINEAR
    ]


def gradient_shap(
    loaded: LoadedModel, encoded: Encoded, items: Sequence[Item], parameters: GradientShap, batch_tokens: int
) -> Iterator[tuple[int, Attribution]]:
    """captum's GradientShap (Lundberg and Lee 2017): mean gradient at random points between baselines and input.

    The baselines are the PAD and the mask vectors, drawn at random, as far as they are not singular; where both are, the
    model's default baseline. `details` names them. Draws are seeded by the example, and items are taken one by one, so
    that neither the order nor the batch changes a number.
    """
    from captum.attr import GradientShap as Explainer

    model = VectorModel(loaded)
    explainer = Explainer(model)
    asked: tuple[Baseline, ...] = ("pad", "mask")
    kinds = [
        kind for kind in asked if available(loaded, kind) == kind and length_at(loaded, kind) >= SINGULAR
    ]
    kinds = kinds or [baseline_of(loaded, "default")]
    for index, item in enumerate(items):
        ((_, batch),) = batches(loaded, encoded, [item], batch_tokens)
        vectors = word_vectors(loaded, batch)
        baselines = torch.cat([baseline_vectors(loaded, batch, kind) for kind in kinds])
        model.output = item.output
        arguments, target = model.arguments(batch), int(targets(loaded, batch, [item]))
        with _quiet(), _seeded(f"{encoded.names[item.example]}\x00gradient_shap"):
            found = explainer.attribute(
                vectors,
                baselines,
                n_samples=parameters.samples,
                stdevs=parameters.noise,
                target=target,
                additional_forward_args=arguments,
            )
        with torch.no_grad():
            f_input = float(model(vectors, *arguments)[0, target])
        (values,) = per_token(loaded, batch, found.sum(-1))
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


@contextmanager
def _quiet() -> Iterator[None]:
    """captum announces on every call that it sets hooks, and that it makes inputs require gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def _seeded(name: str) -> Iterator[None]:
    """Inside, the generators that captum draws from are seeded by a name; as before afterwards."""
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest())
    before: Any = np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)
