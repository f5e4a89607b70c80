"""The contract of a family adapter, over every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from architectures import every_classifier

from xlwh.errors import ModelError
from xlwh.models import LoadedModel, Zoo
from xlwh.models.batches import Batch, collate
from xlwh.models.families import FAMILIES, family_of
from xlwh.models.tokenize import encode

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
SITES = dict.fromkeys(("t5", "mt5", "umt5", "mbart"), 2 + 2)
PAIRS = [
    ("The cat sits on the mat.", "Der Hund schläft!"),
    ("El niño come", "他说，我回来了。"),
    ("cat", "on"),
]


@pytest.fixture(params=every_classifier(MODEL_TYPES))
def loaded(
    request: pytest.FixtureRequest, checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]
) -> LoadedModel:
    return zoo_of(m={"path": str(checkpoint(request.param))}).load("m")


@pytest.fixture
def batch(loaded: LoadedModel, frame: Callable[..., pl.DataFrame]) -> Batch:
    """Three pairs of different lengths, padded."""
    encoded = encode(loaded, frame(PAIRS))
    assert len(set(encoded.lengths.tolist())) == 3
    return collate(loaded, encoded, np.arange(3), int(encoded.lengths.max()) + 3)


def logits(loaded: LoadedModel, inputs: dict[str, Any]) -> torch.Tensor:
    with torch.inference_mode():
        return loaded.model(**inputs).logits


def through_embedding(loaded: LoadedModel, inputs: dict[str, Any], vectors: torch.Tensor) -> torch.Tensor:
    """Logits with the word embedding's output replaced."""
    hook = loaded.family.word_embedding(loaded.model).register_forward_hook(lambda *_: vectors)
    try:
        return logits(loaded, inputs)
    finally:
        hook.remove()


def test_a_padded_batch_gives_each_row_what_the_model_gives_it_alone(
    loaded: LoadedModel, batch: Batch
) -> None:
    together = logits(loaded, batch.inputs(loaded))
    for row in range(3):
        real = batch.attention_mask[row].bool()
        # No mask, no positions: what transformers derives itself from an input without padding.
        plain: dict[str, Any] = {"input_ids": batch.input_ids[row][real][None]}
        if batch.token_type_ids is not None:
            plain["token_type_ids"] = batch.token_type_ids[row][real][None]
        torch.testing.assert_close(together[row], logits(loaded, plain)[0], atol=1e-5, rtol=1e-5)


def test_the_word_embedding_is_called_once_with_the_real_ids(loaded: LoadedModel, batch: Batch) -> None:
    calls = []
    module = loaded.family.word_embedding(loaded.model)
    hook = module.register_forward_hook(lambda _, arguments, output: calls.append((arguments[0], output)))
    logits(loaded, batch.inputs(loaded))
    hook.remove()
    ((ids, vectors),) = calls
    assert torch.equal(ids, batch.input_ids)
    assert vectors.shape == (*batch.input_ids.shape, loaded.family.vector_size(loaded.model))


def test_replacing_word_vectors_moves_nothing_else(loaded: LoadedModel, batch: Batch) -> None:
    inputs = batch.inputs(loaded)
    module = loaded.family.word_embedding(loaded.model)
    pads = torch.full_like(batch.input_ids, loaded.tokenizer.pad_token_id)
    baseline = module(torch.where(batch.special, batch.input_ids, pads))
    replaced = through_embedding(loaded, inputs, baseline)
    assert (replaced - logits(loaded, inputs)).abs().max() > 1e-3
    if loaded.family.decoder_input is not None:
        # Its classifier refuses vectors; the encoder and the decoder's real input are checked apart.
        body = loaded.model.base_model
        with torch.inference_mode():
            encoded = body.encoder(inputs_embeds=baseline, attention_mask=inputs["attention_mask"])
        expected = logits(loaded, inputs | {"encoder_outputs": encoded})
    else:
        given = {name: value for name, value in inputs.items() if name != "input_ids"}
        expected = logits(loaded, given | {"inputs_embeds": baseline})
    torch.testing.assert_close(replaced, expected, atol=1e-5, rtol=1e-5)


def test_gradients_reach_the_word_vectors_of_real_tokens_only(loaded: LoadedModel, batch: Batch) -> None:
    module = loaded.family.word_embedding(loaded.model)
    vectors = module(batch.input_ids).detach().requires_grad_(True)
    hook = module.register_forward_hook(lambda *_: vectors)
    loaded.model(**batch.inputs(loaded)).logits[:, 0].sum().backward()
    hook.remove()
    assert vectors.grad is not None
    norms = vectors.grad.norm(dim=-1)
    assert (norms[batch.attention_mask == 0] == 0).all()
    assert (norms.amax(dim=1) > 0).all()


def test_everything_is_spelled_out(loaded: LoadedModel, batch: Batch) -> None:
    inputs = batch.inputs(loaded)
    assert torch.equal(inputs["input_ids"], batch.input_ids)
    assert torch.equal(inputs["attention_mask"], batch.attention_mask)
    if loaded.family.decoder_input is not None:
        assert {"decoder_input_ids", "decoder_attention_mask"} <= set(inputs)
        return
    real = batch.attention_mask.bool()
    if loaded.family.positions is None:
        assert "position_ids" not in inputs
        return
    first = loaded.tokenizer.pad_token_id + 1 if loaded.family.positions == "after_padding_id" else 0
    for row in range(3):
        positions = inputs["position_ids"][row][real[row]]
        assert torch.equal(positions, torch.arange(first, first + len(positions)))


def test_sites_are_where_heads_lie_side_by_side(loaded: LoadedModel) -> None:
    family, config = loaded.family, loaded.config
    sites = family.attention_sites(loaded.model)
    model_type = config.model_type
    assert len(sites) == SITES.get(model_type, 2)
    for index, site in enumerate(sites):
        assert family.attention_output(loaded.model, index) is site.output
        assert (
            (site.num_heads, site.head_size)
            == (family.num_heads(config), family.head_size(config))
            == (
                4,
                8 if model_type in ("qwen3", "gemma", "gemma2", "gemma3_text") else 6,
            )
        )
        weight = site.output.weight
        rows = weight if type(site.output).__name__ == "Conv1D" else weight.T
        assert len(rows) == site.num_heads * site.head_size
        # A head's part of the projection, and nothing else, is zeroed.
        assert (site.without(weight, [1]) != weight).sum() == site.head_size * rows.shape[1]
    kinds = [(site.kind, site.layer) for site in sites]
    if model_type in SITES:
        assert kinds == [("encoder", 0), ("encoder", 1), ("decoder", 0), ("cross", 0)]
    else:
        assert [layer for _, layer in kinds] == [0, 1]
    assert family.num_layers(config) == (3 if model_type in SITES else 2)


def test_padding_is_on_the_side_of_the_family(loaded: LoadedModel, batch: Batch) -> None:
    left = loaded.family.blocks[0].stack == "decoder"
    assert (loaded.family.padding_side == "left") == left
    assert loaded.tokenizer.padding_side == loaded.family.padding_side
    assert batch.attention_mask[:, 0].all().item() != left
    assert (batch.input_ids[batch.attention_mask == 0] == loaded.tokenizer.pad_token_id).all()
    assert not batch.special[batch.attention_mask == 0].any()


def test_special_ids_hold_what_gives_the_input_its_structure(loaded: LoadedModel, batch: Batch) -> None:
    ids = loaded.family.special_ids(loaded.tokenizer)
    assert loaded.tokenizer.pad_token_id in ids
    separator = loaded.tokenizer(loaded.family.pair_separator, add_special_tokens=False)["input_ids"]
    language = {loaded.tokenizer.convert_tokens_to_ids("en_XX")} if loaded.family.name == "mbart" else set()
    assert set(batch.input_ids[batch.special].tolist()) <= ids | set(separator) | language


@pytest.mark.parametrize("head", ["ForMaskedLM", "ForCausalLM", "ForConditionalGeneration", ""])
def test_other_heads_run_on_the_same_inputs(
    head: str, checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame]
) -> None:
    model_types = {
        "ForMaskedLM": ("bert", "xlm-roberta", "xlm"),
        "ForCausalLM": ("llama", "qwen3"),
        "ForConditionalGeneration": ("t5", "mt5"),
        "": ("roberta", "t5", "mt5", "qwen2"),
    }[head]
    for model_type in model_types:
        loaded = zoo_of(m={"path": str(checkpoint(model_type, head))}).load("m")
        encoded = encode(loaded, frame(PAIRS))
        inputs = collate(loaded, encoded, np.arange(3), 48).inputs(loaded)
        assert type(loaded.model).__name__ == loaded.pin.architecture
        assert loaded.task == ("translation" if head == "ForConditionalGeneration" else None)
        with torch.inference_mode():
            first = loaded.model(**inputs)[0]
        assert torch.isfinite(first).all()
        assert first.shape[:2] == ((3, 1) if model_type in SITES else (3, 48))


def test_families_are_found_by_model_configuration_or_name() -> None:
    for family in FAMILIES:
        for model_type in family.model_types:
            config = SimpleNamespace(model_type=model_type)
            assert (
                family_of(model_type)
                is family_of(config)
                is family_of(SimpleNamespace(config=config))
                is family
            )
    names = [model_type for family in FAMILIES for model_type in family.model_types]
    assert len(set(names)) == len(names)
    assert set(MODEL_TYPES) <= set(names)
    with pytest.raises(ModelError, match="Architecture `gpt9` has no adapter"):
        family_of("gpt9")


def test_mini_x11_keeps_the_contract(
    shared: Path, zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = zoo_of(mini={"path": str(shared / "models" / "mini-x11")}).load("mini")
    batch = collate(loaded, encode(loaded, frame(PAIRS)), np.arange(3), 40)
    together = logits(loaded, batch.inputs(loaded))
    for row in range(3):
        real = batch.attention_mask[row].bool()
        alone = logits(loaded, {"input_ids": batch.input_ids[row][real][None]})[0]
        torch.testing.assert_close(together[row][real], alone, atol=1e-4, rtol=1e-4)
    sites = loaded.family.attention_sites(loaded.model)
    assert [(site.num_heads, site.head_size, site.output.in_features) for site in sites] == [
        (12, 32, 384)
    ] * 6
