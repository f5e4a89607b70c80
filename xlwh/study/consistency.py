"""Shared spaces, and the consistency of token attributions (CCTA)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from xlwh.study.base import Key, Part


class Space(Part):
    """A context-free space shared by the languages, in which similarities are taken."""

    kind: Literal["vec", "input_embeddings"]
    files: Mapping[Key, str] = Field(
        default_factory=dict, description="vec: language -> .vec file under data_root, packed or not."
    )
    pivot: Key | None = Field(
        None, description="input_embeddings: the language that the others are rotated onto."
    )
    dictionaries: Mapping[Key, str] = Field(
        default_factory=dict,
        description="input_embeddings: language -> dictionary file under data_root, pivot word first.",
    )
    reversed_dictionaries: tuple[Key, ...] = Field(
        (),
        description="Languages whose dictionary is one from the language into the pivot: the foreign word is first, or "
        "last in hunalign's form and Moses', which list the target first.",
    )
    min_coverage: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least share of a language's distinct words that must have a vector; below it nothing is computed.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Space:
        if self.kind == "vec" and not self.files:
            raise ValueError("a `vec` space needs `files`, one per language")
        if self.kind == "input_embeddings" and self.pivot is None:
            raise ValueError(
                "an `input_embeddings` space needs `pivot`, the language the others are rotated onto"
            )
        return self


class Consistency(Part):
    """How the consistency of token attributions (CCTA) is measured."""

    space: Key = Field(description="Key of one of the study's spaces.")
    models: tuple[Key, ...] | None = Field(
        None, description="Models whose attributions are compared; default: every one."
    )
    datasets: tuple[Key, ...] | None = Field(
        None, description="Datasets whose pairs are compared; default: all that have classes or questions."
    )
    methods: tuple[str, ...] = Field(("lig",), min_length=1, description="Attribution methods to compare.")
    unit: Literal["word", "token"] = "word"
    normalizations: tuple[Literal["abs", "relu", "min_max", "softmax"], ...] = Field(("abs",), min_length=1)
    draws: int = Field(20, ge=1, description="Draws of the shuffled null.")
