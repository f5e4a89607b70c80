"""Two checks of an attribution: does it foretell what the model does without some tokens, and is it steady?

Infidelity and sensitivity (Yeh et al. 2019, "On the (in)fidelity and sensitivity of explanations"), draw by draw:
what they are means and maxima of. On the same draws they are captum's `infidelity` and `sensitivity_max`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlwh.attribution.base import Item, SharedPass
from xlwh.attribution.rows import Scores
from xlwh.attribution.targets import Placed
from xlwh.attribution.vectors import without
from xlwh.draws import stream
from xlwh.models.loaded import LoadedModel
from xlwh.models.masking import mask_token_id
from xlwh.models.tokenize import Encoded

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Removal:
    """Some tokens of an example, and the target logit that is lost without them."""

    places: NDArray[np.int64]
    lost: float


def removals(
    loaded: LoadedModel, encoded: Encoded, items: Sequence[Item], draws: int, batch_tokens: int
) -> list[list[Removal]]:
    """Per item, `draws` sets of its tokens and F(x) - F(x with the mask token's vector in their place).

    Sets of every size from one token to all are equally likely; special tokens stay. Draws are seeded by the example.
    An item without tokens has none.
    """
    chosen: list[list[NDArray[np.int64]]] = []
    for item in items:
        free = np.flatnonzero(~encoded.special[encoded.row(item.example)])
        drawn = stream("removal", encoded.names[item.example])
        sizes = 1 + drawn.integers(max(1, len(free)), draws if len(free) else 0)
        chosen.append([np.sort(free[drawn.choice(len(free), size)]) for size in sizes.tolist()])
    nothing = np.zeros(0, dtype=np.int64)
    points = [(index, places) for index, sets in enumerate(chosen) for places in (nothing, *sets)]
    f = iter(without(loaded, encoded, items, points, mask_token_id(loaded), batch_tokens).tolist())
    found = []
    for sets in chosen:
        whole = next(f)
        found.append([Removal(places, whole - next(f)) for places in sets])
    return found


def noises(
    loaded: LoadedModel, encoded: Encoded, example: int, draws: int, radius: float
) -> tuple[float, list[NDArray[np.float32]]]:
    """(half-width, `draws` noises of an example's word vectors `[tokens, width]`, uniform within the half-width).

    The half-width is `radius` times the root mean square of the vectors' entries. Special tokens have no noise.
    """
    row = encoded.row(example)
    ids = torch.from_numpy(encoded.input_ids[row].astype(np.int64)).to(loaded.device)
    with torch.no_grad():
        vectors = loaded.family.word_embedding(loaded.model)(ids).float().cpu().numpy()
    free = ~encoded.special[row]
    width = radius * float(np.sqrt(np.mean(vectors[free] ** 2))) if free.any() else 0.0
    drawn = stream("noise", encoded.names[example])
    noise = [(width * (2 * drawn.uniform(*vectors.shape) - 1)).astype(np.float32) for _ in range(draws)]
    return width, [each * free[:, None] for each in noise]


@contextmanager
def noisy(loaded: LoadedModel, encoded: Encoded, example: int, noise: NDArray[np.float32]) -> Iterator[None]:
    """Inside, the word vectors of an example's tokens have `noise` `[tokens, width]` added, each at its own place.

    Another token there (PAD or the mask token, as baselines have them) keeps its vector. For one example at a time.
    """
    ids = torch.from_numpy(encoded.input_ids[encoded.row(example)].astype(np.int64)).to(loaded.device)
    added = torch.from_numpy(noise).to(loaded.device)
    left = loaded.family.padding_side == "left"

    def shift(_: Any, inputs: tuple[Tensor, ...], vectors: Tensor) -> Tensor:
        length = inputs[0].shape[-1]
        if inputs[0].dim() != 2 or length < len(ids):
            return vectors  # ids of something else, such as a baseline's
        start = length - len(ids) if left else 0
        place = slice(start, start + len(ids))
        same = inputs[0][:, place] == ids
        vectors = vectors.clone()
        vectors[:, place] += (added * same[..., None]).to(vectors.dtype)
        return vectors

    handle = loaded.family.word_embedding(loaded.model).register_forward_hook(shift)
    try:
        yield
    finally:
        handle.remove()


def under_noise(
    loaded: LoadedModel,
    encoded: Encoded,
    item: Item,
    make: SharedPass,
    parameters: Mapping[str, Any],
    drawn: Sequence[NDArray[np.float32]],
    batch_tokens: int,
) -> list[dict[str, NDArray[np.float64]]]:
    """For each noise, method -> attributions `[tokens]` of the item with the noise added to its word vectors."""
    found = []
    for noise in drawn:
        with noisy(loaded, encoded, item.example, noise):
            ((_, made),) = make(loaded, encoded, [item], parameters, batch_tokens)
        found.append({name: attribution.values for name, attribution in made.items()})
    return found


def probe_rows(
    loaded: LoadedModel,
    placed: Placed,
    scores: Mapping[str, Scores],
    make: SharedPass,
    parameters: Mapping[str, Any],
    draws: int,
    radius: float,
    batch_tokens: int,
) -> dict[str, pl.DataFrame]:
    """Rows of `attribution_probes` by method: `draws` removals of every target, and as many noises unless `radius` is 0.

    `scores` are the stored attributions of each method; its `parameters` are those that they were made with.
    """
    import polars as pl

    from xlwh.store import schema

    encoded, rows = placed.encoded, dict[str, list[dict[str, Any]]]({method: [] for method in scores})
    removed = removals(loaded, encoded, placed.items, draws, batch_tokens)
    for index, item in enumerate(placed.items):
        noise: float | None = None
        changed: list[dict[str, NDArray[np.float64]]] = []
        if radius and removed[index]:
            noise, drawn = noises(loaded, encoded, item.example, draws, radius)
            changed = under_noise(loaded, encoded, item, make, parameters, drawn, batch_tokens)
        ((example_id, target),) = placed.targets[index].rows()
        keys = placed.keys([index]).row(0, named=True) | {"model": loaded.key, "noise": noise}
        for method, known in scores.items():
            values = known(example_id, target, int(encoded.lengths[item.example]))
            rows[method] += [
                {
                    **keys,
                    "method": method,
                    "draw": draw,
                    "num_removed": len(removal.places),
                    "attributed": float(values[removal.places].sum()),
                    "lost": removal.lost,
                    "norm": float(np.linalg.norm(values)),
                    "change": float(np.linalg.norm(changed[draw][method] - values)) if changed else None,
                }
                for draw, removal in enumerate(removed[index])
            ]
    columns = schema("attribution_probes")
    return {method: pl.DataFrame(made, schema=columns) for method, made in rows.items()}
