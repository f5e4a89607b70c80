"""Concepts: which activations are stored, how they are clustered, and what they are compared by."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from xlwh.study.base import BatchTokens, Key, Part

Scope = tuple[Key, ...]


class Concepts(Part):
    """What of a model's hidden states is kept, and the clusterings that make concepts of them."""

    datasets: tuple[Key, ...] = Field(min_length=1, description="Datasets whose words are clustered.")
    models: tuple[Key, ...] | None = Field(None, description="Models to look into; default: every one.")
    pool: bool = Field(
        False, description="Cluster the datasets together as one corpus; otherwise each by itself."
    )

    layers: tuple[int, ...] | Literal["all"] = Field(
        "all", description="Layers of each stack, 0 the embeddings; negative ones count from the last."
    )
    stacks: tuple[Literal["encoder", "decoder"], ...] = Field(
        ("encoder", "decoder"), min_length=1, description="Stacks to look into, where a model has them."
    )
    conventions: tuple[Literal["consumed", "predicting"], ...] = Field(
        ("consumed",),
        min_length=1,
        description="Decoders: the state that has read a sub-token, or the one that predicts it.",
    )
    aggregation: Literal["last", "first", "mean"] = Field(
        "last", description="How a word's sub-tokens make one vector."
    )
    min_count: int = Field(10, ge=1, description="Least occurrences of a word type in its language.")
    max_occurrences: int | None = Field(
        None, ge=1, description="Occurrences kept of a word type, drawn by the study's seed."
    )
    batch_tokens: BatchTokens = Field(
        None,
        ge=64,
        description="Padded sub-tokens per batch; default: 4,096 on a CPU, on a GPU what fits its free memory.",
    )

    clusters: int = Field(600, ge=2, description="Number of clusters, K.")
    monolingual: tuple[Key, ...] | None = Field(
        None,
        description="Languages clustered by themselves; default: all languages of `mixed`, or of the study.",
    )
    mixed: tuple[Scope, ...] = Field((), description="Groups of languages clustered together.")
    algorithm: Literal["faiss", "torch", "scikit-learn", "minibatch"] = Field(
        "torch", description="What runs Lloyd's iterations; scikit-learn and minibatch are for checking."
    )
    seeds: tuple[int, ...] = Field(
        (0,), min_length=1, description="A clustering per seed; with two or more their agreement is stored."
    )
    restarts: int = Field(1, ge=1, description="Starts per seed, of which the best is kept.")
    max_iterations: int = Field(100, ge=1, description="Lloyd iterations at most.")

    labels: str | None = Field(
        None,
        description="CSV file of names for concepts, relative to the study file; `xlwh concept export` writes one.",
    )

    @field_validator("mixed")
    @classmethod
    def _several(cls, mixed: tuple[Scope, ...]) -> tuple[Scope, ...]:
        for scope in mixed:
            if len(set(scope)) < 2 or len(set(scope)) < len(scope):
                raise ValueError("every group needs two or more different languages")
        return mixed

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError("seeds are different whole numbers from 0 on")
        return seeds

    @model_validator(mode="after")
    def _enough(self) -> Concepts:
        if self.max_occurrences is not None and self.max_occurrences < self.min_count:
            raise ValueError(
                "max_occurrences is below min_count: every word type would be cut below the least"
            )
        return self

    def monolingual_languages(self, languages: tuple[str, ...]) -> tuple[str, ...]:
        """Languages that are clustered by themselves, for a study of these languages."""
        if self.monolingual is not None:
            return self.monolingual
        named = dict.fromkeys(language for scope in self.mixed for language in scope)
        return tuple(named) or languages

    def needed_languages(self, languages: tuple[str, ...]) -> tuple[str, ...]:
        """Languages whose activations some clustering reads."""
        named = dict.fromkeys(self.monolingual_languages(languages))
        named.update(dict.fromkeys(language for scope in self.mixed for language in scope))
        return tuple(named)
