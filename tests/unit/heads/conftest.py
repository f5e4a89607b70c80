"""Small games on tiny models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from xlwh.heads.engine import Engine
from xlwh.heads.players import Players, players_of
from xlwh.heads.scores import Gold, gold_of
from xlwh.models import LoadedModel, Zoo
from xlwh.models.batches import collate
from xlwh.models.gates import gated
from xlwh.models.tokenize import Encoded, encode

PAIRS: list[tuple[str, str | None]] = [
    ("The cat sits on the mat.", "Der Hund schläft!"),
    ("El niño come", "他说，我回来了。"),
    ("cat", "on"),
    ("The cat doesn't sit on the mat.", "The cat doesn't sit on the mat. It's well-known."),
]


@dataclass(frozen=True)
class Game:
    """A model, some examples, and everything an engine needs."""

    loaded: LoadedModel
    encoded: Encoded
    gold: Gold
    examples: pl.DataFrame

    def players(self, *kinds: str, groups: Any = ()) -> Players:
        sites = self.loaded.family.attention_sites(self.loaded.model)
        return players_of(kinds or ("head",), len(sites), sites[0].num_heads, groups)

    def engine(self, *kinds: str, measure: Any = "accuracy", groups: Any = ()) -> Engine:
        return Engine(self.loaded, self.encoded, self.players(*kinds, groups=groups), self.gold, measure)

    def naive(self, example: int, gates: torch.Tensor) -> torch.Tensor:
        """Logits of one example alone under gates `[layers, heads]`, by the model's own forward pass."""
        length = int(self.encoded.lengths[example])
        batch = collate(self.loaded, self.encoded, np.array([example]), length)
        with torch.inference_mode(), gated(self.loaded.model, gates[None].float()):
            return self.loaded.model(**batch.inputs(self.loaded)).logits[0]


@pytest.fixture
def game(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame]
) -> Callable[..., Game]:
    """game(model_type): a game of all heads on a tiny classifier and four sentence pairs."""

    def build(model_type: str = "bert", pairs: Any = None, **entries: Any) -> Game:
        loaded = zoo_of(m={"path": str(checkpoint(model_type, **entries))}).load("m")
        examples = frame(pairs or PAIRS)
        encoded = encode(loaded, examples)
        return Game(loaded, encoded, gold_of(loaded, encoded, examples), examples)

    return build
