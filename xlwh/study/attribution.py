"""Token attributions: methods and what they explain."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xlwh.study.base import Part


class Lig(Part):
    """Layer integrated gradients along the path from a PAD baseline."""

    quadrature: Literal["adaptive", "fixed"] = Field(
        "adaptive", description="Adaptive panels, or `fixed` Gauss-Legendre (the papers' variant)."
    )
    tolerance: float = Field(
        0.01, gt=0, description="Completeness error allowed, relative to |F(x) - F(baseline)|."
    )
    steps: int = Field(50, ge=1, description="Nodes of the fixed quadrature.")
    max_rows: int = Field(
        3200, ge=16, description="Gradient rows after which an example is flagged unconverged."
    )


class RandomAttribution(Part):
    """Mean of seeded uniform draws: the floor that every method has to beat."""

    draws: int = Field(10, ge=1)


class Methods(Part):
    lig: Lig | None = Field(default_factory=Lig)
    random: RandomAttribution | None = Field(default_factory=RandomAttribution)


class Attribution(Part):
    """What is attributed, and how."""

    max_examples: int | None = Field(
        None, ge=1, description="Examples per dataset, the same ids in every language; default: all."
    )
    target: Literal["source_prediction", "own_prediction", "gold"] = Field(
        "source_prediction", description="Class that is explained on both sides of a pair."
    )
    methods: Methods = Field(default_factory=Methods)
    batch_tokens: int = Field(
        2048, ge=64, description="Sub-tokens per model call: the memory bound of attribution."
    )
