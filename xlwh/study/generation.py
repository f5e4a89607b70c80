"""Models from nothing, and how text is generated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from xlwh.study.base import Key, Part

SMALL_T5: Mapping[str, int | float | str | bool] = {
    "d_model": 256,
    "d_kv": 32,
    "num_heads": 8,
    "d_ff": 512,
    "num_layers": 3,
    "num_decoder_layers": 3,
    "feed_forward_proj": "gated-gelu",
}


class Scratch(Part):
    """A model with random weights: its architecture, and where its tokenizer comes from.

    The defaults are a T5 of about 5 million parameters beside its embeddings, which learns to translate short
    sentences in minutes on a CPU.
    """

    family: Literal["t5", "mt5"] = Field("t5", description="Architecture (transformers `model_type`).")
    config: Mapping[str, int | float | str | bool] = Field(
        SMALL_T5,
        description="Values of its configuration; sizes of the vocabulary and special ids follow from the tokenizer.",
    )
    tokenizer_of: Key | None = Field(
        None, description="Key of a model of this study whose tokenizer it takes."
    )
    dataset: Key | None = Field(
        None, description="Dataset to train a Unigram tokenizer on, source and target texts together."
    )
    languages: tuple[Key, ...] = Field((), description="Languages of that dataset; default: all of them.")
    vocab_size: int = Field(8000, ge=64, description="Pieces of a tokenizer that is trained.")
    max_texts: int = Field(100_000, ge=1, description="Texts that it is trained on, drawn by the seed.")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_tokenizer(self) -> Scratch:
        if (self.tokenizer_of is None) == (self.dataset is None):
            raise ValueError("give exactly one of `tokenizer_of` and `dataset`")
        return self


class Generation(Part):
    """How a model that writes text does so: greedily, or by beam search."""

    beams: int = Field(1, ge=1, description="Beams; 1 is greedy.")
    max_tokens: int = Field(128, ge=1, description="Longest output in sub-tokens.")
    length_penalty: float = Field(
        1.0, description="Exponent of the length that beams' scores are divided by."
    )
