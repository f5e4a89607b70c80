"""Which architectures an ordinary test run tries: one of each description; all others are slow."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import pytest

from xlwh.models.families import FAMILIES

ALL = tuple(name for family in FAMILIES for name in family.model_types)
"""Every `model_type` that is described."""


WITHOUT_CLASSIFIER = ("m2m_100", "cohere", "cohere2")
"""Those of which transformers has no classifier."""


def every_architecture(chosen: Collection[str] | None = None, without: Collection[str] = ()) -> list[Any]:
    """All but some as parameters of a test; those that are not `chosen` (None: the first of each family) are slow."""
    first = [family.model_types[0] for family in FAMILIES] if chosen is None else chosen
    return [
        name if name in first else pytest.param(name, marks=pytest.mark.slow)
        for name in ALL
        if name not in without
    ]


def with_own_weights(model: Any) -> Any:
    """A copy in which every layer has weights of its own, equal to those that layers of the model share."""
    twin = copy.deepcopy(model)
    if getattr(model.config, "num_hidden_groups", None) is None:
        return twin
    config = copy.deepcopy(model.config)
    config.num_hidden_groups = config.num_hidden_layers
    twin = type(model)(config).eval()
    state = model.state_dict()
    groups = model.config.num_hidden_groups
    for name in twin.state_dict():
        parts = name.split(".")
        if "albert_layer_groups" in parts:
            place = parts.index("albert_layer_groups") + 1
            parts[place] = str(int(parts[place]) * groups // config.num_hidden_layers)
        twin.state_dict()[name].copy_(state[".".join(parts)])
    return twin


def every_classifier(chosen: Collection[str] | None = None) -> list[Any]:
    """The same for those that have a classifier."""
    return every_architecture(chosen, WITHOUT_CLASSIFIER)
