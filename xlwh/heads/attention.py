"""What heads attend to, on a few examples: whole matrices of weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from xlwh.models.attentions import attentions
from xlwh.models.batches import collate

if TYPE_CHECKING:
    from xlwh.models.loaded import LoadedModel
    from xlwh.models.tokenize import Encoded


@dataclass(frozen=True)
class AttentionMap:
    """One attention block on one example."""

    row: int
    """Index of the example."""
    site: int
    """Attention block in the order of the forward pass."""
    tokens: tuple[str, ...]
    special: tuple[bool, ...]
    """Which tokens the tokenizer added."""
    weights: NDArray[np.float32]
    """`[heads, tokens, tokens]`: what each token attends to; rows sum to 1."""


def attention_maps(loaded: LoadedModel, encoded: Encoded) -> Iterator[AttentionMap]:
    """Self-attention of every block over the input's tokens, example by example, without padding.

    Of encoder-decoders those of the encoder: a decoder's blocks have other tokens.
    """
    sites = loaded.family.attention_sites(loaded.model)
    kind = sites[0].kind
    chosen = [number for number, site in enumerate(sites) if site.kind == kind]
    for row in range(len(encoded)):
        part = encoded.row(row)
        batch = collate(loaded, encoded, np.array([row]), int(encoded.lengths[row]))
        with torch.inference_mode():
            found = attentions(loaded, batch.inputs(loaded), chosen).weights
        tokens = tuple(loaded.tokenizer.convert_ids_to_tokens(encoded.input_ids[part].tolist()))
        special = tuple(encoded.special[part].tolist())
        for site, weights in found.items():
            yield AttentionMap(row, site, tokens, special, weights[0].float().cpu().numpy())
