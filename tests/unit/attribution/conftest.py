"""Tiny classifiers of every family with a few examples to explain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch

from xlwh.attribution.base import Item
from xlwh.models import LoadedModel, Zoo
from xlwh.models.tokenize import Encoded, encode

FAMILIES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
Case = tuple[LoadedModel, Encoded, list[Item]]


@pytest.fixture
def case_of(
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
) -> Callable[..., Case]:
    """case_of(family, scale=2): a loaded classifier, three encoded examples, an item for each."""

    def build(family: str, scale: float = 2) -> Case:
        loaded = zoo_of(m={"path": str(checkpoint(family))}).load("m")
        if family not in ("t5", "mt5"):
            # Random weights hardly react to their input: scaled up, there is something to explain.
            with torch.no_grad():
                for name, weight in loaded.model.named_parameters():
                    if weight.dim() > 1 and "embed" not in name:
                        weight.mul_(scale)
        encoded = encode(loaded, frame([*pairs[:2], ("", "Hund")]))
        return loaded, encoded, [Item(row, row % 3) for row in range(len(encoded))]

    return build


@pytest.fixture(params=FAMILIES)
def any_case(request: pytest.FixtureRequest, case_of: Callable[[str], Case]) -> Case:
    """A case of every family in turn."""
    return case_of(request.param)
