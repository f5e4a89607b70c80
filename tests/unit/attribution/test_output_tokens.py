"""Attributions of one token that a model writes: a translation's, given its forced beginning, or the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from xlwh.attribution.base import Item
from xlwh.attribution.lig import lig
from xlwh.models import LoadedModel, Zoo
from xlwh.models.tokenize import encode
from xlwh.models.translation import encode_translations
from xlwh.study import Lig
from xlwh.study.models import Inputs

PAIRS = [("The cat sits on the mat.", "Der Hund schläft!"), ("El niño come", "cat"), ("cat", "on the mat")]
PARAMETERS = Lig(tolerance=0.01, max_rows=3200)


@pytest.fixture
def load(checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo]) -> Callable[[str, str], LoadedModel]:
    return lambda model_type, head: zoo_of(m={"path": str(checkpoint(model_type, head))}).load("m")


def test_a_token_of_a_translation_given_those_before_it(
    load: Callable[[str, str], LoadedModel], frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = load("mt5", "ForConditionalGeneration")
    encoded = encode_translations(loaded, frame(PAIRS), Inputs())
    assert encoded.forced is not None
    items = [
        Item(example, ids[position], position)
        for example, ids in enumerate(encoded.forced)
        for position in (0, len(ids) - 1)
    ]
    results = dict(lig(loaded, encoded, items, PARAMETERS, 512))
    for index, item in enumerate(items):
        found = results[index]
        source = torch.from_numpy(encoded.input_ids[encoded.row(item.example)].astype(np.int64))[None]
        special = torch.from_numpy(encoded.special[encoded.row(item.example)])[None]
        labels = torch.tensor([encoded.forced[item.example]])
        for ids, value in (
            (source, found.f_input),
            (torch.where(special, source, loaded.tokenizer.pad_token_id), found.f_baseline),
        ):
            with torch.inference_mode():
                # The baseline's PADs are seen, as the words in their places are.
                logits = loaded.model(
                    input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels
                ).logits
            assert value == pytest.approx(float(logits[0, item.position, item.target]), abs=1e-4)
        assert found.relative_delta is not None
        assert found.relative_delta <= 0.01
        assert len(found.values) == source.shape[1]
    # What is forced after the token does not matter to it.
    shorter = replace(encoded, forced=[ids[:1] for ids in encoded.forced])
    again = dict(lig(loaded, shorter, items[:1], PARAMETERS, 512))
    np.testing.assert_allclose(again[0].values, results[0].values, atol=1e-5)


@pytest.mark.parametrize("model_type", ["llama", "qwen3"])
def test_the_next_token_of_a_language_model(
    model_type: str, load: Callable[[str, str], LoadedModel], frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = load(model_type, "ForCausalLM")
    encoded = encode(loaded, frame([(text, None) for text, _ in PAIRS]))
    items = [
        Item(example, 7, position)
        for example, length in enumerate(encoded.lengths.tolist())
        for position in {0, length - 1}
    ]
    results = dict(lig(loaded, encoded, items, PARAMETERS, 512))
    for index, item in enumerate(items):
        found, position = results[index], int(item.position or 0)
        ids = torch.from_numpy(encoded.input_ids[encoded.row(item.example)].astype(np.int64))[None]
        with torch.inference_mode():
            logits = loaded.model(input_ids=ids).logits
        assert found.f_input == pytest.approx(float(logits[0, position, 7]), abs=1e-4)
        assert found.relative_delta is not None
        assert found.relative_delta <= 0.01
        # A token is predicted from itself and those before it.
        assert np.abs(found.values[position + 1 :]).max(initial=0) == 0
