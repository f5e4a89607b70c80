"""Occlusion (`occlusion`): what the target logit loses when one token is taken away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.vectors import by_output, explained, output_replaced
from xlwh.models.batches import collate, plan
from xlwh.models.masking import mask_token_id, pad_token_id
from xlwh.models.tokenize import Encoded
from xlwh.models.zoo import LoadedModel
from xlwh.study import Occlusion

ITEMS_AT_ONCE = 64
"""Items whose perturbed rows share batches: the bound on what is unfinished."""

WHOLE = -1
"""Stands for the token that is taken away where none is."""


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
        points = [(index, place) for index in chosen for place in (WHOLE, *places[index].tolist())]
        f = iter(_evaluate(loaded, encoded, items, points, stand_in, batch_tokens).tolist())
        for index in chosen:
            whole = next(f)
            values = np.zeros(int(encoded.lengths[items[index].example]))
            for place in places[index]:
                values[place] = whole - next(f)
            yield index, Attribution(values, whole, num_forward_rows=len(places[index]) + 1)


def _evaluate(
    loaded: LoadedModel,
    encoded: Encoded,
    items: Sequence[Item],
    points: Sequence[tuple[int, int]],
    stand_in: int,
    batch_tokens: int,
) -> NDArray[np.float64]:
    """Target logits of every (item, place taken away): `[points]`."""
    examples = np.array([items[index].example for index, _ in points], dtype=np.int64)
    embedding = loaded.family.word_embedding(loaded.model)
    left = loaded.family.padding_side == "left"
    values = np.zeros(len(points))
    for members in by_output([items[index] for index, _ in points]):
        for chosen, length in plan(encoded.lengths[examples[members]], loaded.max_length, batch_tokens):
            rows = members[chosen]
            batch = collate(loaded, encoded, examples[rows], length)
            ids = batch.input_ids.clone()
            for row, point in enumerate(rows.tolist()):
                place = points[point][1]
                if place != WHOLE:
                    shift = length - int(encoded.lengths[examples[point]]) if left else 0
                    ids[row, place + shift] = stand_in
            with torch.inference_mode():
                vectors = embedding(ids)
                with loaded.family.pooled_only(loaded.model), output_replaced(embedding, vectors):
                    output = loaded.model(**batch.inputs(loaded))
                f = explained(loaded, batch, output, [items[points[point][0]] for point in rows.tolist()])
            values[rows] = f.double().cpu().numpy()
    return values
