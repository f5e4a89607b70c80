"""Layer integrated gradients over every family of models, against captum and against completeness."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from captum.attr import LayerIntegratedGradients

from xlwh.attribution.base import Item
from xlwh.attribution.lig import lig
from xlwh.attribution.path import PathModel, Paths
from xlwh.attribution.random import random_attribution
from xlwh.models import LoadedModel, Zoo
from xlwh.models.predict import predict
from xlwh.models.tokenize import Encoded, encode
from xlwh.study import Lig, RandomAttribution

FAMILIES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
Case = tuple[LoadedModel, Encoded, list[Item]]


@pytest.fixture(params=FAMILIES)
def case(
    request: pytest.FixtureRequest,
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
) -> Case:
    loaded = zoo_of(m={"path": str(checkpoint(request.param))}).load("m")
    if request.param not in ("t5", "mt5"):
        # Random weights hardly react to their input: scaled up, there is something to explain.
        with torch.no_grad():
            for name, weight in loaded.model.named_parameters():
                if weight.dim() > 1 and "embed" not in name:
                    weight.mul_(2)
    encoded = encode(loaded, frame([*pairs[:2], ("", "Hund")]))
    return loaded, encoded, [Item(row, row % 3) for row in range(len(encoded))]


def test_attributions_add_up_to_the_change_of_the_logit(case: Case) -> None:
    loaded, encoded, items = case
    results = dict(lig(loaded, encoded, items, Lig(tolerance=0.02), 512))
    assert sorted(results) == list(range(len(items)))
    logits = predict(loaded, encoded)
    for index, item in enumerate(items):
        result = results[index]
        assert result.f_input == pytest.approx(logits[item.example, item.target], abs=1e-4)
        assert result.relative_delta is not None
        assert result.relative_delta <= 0.02 or abs(result.delta or 0) < 1e-5
        special = encoded.special[encoded.row(item.example)]
        assert (result.values[special] == 0).all()
        assert result.stopped in ("tolerance", "noise")
        assert result.errors is not None
        assert (result.errors[special] == 0).all()
        assert result.errors.sum() >= abs(result.delta or 0) - 1e-5


def test_batching_changes_nothing(case: Case) -> None:
    loaded, encoded, items = case
    together = dict(lig(loaded, encoded, items, Lig(quadrature="fixed", steps=5), 4096))
    for index, item in enumerate(items):
        ((_, alone),) = lig(loaded, encoded, [item], Lig(quadrature="fixed", steps=5), 64)
        np.testing.assert_allclose(alone.values, together[index].values, atol=1e-4, rtol=1e-3)


def test_densities_are_the_slope_of_the_path(case: Case) -> None:
    loaded, encoded, items = case
    model = PathModel(loaded, encoded, items[:1], 512)
    # Many points and their mean, since ReLU families have kinks that one difference may step over.
    positions = np.linspace(0.5 - 1 / 64, 0.5 + 1 / 64, 129)
    values, densities = zip(*model.evaluate([(0, position) for position in positions]), strict=True)
    slope = np.trapezoid(np.sum(densities, axis=1), positions)
    assert slope == pytest.approx(values[-1] - values[0], rel=0.02, abs=1e-4)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_agrees_with_captum_given_the_same_positions(
    family: str,
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
) -> None:
    loaded = zoo_of(m={"path": str(checkpoint(family))}).load("m")
    encoded = encode(loaded, frame(pairs[:1]))
    ids = torch.from_numpy(encoded.input_ids.astype(np.int64))[None]
    special = torch.from_numpy(encoded.special)[None]
    types = None if encoded.token_type_ids is None else torch.from_numpy(encoded.token_type_ids)[None].long()
    inputs = loaded.family.model_inputs(loaded.model, ids, torch.ones_like(ids), types)
    extra = (inputs["attention_mask"], inputs["token_type_ids"], inputs["position_ids"])

    def forward(ids: torch.Tensor, mask: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        return loaded.model(
            input_ids=ids, attention_mask=mask, token_type_ids=more[0], position_ids=more[1]
        ).logits

    reference = LayerIntegratedGradients(forward, loaded.family.word_embedding(loaded.model)).attribute(
        ids,
        baselines=torch.where(special, ids, loaded.tokenizer.pad_token_id),
        target=1,
        additional_forward_args=extra,
        n_steps=64,
    )
    expected = reference.sum(-1)[0].detach().numpy()
    for parameters in (Lig(quadrature="fixed", steps=64), Lig(tolerance=1e-3)):
        ((_, result),) = lig(loaded, encoded, [Item(0, 1)], parameters, 512)
        np.testing.assert_allclose(result.values, expected, atol=2e-3 * np.abs(expected).sum() + 1e-6)


def test_row_limit_is_kept_and_shows(case: Case) -> None:
    loaded, encoded, items = case
    for _, result in lig(loaded, encoded, items, Lig(tolerance=1e-7, max_rows=16), 512):
        assert result.num_gradient_rows <= 16


def test_random_draws_depend_on_the_example_alone(case: Case) -> None:
    loaded, encoded, items = case
    parameters = RandomAttribution(draws=3)
    results = dict(random_attribution(loaded, encoded, items, parameters, 512))
    turned = dict(random_attribution(loaded, encoded, items[::-1], parameters, 512))
    for index in range(len(items)):
        np.testing.assert_array_equal(results[index].values, turned[len(items) - 1 - index].values)
        assert results[index].delta is None
    assert not np.array_equal(results[0].values[:5], results[1].values[:5])


def test_random_draws_of_translations_are_independent(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], frame: Callable[..., pl.DataFrame]
) -> None:
    loaded = zoo_of(m={"path": str(checkpoint("bert"))}).load("m")
    text: list[tuple[str, str | None]] = [("the cat " * 12, None)]
    values = []
    for language in ("en", "de"):
        encoded = encode(loaded, frame(text, language))
        ((_, result),) = random_attribution(loaded, encoded, [Item(0, 0)], RandomAttribution(draws=1), 512)
        values.append(result.values[1:-1])
    assert abs(np.corrcoef(*values)[0, 1]) < 0.5


def test_densities_held_at_once_are_bounded(
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = zoo_of(m={"path": str(checkpoint("bert"))}).load("m")
    encoded = encode(loaded, frame(pairs[:6]))
    items = [Item(row, target) for row in range(6) for target in range(3)]
    parameters = Lig(tolerance=0.05, max_rows=64)
    window = 3 * 4 * parameters.max_rows * int(encoded.lengths.max())
    monkeypatch.setattr("xlwh.attribution.lig.WINDOW_BYTES", window)
    together: list[int] = []
    genuine = Paths.__init__

    def counted(paths: Paths, model: PathModel, chosen: list[int]) -> None:
        lengths = [int(encoded.lengths[items[index].example]) for index in chosen]
        together.append(4 * parameters.max_rows * sum(lengths))
        genuine(paths, model, chosen)

    monkeypatch.setattr(Paths, "__init__", counted)
    assert len(dict(lig(loaded, encoded, items, parameters, 512))) == len(items)
    assert len(together) > 1
    assert max(together) <= window
