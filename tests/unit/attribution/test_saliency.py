"""Gradients and attention of one pass, against captum and a pass written by hand without padding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient as Captum

from xlwh.attribution.base import Item
from xlwh.attribution.saliency import saliency
from xlwh.attribution.vectors import VectorModel, in_batches, word_vectors
from xlwh.models import LoadedModel
from xlwh.models.attentions import eager_attention
from xlwh.models.predict import predict
from xlwh.models.tokenize import Encoded
from xlwh.study import AttentionWeights, InputXGradient, ScaledAttention

pytestmark = pytest.mark.filterwarnings(
    "ignore:Input Tensor 0 did not already", "ignore:Setting forward, backward hooks"
)
Case = tuple[LoadedModel, Encoded, list[Item]]
ALL = {
    "input_x_gradient": InputXGradient(),
    "attention": AttentionWeights(),
    "scaled_attention": ScaledAttention(),
}


def test_input_x_gradient_is_captums(any_case: Case) -> None:
    loaded, encoded, items = any_case
    found = dict(saliency(loaded, encoded, items, ALL, 512))
    model = VectorModel(loaded)
    logits = predict(loaded, encoded)
    for index, item in enumerate(items):
        (batch,) = in_batches(loaded, encoded, [item], 512, lambda _, batch: iter([batch]))
        expected = Captum(model).attribute(
            word_vectors(loaded, batch), target=item.target, additional_forward_args=model.arguments(batch)
        )
        real = batch.attention_mask[0].bool()
        result = found[index]["input_x_gradient"]
        scale = expected.abs().max().item()
        np.testing.assert_allclose(result.values, expected[0, real].sum(-1).detach(), atol=2e-4 * scale)
        assert result.f_input == pytest.approx(logits[item.example, item.target], abs=1e-4)
        assert result.delta is None


def test_every_occurrence_of_a_token_has_its_own_gradient(case_of: Callable[[str], Case]) -> None:
    """The weight's gradient would add up all occurrences of an id in the batch."""
    loaded, encoded, items = case_of("bert")
    together = dict(saliency(loaded, encoded, [items[0], items[0], items[1]], ALL, 4096))
    alone = dict(saliency(loaded, encoded, items[:1], ALL, 4096))
    for name in ALL:
        np.testing.assert_allclose(together[0][name].values, alone[0][name].values, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(together[1][name].values, alone[0][name].values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "llama"])
def test_attention_is_that_of_the_pooled_position(family: str, case_of: Callable[[str], Case]) -> None:
    """By hand: one example without padding, the last layer's weights that transformers returns."""
    loaded, encoded, items = case_of(family)
    found = dict(saliency(loaded, encoded, items, ALL, 512))
    position = -1 if family == "llama" else 0
    for index, item in enumerate(items):
        ids = torch.from_numpy(encoded.input_ids[encoded.row(item.example)].astype(np.int64))[None]
        types = encoded.token_type_ids
        extra = (
            {}
            if types is None or family != "bert"
            else {"token_type_ids": torch.from_numpy(types[encoded.row(item.example)])[None].long()}
        )
        vectors = loaded.family.word_embedding(loaded.model)(ids).requires_grad_(True)
        hook = loaded.family.word_embedding(loaded.model).register_forward_hook(lambda *_, v=vectors: v)
        with eager_attention(loaded.model):
            output = loaded.model(input_ids=ids, output_attentions=True, **extra)
        hook.remove()
        weights = output.attentions[-1]
        (slope,) = torch.autograd.grad(output.logits[0, item.target], weights)
        row, gradient = weights[0, :, position].mean(0), slope[0, :, position].mean(0)
        np.testing.assert_allclose(found[index]["attention"].values, row.detach(), atol=1e-5)
        expected = (row * gradient).detach().numpy()
        scale = max(float(np.abs(expected).max()), 1e-6)
        np.testing.assert_allclose(found[index]["scaled_attention"].values, expected, atol=1e-3 * scale)


def test_attention_of_every_family_sums_to_one_over_the_input(any_case: Case) -> None:
    loaded, encoded, items = any_case
    for index, found in saliency(loaded, encoded, items, ALL, 512):
        assert len(found["attention"].values) == encoded.lengths[items[index].example]
        assert found["attention"].values.sum() == pytest.approx(1, abs=1e-5)
        assert np.isfinite(found["scaled_attention"].values).all()


def test_methods_asked_for_alone_are_the_same(case_of: Callable[[str], Case]) -> None:
    loaded, encoded, items = case_of("roberta")
    together = dict(saliency(loaded, encoded, items, ALL, 512))
    for name, parameters in ALL.items():
        for index, found in saliency(loaded, encoded, items, {name: parameters}, 512):
            assert set(found) == {name}
            np.testing.assert_allclose(found[name].values, together[index][name].values, rtol=2e-3, atol=1e-6)


def test_the_l2_norm_is_positive_and_bounds_the_sum(case_of: Callable[[str], Case]) -> None:
    loaded, encoded, items = case_of("bert")
    width = loaded.family.hidden_size(loaded.config)
    signed = dict(saliency(loaded, encoded, items, {"input_x_gradient": InputXGradient()}, 512))
    norms = dict(saliency(loaded, encoded, items, {"input_x_gradient": InputXGradient(reduction="l2")}, 512))
    for index in range(len(items)):
        norm, total = (found[index]["input_x_gradient"].values for found in (norms, signed))
        assert (norm >= 0).all()
        assert (np.abs(total) <= norm * width**0.5 + 1e-6).all()
