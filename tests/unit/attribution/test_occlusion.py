"""Occlusion against captum's and against inputs that really lack the token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from captum.attr import Occlusion as Captum

from xlwh.attribution.base import Item
from xlwh.attribution.occlusion import occlusion
from xlwh.attribution.vectors import VectorModel, baseline_vectors, in_batches, word_vectors
from xlwh.models import LoadedModel
from xlwh.models.predict import predict
from xlwh.models.tokenize import Encoded
from xlwh.study import Occlusion

pytestmark = pytest.mark.filterwarnings(
    "ignore:Input Tensor 0 did not already", "ignore:Setting forward, backward hooks"
)
Case = tuple[LoadedModel, Encoded, list[Item]]


@pytest.mark.parametrize("replace_by", ["mask", "pad"])
def test_it_is_captums_with_a_window_of_one_token(any_case: Case, replace_by: str) -> None:
    loaded, encoded, items = any_case
    found = dict(occlusion(loaded, encoded, items, Occlusion(replace_by=replace_by), 512))
    model = VectorModel(loaded)
    for index, item in enumerate(items[1:], 1):
        (batch,) = in_batches(loaded, encoded, [item], 512, lambda _, batch: iter([batch]))
        vectors = word_vectors(loaded, batch)
        expected = Captum(model).attribute(
            vectors,
            sliding_window_shapes=(1, vectors.shape[-1]),
            baselines=baseline_vectors(loaded, batch, "mask" if replace_by == "mask" else "pad"),
            target=item.target,
            additional_forward_args=model.arguments(batch),
        )
        real = batch.attention_mask[0].bool()
        np.testing.assert_allclose(found[index].values, expected[0, real, 0], atol=1e-4)
        assert (found[index].values[encoded.special[encoded.row(item.example)]] == 0).all()


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "llama"])
def test_it_is_the_drop_when_the_token_is_another(family: str, case_of: Callable[[str], Case]) -> None:
    loaded, encoded, items = case_of(family)
    pad = loaded.tokenizer.pad_token_id
    found = dict(occlusion(loaded, encoded, items, Occlusion(replace_by="pad"), 64))
    before = predict(loaded, encoded)[0, items[0].target]
    for place in np.flatnonzero(~encoded.special[encoded.row(0)])[:3]:
        ids = encoded.input_ids.copy()
        ids[place] = pad
        if family == "llama" and place == len(found[0].values) - 1:
            continue
        after = predict(loaded, replace(encoded, input_ids=ids))[0, items[0].target]
        assert found[0].values[place] == pytest.approx(before - after, abs=1e-4)
