"""Gates on attention heads, over every family, per row and per head."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from architectures import every_classifier, with_own_weights

from xlwh.errors import ModelError
from xlwh.models import LoadedModel, Zoo
from xlwh.models.batches import Batch, collate
from xlwh.models.families import family_of
from xlwh.models.gates import gated, open_gates
from xlwh.models.tokenize import encode

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
PAIRS = [
    ("The cat sits on the mat.", "Der Hund schläft!"),
    ("El niño come", "他说，我回来了。"),
    ("cat", "on"),
]


@pytest.fixture(params=[*every_classifier(MODEL_TYPES), "bert-eager", "mini-x11"])
def loaded(
    request: pytest.FixtureRequest, checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]
) -> LoadedModel:
    if request.param == "mini-x11":
        folder = request.getfixturevalue("shared") / "models" / "mini-x11"
        return zoo_of(m={"path": str(folder)}).load("m")
    model_type = request.param.removesuffix("-eager")
    options = {"attention": "eager"} if request.param.endswith("-eager") else {}
    return zoo_of(m={"path": str(checkpoint(model_type)), **options}).load("m")


@pytest.fixture
def batch(loaded: LoadedModel, frame: Callable[..., pl.DataFrame]) -> Batch:
    encoded = encode(loaded, frame(PAIRS))
    return collate(loaded, encoded, np.arange(3), int(encoded.lengths.max()) + 2)


def logits(loaded: LoadedModel, batch: Batch, gates: torch.Tensor | None = None) -> torch.Tensor:
    with torch.inference_mode():
        if gates is None:
            return loaded.model(**batch.inputs(loaded)).logits
        with gated(loaded.model, gates):
            return loaded.model(**batch.inputs(loaded)).logits


def random_gates(loaded: LoadedModel, rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = open_gates(loaded.model, rows).shape
    return torch.randint(0, 2, shape, generator=generator).float()


@pytest.mark.parametrize("rows", [1, 3])
def test_open_gates_change_nothing(loaded: LoadedModel, batch: Batch, rows: int) -> None:
    plain = logits(loaded, batch)
    assert (logits(loaded, batch, open_gates(loaded.model, rows)) - plain).abs().max() <= 1e-5


def test_closed_gates_leave_the_projections_bias_alone(loaded: LoadedModel, batch: Batch) -> None:
    sites = family_of(loaded.model).attention_sites(loaded.model)
    for index, site in enumerate(sites):
        gates = open_gates(loaded.model)
        gates[:, index] = 0
        outputs: list[torch.Tensor] = []
        hook = site.output.register_forward_hook(lambda _, __, output, seen=outputs: seen.append(output))
        logits(loaded, batch, gates)
        hook.remove()
        bias = site.output.bias
        (output,) = outputs[site.call.number : site.call.number + 1]
        expected = torch.zeros(output.shape[-1]) if bias is None else bias
        assert torch.equal(output, expected.expand_as(output))


def test_gates_equal_zeroing_the_projections_input_columns(loaded: LoadedModel, batch: Batch) -> None:
    gates = random_gates(loaded, 1)
    model = with_own_weights(loaded.model)
    for index, site in enumerate(family_of(model).attention_sites(model)):
        closed = (gates[0, index] == 0).nonzero()[:, 0].tolist()
        site.output.weight.data = site.without(site.output.weight, closed)
    with torch.inference_mode():
        expected = model(**batch.inputs(loaded)).logits
    found = logits(loaded, batch, gates)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (found - logits(loaded, batch)).abs().max() > 1e-3


def test_each_row_has_its_own_gates(loaded: LoadedModel, batch: Batch) -> None:
    gates = random_gates(loaded, 3)
    assert not torch.equal(gates[0], gates[1])
    together = logits(loaded, batch, gates)
    for row in range(3):
        alone = logits(loaded, batch, gates[row : row + 1])
        torch.testing.assert_close(together[row], alone[row], atol=1e-5, rtol=1e-5)


def test_gates_are_gone_afterwards_even_after_an_error(loaded: LoadedModel, batch: Batch) -> None:
    plain = logits(loaded, batch)
    with pytest.raises(RuntimeError, match="stop"), gated(loaded.model, open_gates(loaded.model) * 0):
        raise RuntimeError("stop")
    assert torch.equal(logits(loaded, batch), plain)


def test_gradients_reach_the_gates(loaded: LoadedModel, batch: Batch) -> None:
    gates = open_gates(loaded.model, 3).requires_grad_(True)
    with gated(loaded.model, gates):
        loaded.model(**batch.inputs(loaded)).logits.flatten(1)[:, 0].sum().backward()
    assert gates.grad is not None
    assert gates.grad.shape == gates.shape
    assert (gates.grad[0].abs().amax(dim=-1) > 0).any()


def test_nested_gates_multiply(loaded: LoadedModel, batch: Batch) -> None:
    one, two = random_gates(loaded, 1), random_gates(loaded, 1).flip(-1)
    with gated(loaded.model, one):
        nested = logits(loaded, batch, two)
    torch.testing.assert_close(nested, logits(loaded, batch, one * two), atol=1e-6, rtol=1e-6)


def test_gates_that_do_not_fit_are_refused(loaded: LoadedModel, batch: Batch) -> None:
    good = open_gates(loaded.model)
    for bad in (good[:, :-1], good[..., :-1], good[0]):
        with pytest.raises(ModelError, match="do not fit"), gated(loaded.model, bad):
            pytest.fail("entered")
    with pytest.raises(ModelError, match="Gates for 2 rows, but the batch has 3"):
        logits(loaded, batch, open_gates(loaded.model, 2))


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3"])
def test_with_grouped_queries_a_player_is_a_query_head(
    model_type: str,
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
) -> None:
    loaded = zoo_of(m={"path": str(checkpoint(model_type))}).load("m")
    assert loaded.config.num_key_value_heads < loaded.config.num_attention_heads
    gates = open_gates(loaded.model)
    assert gates.shape[2] == loaded.config.num_attention_heads
    # Closing one head of a group leaves the columns of the other, which shares its keys and values, as they were.
    gates[:, 0, 0] = 0
    site = family_of(loaded.model).attention_sites(loaded.model)[0]
    encoded = encode(loaded, frame(PAIRS))
    batch = collate(loaded, encoded, np.arange(3), int(encoded.lengths.max()))
    seen: list[torch.Tensor] = []
    for context in (nullcontext(), gated(loaded.model, gates)):
        with context, torch.inference_mode():
            hook = site.output.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
            loaded.model(**batch.inputs(loaded))
            hook.remove()
    before, after = (columns.unflatten(-1, (site.num_heads, site.head_size)) for columns in seen)
    assert after[:, :, 0].abs().max() == 0
    assert torch.equal(after[:, :, 1:], before[:, :, 1:])
