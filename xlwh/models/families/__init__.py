"""One adapter per model family: what a capability must know about an architecture, asked in one way.

Adding a family is one file with a `Family` subclass and one line in `FAMILIES`. Importing this package does
not import torch.
"""

from __future__ import annotations

from typing import Any

from xlwh.errors import ModelError
from xlwh.models.families.base import AttentionKind, AttentionSite, Family, HiddenSite, Layer, Stack
from xlwh.models.families.bert import Bert
from xlwh.models.families.decoder import Decoder
from xlwh.models.families.roberta import Roberta
from xlwh.models.families.t5 import T5
from xlwh.models.families.xlm import Xlm

FAMILIES: tuple[Family, ...] = (
    Bert(),
    Roberta(),
    Xlm(),
    T5(),
    Decoder(),
)
"""Every family that works."""

_BY_TYPE = {model_type: family for family in FAMILIES for model_type in family.model_types}


def family_of(model: Any) -> Family:
    """The family of a model, of its configuration, or of a `model_type` name; ModelError where there is none."""
    config = getattr(model, "config", model)
    model_type = config if isinstance(config, str) else getattr(config, "model_type", None)
    if model_type not in _BY_TYPE:
        raise ModelError(
            f"Architecture `{model_type}` has no adapter. There are: {', '.join(sorted(_BY_TYPE))}. "
            "A new family is one file in xlwh/models/families and one line in its FAMILIES."
        )
    return _BY_TYPE[model_type]


__all__ = [
    "FAMILIES",
    "AttentionKind",
    "AttentionSite",
    "Family",
    "HiddenSite",
    "Layer",
    "Stack",
    "family_of",
]
