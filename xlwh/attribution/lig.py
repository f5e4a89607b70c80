"""Integrated gradients at the word-embedding output, adaptive or with a fixed number of steps.

`lig` starts from PAD, or where the model has no gradient there, from the first other baseline at which it has one;
`integrated_gradients` from a baseline of choice, which is refused where there is no gradient
(`xlwh.attribution.baselines`). The baseline that was used stands in the details of each attribution.

Sundararajan et al. 2017, eq. 1. The fixed Gauss-Legendre rule is the papers' variant; the adaptive one refines
every example until its completeness error is known to be within the tolerance, or to be rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.baselines import PREFERRED_BY_LIG, Baseline, baseline_of, first_regular
from xlwh.attribution.path import PathModel, Paths, Sums
from xlwh.attribution.quadrature import Finished, FixedIntegrals, PathIntegrals
from xlwh.models.batches import to_host
from xlwh.models.fitting import free_bytes
from xlwh.models.loaded import LoadedModel
from xlwh.models.tokenize import Encoded

if TYPE_CHECKING:
    from xlwh.study import IntegratedGradients, Lig

WINDOW_BYTES = 256 * 2**20
"""Bound on the densities kept on a CPU for the examples that are integrated together."""
WINDOW_SHARE = 0.1
"""The same on a GPU, of its free memory."""

WINDOW_ITEMS = 256
"""Examples refined together on a CPU, so that some are done soon."""
WINDOW_NODES = 4096
"""Nodes of a fixed quadrature that are evaluated together on a CPU."""


def lig(
    loaded: LoadedModel, encoded: Encoded, items: Sequence[Item], parameters: Lig, batch_tokens: int
) -> Iterator[tuple[int, Attribution]]:
    """Yield (position in `items`, attribution) as examples finish.

    Memory: one model call of `batch_tokens` sub-tokens and the densities of a window, whatever the corpus. ModelError
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
    roundoff = roundoff_of(loaded)
    for window in _windows(loaded, lengths, parameters):
        integrals = (
            FixedIntegrals(len(window), parameters.steps)
            if parameters.quadrature == "fixed"
            else PathIntegrals(len(window), parameters.tolerance, parameters.max_rows, roundoff)
        )
        yield from _integrate(Paths(model, window), integrals, window, baseline)


def _integrate(
    paths: Paths, integrals: PathIntegrals | FixedIntegrals, window: Sequence[int], baseline: Baseline
) -> Iterator[tuple[int, Attribution]]:
    """What is finished is downloaded with the next refinement, so that the host waits once for each."""
    finished, sums = None, list[Sums]()
    while len(integrals.requests()[0]):
        values, made = paths.evaluate(*integrals.requests(), sums)
        yield from _made(finished, sums, made, window, baseline)
        integrals.supply(*values)
        finished = integrals.finished()
        sums = paths.sums(finished)
    if sums:
        yield from _made(finished, sums, to_host(*(each.values for each in sums)), window, baseline)


def _made(
    finished: Finished | None,
    sums: Sequence[Sums],
    downloaded: Sequence[np.ndarray],
    window: Sequence[int],
    baseline: Baseline,
) -> Iterator[tuple[int, Attribution]]:
    if finished is None:
        return
    places = {item: place for place, item in enumerate(finished.items.tolist())}
    details = {"baseline": baseline}
    for part, (values, errors) in zip(sums, downloaded, strict=True):
        for row, item in enumerate(part.items.tolist()):
            place, real = places[item], part.real[row]
            yield (
                window[item],
                Attribution(
                    values[row][real],
                    float(finished.f_input[place]),
                    float(finished.f_baseline[place]),
                    num_gradient_rows=int(finished.num_nodes[place]),
                    details=details,
                    errors=errors[row][real] if finished.fours[place] else None,
                    stopped=finished.stops[place],
                ),
            )


def _windows(loaded: LoadedModel, lengths: Sequence[int], parameters: Lig) -> Iterator[list[int]]:
    """Items that are integrated together. Neighbours in length, so that they share batches with little padding."""
    on_gpu, is_fixed = loaded.device.type == "cuda", parameters.quadrature == "fixed"
    nodes = parameters.steps + 2 if is_fixed else parameters.max_rows
    most = WINDOW_SHARE * free_bytes(loaded.device) if on_gpu else WINDOW_BYTES
    items = len(lengths) if on_gpu else max(1, WINDOW_NODES // nodes) if is_fixed else WINDOW_ITEMS
    window, held = list[int](), 0
    for item in sorted(range(len(lengths)), key=lambda item: lengths[item]):
        worst = 4 * nodes * lengths[item]
        if window and (held + worst > most or len(window) >= items):
            yield window
            window, held = [], 0
        window.append(item)
        held += worst
    if window:
        yield window


def roundoff_of(loaded: LoadedModel) -> float:
    """Largest relative error of a number that the model rounds."""
    dtype = next(loaded.model.parameters()).dtype
    return float(torch.finfo(dtype).eps / 2)
