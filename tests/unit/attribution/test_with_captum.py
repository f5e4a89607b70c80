"""captum's method: what it is called with, and what it covers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from captum.attr import DeepLift as Captum

from xlwh.attribution.base import Item
from xlwh.attribution.saliency import saliency
from xlwh.attribution.vectors import VectorModel, baseline_vectors, in_batches, word_vectors
from xlwh.attribution.with_captum import deeplift, rules_cover
from xlwh.models import LoadedModel
from xlwh.models.tokenize import Encoded
from xlwh.study import DeepLift, InputXGradient

pytestmark = pytest.mark.filterwarnings(
    "ignore:Input Tensor 0 did not already", "ignore:Setting forward, backward hooks"
)
Case = tuple[LoadedModel, Encoded, list[Item]]


def test_deeplift_is_captums_example_by_example(any_case: Case) -> None:
    loaded, encoded, items = any_case
    found = dict(deeplift(loaded, encoded, items, DeepLift(), 512))
    model = VectorModel(loaded)
    for index, item in enumerate(items):
        (batch,) = in_batches(loaded, encoded, [item], 512, lambda _, batch: iter([batch]))
        expected = Captum(model).attribute(
            word_vectors(loaded, batch),
            baseline_vectors(loaded, batch, "pad"),
            target=item.target,
            additional_forward_args=model.arguments(batch),
        )
        expected = expected[0, batch.attention_mask[0].bool()].sum(-1).detach().numpy()
        scale = max(float(np.abs(expected).max()), 1e-6)
        np.testing.assert_allclose(found[index].values, expected, atol=1e-3 * scale)
        assert found[index].f_baseline is not None
        assert found[index].details["rules_cover"] == rules_cover(loaded)


def test_what_the_rules_cover_is_said(case_of: Callable[[str], Case]) -> None:
    covered = {family: rules_cover(case_of(family)[0]) for family in ("bert", "llama", "t5")}
    assert covered["bert"] == ["bert.pooler.activation (Tanh)"]
    assert covered["llama"] == []
    assert all("ReLU" in name for name in covered["t5"])


def test_without_any_rule_deeplift_is_the_gradient_times_the_difference(
    case_of: Callable[[str], Case],
) -> None:
    loaded, encoded, items = case_of("llama")
    found = dict(deeplift(loaded, encoded, items, DeepLift(baseline="zero"), 512))
    gradient = dict(saliency(loaded, encoded, items, {"input_x_gradient": InputXGradient()}, 512))
    for index, item in enumerate(items):
        special = encoded.special[encoded.row(item.example)]
        expected = gradient[index]["input_x_gradient"].values[~special]
        np.testing.assert_allclose(found[index].values[~special], expected, rtol=1e-3, atol=1e-4)
