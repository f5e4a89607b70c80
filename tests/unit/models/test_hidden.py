"""Hidden states of chosen layers, over every family, against transformers' own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from architectures import every_classifier

from xlwh.errors import ModelError
from xlwh.models import LoadedModel, Zoo
from xlwh.models.batches import Batch, collate
from xlwh.models.families import family_of
from xlwh.models.hidden import hidden_states, places
from xlwh.models.hooks import on_call
from xlwh.models.tokenize import encode

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
PAIRS = [
    ("The cat sits on the mat.", "Der Hund schläft!"),
    ("El niño come", "他说，我回来了。"),
    ("cat", "on"),
]


@pytest.fixture(params=[*every_classifier(MODEL_TYPES), "mini-x11"])
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


def reference(loaded: LoadedModel, inputs: dict[str, Any]) -> dict[Any, torch.Tensor]:
    with torch.inference_mode():
        output = loaded.model(**inputs, output_hidden_states=True)
    if loaded.family.decoder_input is not None:
        both = {"encoder": output.encoder_hidden_states, "decoder": output.decoder_hidden_states}
        return {(stack, i): state for stack, states in both.items() for i, state in enumerate(states)}
    stack = loaded.family.blocks[0].stack
    return {(stack, i): state for i, state in enumerate(output.hidden_states)}


def test_every_hidden_state_is_transformers_own(loaded: LoadedModel, batch: Batch) -> None:
    inputs = batch.inputs(loaded)
    expected = reference(loaded, inputs)
    with torch.inference_mode():
        found = hidden_states(loaded, inputs)
    assert list(found) == list(expected) == list(places(loaded.model))
    for place, state in expected.items():
        torch.testing.assert_close(found[place], state, atol=1e-5, rtol=1e-5)
    stacks = {stack for stack, _ in expected}
    assert len(found) == loaded.family.num_layers(loaded.config) + len(stacks)


def test_one_layer_alone_is_the_same(loaded: LoadedModel, batch: Batch) -> None:
    inputs = batch.inputs(loaded)
    for (stack, layer), state in reference(loaded, inputs).items():
        with torch.inference_mode():
            found = hidden_states(loaded, inputs, [layer], [stack])
        assert list(found) == [(stack, layer)]
        torch.testing.assert_close(found[stack, layer], state, atol=1e-5, rtol=1e-5)


def test_nothing_is_computed_beyond_the_last_layer_asked_for(loaded: LoadedModel, batch: Batch) -> None:
    calls: list[tuple[str, int]] = []
    layers = loaded.family.layers(loaded.model)
    with ExitStack() as hooks:
        for layer in layers:

            def note(*_: Any, place: tuple[str, int] = (layer.stack, layer.index)) -> None:
                calls.append(place)

            hooks.enter_context(on_call(loaded.model, layer.module, layer.call, "input", note))
        stack = layers[0].stack
        hidden_states(loaded, batch.inputs(loaded), [0, 1], [stack])
        assert [place for place in calls if place != (stack, 1)] == [(stack, 0)]
        calls.clear()
        loaded.model(**batch.inputs(loaded))
        assert calls == [(layer.stack, layer.index) for layer in layers]


def test_no_hook_stays_behind(loaded: LoadedModel, batch: Batch) -> None:
    inputs = batch.inputs(loaded)
    before = loaded.model(**inputs)[0]
    hidden_states(loaded, inputs, [-1])
    with pytest.raises(IndexError):
        hidden_states(loaded, inputs | {"input_ids": torch.full_like(batch.input_ids, 10**9)}, [0])
    assert torch.equal(loaded.model(**inputs)[0], before)


def test_gradients_flow_where_they_are_enabled(loaded: LoadedModel, batch: Batch) -> None:
    vectors = loaded.family.word_embedding(loaded.model)(batch.input_ids).detach().requires_grad_(True)
    hook = loaded.family.word_embedding(loaded.model).register_forward_hook(lambda *_: vectors)
    stack = loaded.family.layers(loaded.model)[0].stack
    (state,) = hidden_states(loaded, batch.inputs(loaded), [-1], [stack]).values()
    hook.remove()
    (gradient,) = torch.autograd.grad(state[:, 0, 0].sum() + state[:, -1, 0].sum(), vectors)
    assert (gradient.flatten(1).abs().amax(dim=1) > 0).all()


def test_layers_that_do_not_exist_are_refused(loaded: LoadedModel, batch: Batch) -> None:
    stack = loaded.family.layers(loaded.model)[0].stack
    with pytest.raises(ModelError, match=r"has no layer 9 in its (en|de)coder: 0 \(embeddings\) to"):
        hidden_states(loaded, batch.inputs(loaded), [9])
    if loaded.family.decoder_input is None:
        other = "encoder" if stack == "decoder" else "decoder"
        with pytest.raises(ModelError, match=f"has no {other}; it has: {stack}"):
            hidden_states(loaded, batch.inputs(loaded), [0], [other])


def test_an_output_text_can_be_forced_on_the_decoder(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = zoo_of(m={"path": str(checkpoint("mt5", "ForConditionalGeneration"))}).load("m")
    source, target = (encode(loaded, frame([(pair[side], None) for pair in PAIRS])) for side in (0, 1))
    inputs = collate(loaded, source, np.arange(3), 40).inputs(loaded)
    forced = collate(loaded, target, np.arange(3), int(target.lengths.max()))
    inputs = loaded.family.teacher_forced(loaded.model, inputs, forced.input_ids, forced.attention_mask)
    with torch.inference_mode():
        logits = loaded.model(**inputs).logits
        states = hidden_states(loaded, inputs, [-1])
        for row in range(3):
            real = forced.attention_mask[row].bool()
            labels = forced.input_ids[row][real][None]
            alone = loaded.model(
                input_ids=inputs["input_ids"][row][inputs["attention_mask"][row].bool()][None], labels=labels
            )
            torch.testing.assert_close(logits[row][real], alone.logits[0], atol=1e-4, rtol=1e-4)
    assert states["decoder", 1].shape[:2] == forced.input_ids.shape
    bert = zoo_of(m={"path": str(checkpoint("bert"))}).load("m")
    with pytest.raises(ModelError, match="has no decoder"):
        family_of(bert.model).teacher_forced(bert.model, {}, forced.input_ids, forced.attention_mask)
