"""The model families: what a capability must know about an architecture, asked in one way.

A family is a description in `FAMILIES` (xlwh/models/families/described.py). Importing this package does not import
torch.
"""

from __future__ import annotations

from typing import Any

from xlwh.errors import ModelError
from xlwh.models.families.base import (
    ONCE,
    AttentionKind,
    AttentionSite,
    Call,
    Family,
    HiddenSite,
    Layer,
    Stack,
)
from xlwh.models.families.described import FAMILIES

_BY_TYPE = {model_type: family for family in FAMILIES for model_type in family.model_types}


def family_of(model: Any) -> Family:
    """The family of a model, of its configuration, or of a `model_type` name; ModelError where there is none."""
    config = getattr(model, "config", model)
    model_type = config if isinstance(config, str) else getattr(config, "model_type", None)
    if model_type not in _BY_TYPE:
        raise ModelError(
            f"Architecture `{model_type}` has no adapter. There are: {', '.join(sorted(_BY_TYPE))}. "
            "A new family is a description in xlwh/models/families/described.py."
        )
    return _BY_TYPE[model_type]


__all__ = [
    "FAMILIES",
    "ONCE",
    "AttentionKind",
    "AttentionSite",
    "Call",
    "Family",
    "HiddenSite",
    "Layer",
    "Stack",
    "family_of",
]
