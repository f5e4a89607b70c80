"""Attention heads: how their Shapley values are sampled, what they are compared with, where masks are evaluated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from xlwh.study.base import CUT, Key, Part


class Sampler(Part):
    """One way of drawing marginals: an estimator, its players, and when it stops."""

    estimator: Literal["permutation", "whole_set", "exact"] = Field(
        "permutation",
        description="permutation: one example with each permutation; whole_set: all examples with each "
        "(the paper's); exact: every coalition, for games of few players.",
    )
    players: tuple[Literal["head", "layer", "mlp", "group"], ...] = Field(
        ("head",), min_length=1, description="What can be removed; several kinds make one game."
    )
    truncation: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Only removals that leave at least this share of the players count; 0: the Shapley value.",
    )
    antithetic: bool = Field(
        False, description="Follow each permutation by its reverse, with the same example."
    )
    adaptive: bool = Field(
        True, description="Stop measuring players that are decided; the others' marginals do not change."
    )
    delta: float = Field(
        0.1, gt=0, lt=1, description="Chance of any wrong decision, for stopping the measurement."
    )
    max_rows: Annotated[int, CUT] = Field(
        200_000, ge=1, description="Evaluated (example, coalition) rows per dataset and language."
    )
    max_minutes: Annotated[float | None, CUT] = Field(
        None, gt=0, description="Minutes per dataset and language in one run; the next run goes on."
    )
    round_permutations: int = Field(
        512,
        ge=2,
        multiple_of=2,
        description="Permutations that are computed, stored and judged together.",
    )
    first_permutation: Annotated[int, CUT] = Field(
        0,
        ge=0,
        description="Where to begin: two machines with other beginnings make samples that can be put together.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Sampler:
        if self.first_permutation % self.round_permutations:
            raise ValueError(
                f"first_permutation: {self.first_permutation} is not a multiple of round_permutations "
                f"({self.round_permutations})"
            )
        if self.first_permutation and self.adaptive:
            raise ValueError(
                "adaptive: what a later machine may skip is decided by samples that it does not have; "
                "set adaptive = false where first_permutation is not 0"
            )
        if self.antithetic and self.estimator != "permutation":
            raise ValueError(f"antithetic: estimator `{self.estimator}` has no antithetic pairs")
        return self


class Heads(Part):
    """What attention heads are worth, and what removing them does."""

    datasets: Mapping[Key, Key] = Field(
        min_length=1,
        description="Dataset that heads are valued on -> dataset that masks are evaluated on. The same one "
        "twice: masks are evaluated on the examples that heads were not valued on.",
    )
    models: tuple[Key, ...] | None = Field(
        None, min_length=1, description="Models whose heads are valued; default: all that have the datasets."
    )
    max_examples: int | None = Field(
        512, ge=1, description="Examples that heads are valued on, the same ids in every language."
    )
    max_evaluated: int | None = Field(
        None, ge=1, description="Examples that masks are evaluated on, the same ids in every language."
    )
    score: Literal["accuracy", "probability"] = Field(
        "accuracy",
        description="What a coalition is worth on an example: 1 if right, or the probability of the gold class.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of the sampling; masks are always evaluated in float32."
    )
    groups: tuple[tuple[str, ...], ...] = Field(
        (), description="Players of kind `group`: lists of heads written <layer>.<head>."
    )
    samplers: Mapping[Key, Sampler] = Field(
        default_factory=lambda: {"rows": Sampler()}, min_length=1, description="Ways of drawing marginals."
    )
    importance: tuple[
        Literal[
            "gradient",
            "gradient_layer_norm",
            "attention_entropy",
            "attention_confidence",
            "separator_attention",
        ],
        ...,
    ] = Field(("gradient", "gradient_layer_norm"), description="Other measures that rank heads.")
    attention_examples: int = Field(
        3,
        ge=0,
        description="Short examples on which everything that heads attend to is stored, for pictures; the same "
        "ids in every language.",
    )
    random_masks: int = Field(10, ge=0, description="Random masks per size.")
    curve: tuple[int, ...] = Field(
        (), description="Numbers of removed players at which every ranking's accuracy is measured."
    )
    zero_shot: int | None = Field(
        None,
        ge=1,
        description="Number of players that every language's Shapley ranking removes in every language; what is "
        "shown to do harm is tried on all of them anyway.",
    )
    zero_shot_from: Annotated[tuple[Key, ...], CUT] = Field(
        (),
        description="Languages whose masks by the other rankings, of the size of what is shown to do harm there and of "
        "`zero_shot`, are tried on every other language too; random masks of these sizes as well.",
    )
    resamples: int = Field(10_000, ge=1000, description="Bootstrap resamples of the pruning tests.")

    @field_validator("groups")
    @classmethod
    def _heads_are_named(cls, groups: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for name in (name for group in groups for name in group):
            if not re.fullmatch(r"\d+\.\d+", name):
                raise ValueError(f"`{name}` is no head; write <layer>.<head>, such as 3.0")
        return groups

    @model_validator(mode="after")
    def _something_to_try(self) -> Heads:
        if self.zero_shot_from and not self.importance:
            raise ValueError("zero_shot_from: there are no other rankings; name some under `importance`")
        return self

    @model_validator(mode="after")
    def _groups_given(self) -> Heads:
        dotted = [key for key in self.samplers if "." in key]
        if dotted:
            raise ValueError(f"samplers: `{dotted[0]}` holds a dot, which sets names of files apart")
        wanted = [key for key, sampler in self.samplers.items() if "group" in sampler.players]
        if wanted and not self.groups:
            raise ValueError(f"groups: sampler `{wanted[0]}` has players of kind `group`, but none are given")
        return self
