"""Twins with shuffled weights: same numbers in other places, seeded, head or all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from xlwh.models import Zoo


@pytest.mark.parametrize("family", ["bert", "t5", "llama"])
def test_weights_are_shuffled_where_asked(
    family: str, checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]
) -> None:
    zoo = zoo_of(
        m={"path": str(checkpoint(family))},
        all={"weights_of": "m", "randomization": {}},
        again={"weights_of": "m", "randomization": {"seed": 1}},
        head={"weights_of": "m", "randomization": {"parts": "head"}},
    )
    original = dict(zoo.load("m").model.named_parameters())
    twins = {key: dict(zoo.load(key).model.named_parameters()) for key in ("all", "head")}
    assert {name for name, weight in original.items() if weight.dim() > 1} <= set(twins["all"])
    for name, weight in original.items():
        shuffled = twins["all"][name]
        assert torch.equal(shuffled.flatten().sort().values, weight.flatten().sort().values)
        if weight.dim() > 1:
            assert not torch.equal(shuffled, weight)
            body = name.startswith(zoo.load("m").model.base_model_prefix + ".")
            assert torch.equal(twins["head"][name], weight) == body
    again = dict(zoo.load("again").model.named_parameters())
    wide = next(name for name, weight in original.items() if weight.dim() > 1)
    assert not torch.equal(again[wide], twins["all"][wide])
    hashes = {key: zoo.pin(key).weight_hash for key in ("m", "all", "again", "head")}
    assert len(set(hashes.values())) == 4
    assert zoo.pin("all").tokenizer_hash == zoo.pin("m").tokenizer_hash


def test_a_twin_needs_an_original(zoo_of: Callable[..., Zoo]) -> None:
    with pytest.raises(ValueError, match="give it to a model with `weights_of` another one"):
        zoo_of(m={"path": "x", "randomization": {}})
