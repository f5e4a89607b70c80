"""Random attributions (`random`): the floor that every other method has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xlwh.attribution.base import Attribution, Item
from xlwh.draws import stream
from xlwh.models.loaded import LoadedModel
from xlwh.models.tokenize import Encoded

if TYPE_CHECKING:
    from xlwh.study import RandomAttribution


def random_attribution(
    loaded: LoadedModel,
    encoded: Encoded,
    items: Sequence[Item],
    parameters: RandomAttribution,
    batch_tokens: int,
) -> Iterator[tuple[int, Attribution]]:
    """Mean of uniform draws in [0, 1) per sub-token, 0 for special tokens; no model is run.

    Every draw is seeded by (example, method, draw), so neither the batch order nor the model changes it. The
    language is part of the example: with one seed for all languages, words at the same place would agree by design.
    """
    for position, item in enumerate(items):
        special = encoded.special[encoded.row(item.example)]
        values = np.mean(
            [draw(encoded.names[item.example], number, len(special)) for number in range(parameters.draws)],
            axis=0,
        )
        yield position, Attribution(np.where(special, 0.0, values))


def draw(example: str, number: int, size: int) -> NDArray[np.float64]:
    """One seeded draw: [size] uniform numbers in [0, 1)."""
    return stream("random", example, number).uniform(size)
