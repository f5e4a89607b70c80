"""Baselines at which the model has no gradient: found by what it does, avoided by default, refused where asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from xlwh.attribution.baselines import SINGULAR, available, baseline_of, length_at, stand_in
from xlwh.attribution.lig import integrated_gradients, lig
from xlwh.attribution.vectors import word_vectors
from xlwh.errors import ModelError
from xlwh.models.batches import collate
from xlwh.study import GradientShap, IntegratedGradients, Lig
from xlwh.study.attribution import Methods

NORMALISED = ("t5", "mt5", "llama", "qwen2", "qwen3")
"""Families that normalise word vectors before anything is added to them."""
Case = tuple[Any, Any, list[Any]]


def without_padding_vector(loaded: Any) -> None:
    """As in checkpoints whose padding row was never trained."""
    with torch.no_grad():
        loaded.family.word_embedding(loaded.model).weight[loaded.tokenizer.pad_token_id] = 0


def test_zero_is_the_default_where_it_is_an_input_like_any_other(any_case: Case) -> None:
    loaded, encoded, items = any_case
    normalised = loaded.config.model_type in NORMALISED
    assert (length_at(loaded, "zero") < SINGULAR) == normalised
    used = baseline_of(loaded, "default")
    assert used == ("pad" if normalised else "zero")
    for _, attribution in integrated_gradients(
        loaded, encoded, items, IntegratedGradients(steps=2, quadrature="fixed"), 512
    ):
        assert attribution.details == {"baseline": used}


def test_the_default_converges(any_case: Case) -> None:
    loaded, encoded, items = any_case
    made = dict(integrated_gradients(loaded, encoded, items, IntegratedGradients(tolerance=0.05), 512))
    assert len(made) == len(items)
    for attribution in made.values():
        assert attribution.relative_delta is not None
        assert attribution.relative_delta <= 0.05 or abs(attribution.delta or 0) < 1e-5


@pytest.mark.parametrize("family", NORMALISED)
def test_a_singular_baseline_is_refused_by_name(family: str, case_of: Callable[..., Case]) -> None:
    loaded, encoded, items = case_of(family)
    with pytest.raises(ModelError, match=r"from `zero` word vectors is singular: .*Not singular: pad, mean"):
        list(integrated_gradients(loaded, encoded, items, IntegratedGradients(baseline="zero"), 512))
    without_padding_vector(loaded)
    with pytest.raises(ModelError, match=r"from `pad` word vectors is singular: .*Not singular: mean\. Name"):
        list(integrated_gradients(loaded, encoded, items, IntegratedGradients(baseline="pad"), 512))
    assert baseline_of(loaded, "default") == "mean"


def test_lig_starts_from_pad_where_it_can_and_says_where_it_started(any_case: Case) -> None:
    loaded, encoded, items = any_case
    few = Lig(steps=2, quadrature="fixed")
    assert {a.details["baseline"] for _, a in lig(loaded, encoded, items, few, 512)} == {"pad"}
    without_padding_vector(loaded)
    normalised = loaded.config.model_type in NORMALISED
    used = "mean" if normalised else "pad"
    made = dict(lig(loaded, encoded, items, few, 512))
    assert {attribution.details["baseline"] for attribution in made.values()} == {used}
    same = dict(
        integrated_gradients(
            loaded, encoded, items, IntegratedGradients(baseline=used, steps=2, quadrature="fixed"), 512
        )
    )
    for index, attribution in made.items():
        assert (attribution.values == same[index].values).all()


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_lig_converges_where_pad_is_singular(family: str, case_of: Callable[..., Case]) -> None:
    loaded, encoded, items = case_of(family)
    without_padding_vector(loaded)
    found = dict(lig(loaded, encoded, items, Lig(tolerance=0.02), 512))
    assert max(attribution.relative_delta or 0 for attribution in found.values()) <= 0.02


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_from_the_mean_vector_it_converges_where_from_zero_it_explodes(
    family: str, case_of: Callable[..., Case]
) -> None:
    loaded, encoded, items = case_of(family)
    without_padding_vector(loaded)
    found = dict(integrated_gradients(loaded, encoded, items, IntegratedGradients(tolerance=0.02), 512))
    assert {attribution.details["baseline"] for attribution in found.values()} == {"mean"}
    assert max(attribution.relative_delta or 0 for attribution in found.values()) <= 0.02


def test_a_padding_vector_of_zeros_is_no_fault_where_positions_are_added(
    case_of: Callable[..., Case],
) -> None:
    loaded, encoded, items = case_of("xlm-roberta")
    without_padding_vector(loaded)
    assert len(list(lig(loaded, encoded, items, Lig(quadrature="fixed", steps=2), 512))) == len(items)


def test_where_nothing_is_regular_that_is_said(case_of: Callable[..., Case]) -> None:
    loaded, encoded, items = case_of("llama")
    without_padding_vector(loaded)
    weight = loaded.family.word_embedding(loaded.model).weight
    with torch.no_grad():
        weight.sub_(weight.double().mean(0).float())
        weight[loaded.tokenizer.pad_token_id] = 0
        weight.sub_((weight.sum(0) / (len(weight) - 1)) * (weight.abs().sum(1, keepdim=True) > 0))
    with pytest.raises(
        ModelError, match="there is no baseline for integrated gradients: at each of zero, mask, pad, mean"
    ):
        baseline_of(loaded, "default")
    with pytest.raises(ModelError, match=r"at each of pad, mask, mean .*`lig = false`"):
        list(lig(loaded, encoded, items, Lig(), 512))


def test_gradient_shap_leaves_singular_baselines_out(case_of: Callable[..., Case]) -> None:
    from xlwh.attribution.gradient_shap import gradient_shap

    loaded, encoded, items = case_of("qwen2")
    ((_, first),) = gradient_shap(loaded, encoded, items[:1], GradientShap(samples=2), 512)
    assert first.details == {"baselines": ["pad"]}
    without_padding_vector(loaded)
    ((_, second),) = gradient_shap(loaded, encoded, items[:1], GradientShap(samples=2), 512)
    assert second.details == {"baselines": ["mean"]}
    bert, encoded, items = case_of("bert")
    ((_, third),) = gradient_shap(bert, encoded, items[:1], GradientShap(samples=2), 512)
    assert third.details == {"baselines": ["pad", "mask"]}


def test_the_mask_of_a_tokenizer_without_one_is_recorded_as_what_it_is(case_of: Callable[..., Case]) -> None:
    loaded, encoded, items = case_of("llama")
    assert available(loaded, "mask") == "pad"
    made = integrated_gradients(
        loaded, encoded, items[:1], IntegratedGradients(baseline="mask", quadrature="fixed", steps=2), 512
    )
    assert next(iter(made))[1].details == {"baseline": "pad"}


def test_the_mean_is_that_of_all_word_vectors(any_case: Case) -> None:
    loaded, encoded, _ = any_case
    weight = loaded.family.word_embedding(loaded.model).weight
    torch.testing.assert_close(stand_in(loaded, "mean"), weight.mean(0), rtol=1e-4, atol=1e-6)
    batch = collate(loaded, encoded, encoded_rows(encoded), int(encoded.lengths.max()))
    pad = word_vectors(loaded, batch)[batch.input_ids == loaded.tokenizer.pad_token_id]
    assert not len(pad) or torch.equal(pad[0], stand_in(loaded, "pad"))


def encoded_rows(encoded: Any) -> Any:
    import numpy as np

    return np.arange(len(encoded), dtype=np.int64)


def test_methods_are_left_out_by_false() -> None:
    found = Methods.model_validate({"lig": False, "random": False, "integrated_gradients": {}})
    assert (found.lig, found.random) == (None, None)
    assert re.match("default", found.integrated_gradients.baseline)
