"""Occlusion (`occlusion`): what the target logit loses when one token is taken away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.vectors import Points, at_once, without
from xlwh.models.loaded import LoadedModel
from xlwh.models.masking import mask_token_id, pad_token_id
from xlwh.models.tokenize import Encoded

if TYPE_CHECKING:
    from xlwh.study import Occlusion


def occlusion(
    loaded: LoadedModel, encoded: Encoded, items: Sequence[Item], parameters: Occlusion, batch_tokens: int
) -> Iterator[tuple[int, Attribution]]:
    """F(x) - F(x with the token's word vector replaced by that of the mask token or PAD); 0 for special tokens.

    Zeiler and Fergus 2014, with one token as the window.
    """
    stand_in = mask_token_id(loaded) if parameters.replace_by == "mask" else pad_token_id(loaded)
    order = sorted(range(len(items)), key=lambda index: int(encoded.lengths[items[index].example]))
    some = at_once(loaded, items)
    for start in range(0, len(order), some):
        chosen = np.array(order[start : start + some], dtype=np.int64)
        free = [np.flatnonzero(~encoded.special[encoded.row(items[index].example)]) for index in chosen]
        sizes = np.array([len(places) for places in free])
        # Of each item the whole input, then one point for each place.
        counts = np.ones(int(sizes.sum()) + len(sizes), dtype=np.int64)
        wholes = np.cumsum(sizes + 1) - sizes - 1
        counts[wholes] = 0
        bounds = np.concatenate([[0], np.cumsum(counts)])
        points = Points(np.repeat(chosen, sizes + 1), np.concatenate(free), bounds)
        f = without(loaded, encoded, items, points, stand_in, batch_tokens)
        for index, places, whole in zip(chosen.tolist(), free, wholes.tolist(), strict=True):
            values = np.zeros(int(encoded.lengths[items[index].example]))
            values[places] = f[whole] - f[whole + 1 : whole + 1 + len(places)]
            yield index, Attribution(values, float(f[whole]), num_forward_rows=len(places) + 1)
