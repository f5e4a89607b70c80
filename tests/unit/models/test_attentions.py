"""Attention weights and their gradients, over every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from xlwh.errors import ModelError
from xlwh.models import LoadedModel, Zoo
from xlwh.models.attentions import (
    attentions,
    eager_attention,
    input_gradients,
    last_reading_site,
    rows_at,
)
from xlwh.models.batches import Batch, collate
from xlwh.models.hidden import hidden_states
from xlwh.models.reading import read_positions
from xlwh.models.tokenize import encode

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
PAIRS = [
    ("The cat sits on the mat.", "Der Hund schläft!"),
    ("El niño come", "他说，我回来了。"),
    ("cat", "on"),
]


@pytest.fixture(params=[*MODEL_TYPES, "mini-x11"])
def loaded(
    request: pytest.FixtureRequest, checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]
) -> LoadedModel:
    if request.param == "mini-x11":
        return zoo_of(m={"path": str(request.getfixturevalue("shared") / "models" / "mini-x11")}).load("m")
    return zoo_of(m={"path": str(checkpoint(request.param))}).load("m")


@pytest.fixture
def batch(loaded: LoadedModel, frame: Callable[..., pl.DataFrame]) -> Batch:
    encoded = encode(loaded, frame(PAIRS))
    return collate(loaded, encoded, np.arange(3), int(encoded.lengths.max()) + 2)


def test_weights_are_distributions_over_real_tokens(loaded: LoadedModel, batch: Batch) -> None:
    with torch.inference_mode():
        found = attentions(loaded, batch.inputs(loaded))
    sites = loaded.family.attention_sites(loaded.model)
    length = batch.input_ids.shape[1]
    assert list(found.weights) == list(range(len(sites)))
    real = batch.attention_mask.bool()
    for index, weights in found.weights.items():
        assert weights.shape == (3, sites[index].num_heads, length, length)
        for row in range(3):
            # Rows of padded queries may attend to anything.
            queries = weights[row][:, real[row]]
            torch.testing.assert_close(queries.sum(-1), torch.ones(queries.shape[:2]), atol=1e-5, rtol=1e-5)
            if sites[index].kind != "decoder" or loaded.family.name == "decoder":
                assert queries[..., ~real[row]].abs().max() == 0


def test_the_implementation_is_as_before_and_the_output_the_same(loaded: LoadedModel, batch: Batch) -> None:
    inputs = batch.inputs(loaded)
    with torch.inference_mode():
        plain = loaded.model(**inputs)[0]
        found = attentions(loaded, inputs, [-1])
        assert loaded.config._attn_implementation == loaded.family.attention[0]
        torch.testing.assert_close(found.output[0], plain, atol=2e-5, rtol=1e-4)
        # What would have come without switching: nothing, and no error.
        if loaded.family.attention[0] == "sdpa":
            silent = loaded.model(**inputs, output_attentions=True)
            weights = silent.encoder_attentions if loaded.family.name == "t5" else silent.attentions
            assert not weights or all(weight is None for weight in weights)
        with eager_attention(loaded.model):
            assert loaded.config._attn_implementation == "eager"
        with pytest.raises(RuntimeError, match="stop"), eager_attention(loaded.model):
            raise RuntimeError("stop")
        assert torch.equal(loaded.model(**inputs)[0], plain)


def test_gradients_agree_with_differences(loaded: LoadedModel, batch: Batch) -> None:
    """The gradient to the last reading attention, along the weights: d F / d scale when they are all scaled."""
    site = last_reading_site(loaded)
    inputs = batch.inputs(loaded)
    with input_gradients(loaded):
        found = attentions(loaded, inputs, [site])
    f = found.output[0].flatten(1)[:, 0]
    (gradient,) = found.gradients(f).values()
    assert gradient.shape == found.weights[site].shape
    # Scaling one block's weights is scaling its heads' output, before the projection.
    along = (gradient * found.weights[site]).sum(dim=(1, 2, 3))
    output = loaded.family.attention_sites(loaded.model)[site].output
    step, values = 1e-2, []
    for scale in (1 + step, 1 - step):
        hook = output.register_forward_pre_hook(lambda _, args, by=scale: (args[0] * by, *args[1:]))
        with torch.inference_mode(), eager_attention(loaded.model):
            values.append(loaded.model(**inputs)[0].flatten(1)[:, 0])
        hook.remove()
    difference = (values[0] - values[1]) / (2 * step)
    torch.testing.assert_close(along.detach(), difference, atol=5e-3, rtol=2e-2)


def test_the_position_that_the_classifier_reads(loaded: LoadedModel, batch: Batch) -> None:
    site = last_reading_site(loaded)
    inputs = batch.inputs(loaded)
    if loaded.pin.task is None:
        return
    with input_gradients(loaded):
        found = attentions(loaded, inputs, [site])
    (gradient,) = found.gradients(found.output[0][:, 0]).values()
    position = read_positions(loaded, inputs)
    rows = rows_at(found.weights[site], position)
    assert rows.shape == (3, found.weights[site].shape[1], batch.input_ids.shape[1])
    # Of the last attention the logit depends on the row of that position alone.
    magnitude = gradient.abs().amax(dim=(1, 3))
    for row in range(3):
        others = torch.arange(magnitude.shape[1]) != position[row]
        assert magnitude[row, position[row]] > 0
        assert magnitude[row, others].max() == 0


def test_sites_that_do_not_exist_are_refused(loaded: LoadedModel, batch: Batch) -> None:
    with pytest.raises(ModelError, match="has no attention site 99: 0 to"):
        attentions(loaded, batch.inputs(loaded), [99])


def test_the_implementation_asked_for_is_restored(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = zoo_of(m={"path": str(checkpoint("bert")), "attention": "eager"}).load("m")
    inputs = collate(loaded, encode(loaded, frame(PAIRS)), np.arange(3), 48).inputs(loaded)
    with torch.inference_mode():
        assert len(attentions(loaded, inputs).weights) == 2
    assert loaded.config._attn_implementation == "eager"


def test_a_tagger_on_an_encoder_alone_reads_with_the_encoder(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = zoo_of(m={"path": str(checkpoint("mt5", "ForTokenClassification"))}).load("m")
    inputs = collate(loaded, encode(loaded, frame(PAIRS)), np.arange(3), 48).inputs(loaded)
    site = last_reading_site(loaded)
    sites = loaded.family.attention_sites(loaded.model)
    assert (sites[site].kind, site) == ("encoder", len(sites) - 1)
    with torch.inference_mode():
        weights = attentions(loaded, inputs, [site]).weights[site]
        states = hidden_states(loaded, inputs, [-1])
        logits = loaded.model(**inputs).logits
    assert weights.shape == (3, 4, 48, 48)
    assert list(states) == [("encoder", 2)]
    torch.testing.assert_close(loaded.model.classifier(states["encoder", 2]), logits, atol=1e-5, rtol=1e-5)
