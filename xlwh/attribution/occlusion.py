"""Occlusion (`occlusion`): what the target logit loses when one token is taken away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.vectors import without
from xlwh.models.loaded import LoadedModel
from xlwh.models.masking import mask_token_id, pad_token_id
from xlwh.models.tokenize import Encoded

if TYPE_CHECKING:
    from xlwh.study import Occlusion

ITEMS_AT_ONCE = 64
"""Items whose perturbed rows share batches: the bound on what is unfinished."""


def occlusion(
    loaded: LoadedModel, encoded: Encoded, items: Sequence[Item], parameters: Occlusion, batch_tokens: int
) -> Iterator[tuple[int, Attribution]]:
    """F(x) - F(x with the token's word vector replaced by that of the mask token or PAD); 0 for special tokens.

    Zeiler and Fergus 2014, with one token as the window.
    """
    stand_in = mask_token_id(loaded) if parameters.replace_by == "mask" else pad_token_id(loaded)
    order = sorted(range(len(items)), key=lambda index: int(encoded.lengths[items[index].example]))
    for start in range(0, len(order), ITEMS_AT_ONCE):
        chosen = order[start : start + ITEMS_AT_ONCE]
        places = {
            index: np.flatnonzero(~encoded.special[encoded.row(items[index].example)]) for index in chosen
        }
        points = [
            (index, place) for index in chosen for place in (places[index][:0], *places[index][:, None])
        ]
        f = iter(without(loaded, encoded, items, points, stand_in, batch_tokens).tolist())
        for index in chosen:
            whole = next(f)
            values = np.zeros(int(encoded.lengths[items[index].example]))
            for place in places[index]:
                values[place] = whole - next(f)
            yield index, Attribution(values, whole, num_forward_rows=len(places[index]) + 1)
