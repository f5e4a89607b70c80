"""Integrated gradients at the word-embedding output, adaptive or with a fixed number of steps.

`lig` starts from PAD, or where the model has no gradient there, from the first other baseline at which it has one;
`integrated_gradients` from a baseline of choice, which is refused where there is no gradient
(`xlwh.attribution.baselines`). The baseline that was used stands in the details of each attribution.

Sundararajan et al. 2017, eq. 1. The fixed Gauss-Legendre rule is the papers' variant; the adaptive one refines
every example until its completeness error is known to be within the tolerance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from xlwh.attribution.base import EPSILON, Attribution, Item
from xlwh.attribution.baselines import PREFERRED_BY_LIG, Baseline, baseline_of, first_regular
from xlwh.attribution.path import PathModel, Value
from xlwh.attribution.quadrature import PathIntegral, gauss_legendre
from xlwh.models.loaded import LoadedModel
from xlwh.models.tokenize import Encoded

if TYPE_CHECKING:
    from xlwh.study import IntegratedGradients, Lig

WINDOW_BYTES = 256 * 2**20
"""Bound on the densities kept for the examples that are refined together."""

WINDOW_ITEMS = 256


def lig(
    loaded: LoadedModel, encoded: Encoded, items: Sequence[Item], parameters: Lig, batch_tokens: int
) -> Iterator[tuple[int, Attribution]]:
    """Yield (position in `items`, attribution) as examples finish.

    Memory: one model call of `batch_tokens` sub-tokens and WINDOW_BYTES of densities, whatever the corpus. ModelError
    where the path is singular from every baseline.
    """
    yield from _integrated(
        loaded, encoded, items, parameters, batch_tokens, first_regular(loaded, PREFERRED_BY_LIG)
    )


def integrated_gradients(
    loaded: LoadedModel,
    encoded: Encoded,
    items: Sequence[Item],
    parameters: IntegratedGradients,
    batch_tokens: int,
) -> Iterator[tuple[int, Attribution]]:
    """The same from the baseline of the parameters."""
    used = baseline_of(loaded, parameters.baseline)
    yield from _integrated(loaded, encoded, items, parameters, batch_tokens, used)


def _integrated(
    loaded: LoadedModel,
    encoded: Encoded,
    items: Sequence[Item],
    parameters: Lig,
    batch_tokens: int,
    baseline: Baseline,
) -> Iterator[tuple[int, Attribution]]:
    model = PathModel(loaded, encoded, items, batch_tokens, baseline)
    lengths = [int(encoded.lengths[item.example]) for item in items]
    integrate = _fixed if parameters.quadrature == "fixed" else _adaptive
    for index, attribution in integrate(model, lengths, parameters):
        yield index, replace(attribution, details={"baseline": baseline})


def _adaptive(model: PathModel, lengths: Sequence[int], parameters: Lig) -> Iterator[tuple[int, Attribution]]:
    # Neighbours in length are refined together, so that their rows share batches with little padding.
    waiting = deque(sorted(range(len(lengths)), key=lambda item: lengths[item]))
    worst = [4 * parameters.max_rows * length for length in lengths]
    active: dict[int, PathIntegral] = {}
    while waiting or active:
        held = sum(worst[item] for item in active)
        while waiting and len(active) < WINDOW_ITEMS:
            held += worst[waiting[0]]
            if active and held > WINDOW_BYTES:
                break
            active[waiting.popleft()] = PathIntegral(parameters.tolerance, parameters.max_rows, EPSILON)
        points = [(item, position) for item, path in active.items() for position in path.requests()]
        values: dict[int, dict[float, Value]] = {item: {} for item in active}
        for (item, position), value in zip(points, model.evaluate(points), strict=True):
            values[item][position] = value
        for item, path in list(active.items()):
            path.supply(values[item])
            if not path.requests():
                del active[item]
                yield item, path.result()


def _fixed(model: PathModel, lengths: Sequence[int], parameters: Lig) -> Iterator[tuple[int, Attribution]]:
    nodes, weights = gauss_legendre(parameters.steps)
    positions = (0.0, *nodes.tolist(), 1.0)
    order = sorted(range(len(lengths)), key=lambda item: lengths[item])
    # A few examples at a time keep batches full; their densities are reduced at once.
    together = max(1, 256 // len(positions))
    for start in range(0, len(order), together):
        chosen = order[start : start + together]
        values = iter(model.evaluate([(item, position) for item in chosen for position in positions]))
        for item in chosen:
            (f_baseline, _), *inner, (f_input, _) = (next(values) for _ in positions)
            densities = np.stack([density for _, density in inner]).astype(np.float64)
            yield item, Attribution(weights @ densities, f_input, f_baseline, len(positions))
