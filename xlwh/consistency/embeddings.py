"""Vectors of words and sub-tokens from a model's input embeddings, the context-free part of what it knows.

The sub-tokens of a word are those of the word as a text of its own after a blank (as it stands in most sentences, for
tokenizers that tell the difference); special tokens, lone blanks and UNK are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.consistency.spaces import Embed, Floats, mean_of_pieces

if TYPE_CHECKING:
    from xlwh.models import LoadedModel

_BATCH = 8192
"""Words tokenized at once."""


def input_embedding(loaded: LoadedModel) -> NDArray[np.float32]:
    """The input embedding `[vocabulary, d]` on the CPU."""
    weight = loaded.family.word_embedding(loaded.model).weight
    matrix: NDArray[np.float32] = weight.detach().cpu().float().numpy()
    return matrix


def word_embedder(loaded: LoadedModel, language: str) -> Embed:
    """A function from words of a language to their mean input embeddings (see `spaces.mean_of_pieces`)."""
    embedding = input_embedding(loaded)

    def embed(words: Sequence[str]) -> tuple[Floats, NDArray[np.bool_]]:
        pieces, owner = _pieces(loaded, language, words)
        return mean_of_pieces(embedding, pieces, owner, len(words))

    return embed


def _pieces(
    loaded: LoadedModel, language: str, words: Sequence[str]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Token ids of all words, one word after the other, and the word that each belongs to."""
    from xlwh.models.tokenize import NONE, encode

    pieces, owner = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    unknown = loaded.tokenizer.unk_token_id
    for start in range(0, len(words), _BATCH):
        batch = words[start : start + _BATCH]
        encoded = encode(loaded, _examples(batch, language))
        keep = encoded.word_index != NONE
        if unknown is not None:
            keep &= encoded.input_ids != unknown
        pieces.append(encoded.input_ids[keep])
        owner.append(np.repeat(np.arange(start, start + len(batch)), encoded.lengths)[keep])
    return np.concatenate(pieces), np.concatenate(owner)


def _examples(words: Sequence[str], language: str) -> pl.DataFrame:
    """The words as texts, in the columns of `examples` that a tokenizer needs."""
    return pl.DataFrame(
        {
            "dataset": "words",
            "split": "words",
            "language": language,
            "example_id": "word",
            "text": [f" {word}" for word in words],
            "text_pair": None,
            "words": None,
            "word_spans": None,
        },
        schema_overrides={"text_pair": pl.String, "words": pl.List(pl.String)},
    )
