"""What heads attend to, on a few examples: whole matrices of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from xlwh.models.attentions import attentions
from xlwh.models.batches import collate
from xlwh.models.tokenize import encode

if TYPE_CHECKING:
    import polars as pl

    from xlwh.models.loaded import LoadedModel


def attention_maps(loaded: LoadedModel, examples: pl.DataFrame) -> pl.DataFrame:
    """Self-attention of every block over the input's tokens, example by example, without padding.

    Rows of `attention_maps`, by key. Of encoder-decoders those of the encoder: a decoder's blocks have other tokens.
    """
    import polars as pl

    from xlwh.store import schema

    encoded = encode(loaded, examples)
    sites = loaded.family.attention_sites(loaded.model)
    chosen = [number for number, site in enumerate(sites) if site.kind == sites[0].kind]
    rows = []
    for row in range(len(encoded)):
        part = encoded.row(row)
        about = {
            "model": loaded.key,
            **encoded.keys.row(row, named=True),
            "tokens": loaded.tokenizer.convert_ids_to_tokens(encoded.input_ids[part].tolist()),
            "is_special": encoded.special[part].tolist(),
        }
        batch = collate(loaded, encoded, np.array([row]), int(encoded.lengths[row]))
        with torch.inference_mode():
            found = attentions(loaded, batch.inputs(loaded), chosen).weights
        for site, weights in found.items():
            halves = weights[0].float().cpu().numpy().astype(np.float16)
            rows += [
                {**about, "layer": site, "head": head, "weights": pl.Series(one.ravel())}
                for head, one in enumerate(halves)
            ]
    frame = pl.DataFrame(rows, schema=schema("attention_maps"))
    return frame.sort("dataset", "split", "example_id", "layer", "head")
