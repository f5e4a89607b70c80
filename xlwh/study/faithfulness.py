"""How faithful token attributions are to the model: what is perturbed, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xlwh.study.base import CUT, BatchTokens, Key, Part

Ratio = Annotated[float, Field(gt=0, le=1)]


class Faithfulness(Part):
    """Which attributions are tested by removing tokens. Random attributions are always among them."""

    models: Annotated[tuple[Key, ...] | None, CUT] = Field(
        None, description="Models whose attributions are tested; default: every one."
    )
    datasets: Annotated[tuple[Key, ...] | None, CUT] = Field(
        None, description="Datasets on which they are; default: all that have classes."
    )
    methods: tuple[Key, ...] | None = Field(
        None, description="Attribution methods to test; default: all that the study computes."
    )
    ratios: tuple[Ratio, ...] = Field(
        (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        min_length=1,
        description="Shares of tokens taken as the rationale; scores are means over them (AOPC).",
    )
    masking: tuple[Literal["mask", "pad", "delete", "zero_id"], ...] = Field(
        ("mask",),
        min_length=1,
        description="What removed tokens become; `zero_id` is the published code's, for its variant.",
    )
    importance: tuple[Literal["signed", "abs"], ...] = Field(
        ("signed",), min_length=1, description="Rank tokens by attribution or by its absolute value."
    )
    random_draws: int = Field(5, ge=1, description="Random attributions per example.")
    soft_draws: int = Field(3, ge=0, description="Draws of soft masks; 0: no soft metrics.")
    soft_masking: tuple[Literal["bernoulli", "bernoulli_reversed"], ...] = Field(
        ("bernoulli",), description="`bernoulli_reversed` is the published code's, for its variant."
    )
    keep_query: bool | tuple[Key, ...] = Field(
        True,
        description="Leave the second text of pairs as it is; false: both texts are perturbed; a list: the datasets of "
        "which it is left as it is.",
    )
    max_examples: int | None = Field(
        None, ge=1, description="Examples per dataset and language; default: all that are attributed."
    )
    batch_tokens: BatchTokens = Field(
        None,
        ge=64,
        description="Padded sub-tokens per model call; default: 4,096 on a CPU, on a GPU what fits its free memory.",
    )

    def keeps_query(self, dataset: str) -> bool:
        """Whether the second text of a dataset's pairs is left as it is."""
        return self.keep_query if isinstance(self.keep_query, bool) else dataset in self.keep_query
