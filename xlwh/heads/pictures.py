"""What one head attends to on parallel sentences, as matrices and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from xlwh.models.attentions import attentions
from xlwh.models.batches import collate

if TYPE_CHECKING:
    from xlwh.models.tokenize import Encoded
    from xlwh.models.zoo import LoadedModel


@dataclass(frozen=True)
class HeadAttention:
    """One head on one example."""

    language: str
    tokens: tuple[str, ...]
    weights: NDArray[np.float32]
    """`[tokens, tokens]`: what each token (row) attends to; rows sum to 1."""


def head_attention(loaded: LoadedModel, encoded: Encoded, layer: int, head: int) -> list[HeadAttention]:
    """Attention of one head on each example, without padding; the examples may be translations of each other."""
    found = []
    for row in range(len(encoded)):
        length = int(encoded.lengths[row])
        batch = collate(loaded, encoded, np.array([row]), length)
        with torch.inference_mode():
            weights = attentions(loaded, batch.inputs(loaded), [layer]).weights[layer][0, head]
        tokens = loaded.tokenizer.convert_ids_to_tokens(encoded.input_ids[encoded.row(row)].tolist())
        matrix = weights.float().cpu().numpy()
        found.append(HeadAttention(str(encoded.keys["language"][row]), tuple(tokens), matrix))
    return found


def picture(shown: list[HeadAttention], title: str = "") -> Any:
    """A matplotlib figure: one heat map per example, side by side, darker where more is attended to."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(shown), 3.4), layout="constrained")
    for place, item in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), place + 1)
        axes.imshow(item.weights, cmap="Greys", vmin=0, vmax=1)
        axes.set_title(item.language)
        axes.set_xticks(range(len(item.tokens)), item.tokens, rotation=90, fontsize=6)
        axes.set_yticks(range(len(item.tokens)), item.tokens, fontsize=6)
    if title:
        figure.suptitle(title)
    return figure
