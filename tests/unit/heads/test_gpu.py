"""The engine on a GPU gives what it gives on the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from xlwh.heads.engine import Engine


@pytest.mark.gpu
def test_walks_on_a_gpu_are_those_on_the_cpu(game):
    built = game("xlm-roberta")
    random = np.random.default_rng(0)
    coalitions = random.random((32, 5, 8)) < 0.7
    examples = random.integers(0, 4, 32)
    here = built.engine(measure="probability").walk(examples, coalitions)
    loaded = replace(built.loaded, device=torch.device("cuda"))
    loaded.model.to("cuda")
    there = Engine(loaded, built.encoded, built.players(), built.gold, "probability").walk(
        examples, coalitions
    )
    np.testing.assert_allclose(there.values, here.values, atol=1e-4)
    np.testing.assert_allclose(there.whole, here.whole, atol=1e-4)
