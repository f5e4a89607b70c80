"""Removals and noise: worked out by hand on a linear model, and against captum's metrics on a real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from captum.metrics import infidelity, sensitivity_max

from xlwh.attribution.base import Item
from xlwh.attribution.occlusion import occlusion
from xlwh.attribution.probes import noises, noisy, removals, under_noise
from xlwh.attribution.saliency import saliency
from xlwh.attribution.vectors import Points, VectorModel, in_batches, without, word_vectors
from xlwh.models import LoadedModel
from xlwh.models.masking import mask_token_id
from xlwh.models.tokenize import Encoded
from xlwh.study import InputXGradient, Occlusion

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already")
Case = tuple[LoadedModel, Encoded, list[Item]]
IXG = {"input_x_gradient": InputXGradient()}


class Linear(torch.nn.Module):
    """Logit c is the sum over tokens of weight c times the token's word vector."""

    def __init__(self, vocabulary: int, width: int, classes: int) -> None:
        super().__init__()
        self.embeddings = torch.nn.Module()
        self.embeddings.word_embeddings = torch.nn.Embedding(vocabulary, width)
        self.weight = torch.nn.Parameter(torch.randn(classes, width))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> SimpleNamespace:
        vectors = self.embeddings.word_embeddings(input_ids) * attention_mask[..., None]
        return SimpleNamespace(logits=vectors.sum(1) @ self.weight.T)


@pytest.fixture
def linear(case_of: Callable[[str], Case]) -> Case:
    torch.manual_seed(0)
    loaded, encoded, items = case_of("bert")
    return replace(loaded, model=Linear(len(loaded.tokenizer), 6, 3).eval()), encoded, items


def contributions(loaded: LoadedModel, encoded: Encoded, item: Item) -> np.ndarray:
    """What each token adds to the target logit: `[tokens]`."""
    ids = torch.from_numpy(encoded.input_ids[encoded.row(item.example)].astype(np.int64))
    vectors = loaded.family.word_embedding(loaded.model)(ids)
    return (vectors @ loaded.model.weight[item.target]).detach().double().numpy()


def test_a_linear_model_loses_what_its_tokens_add_beyond_the_mask_token(linear: Case) -> None:
    loaded, encoded, items = linear
    vector = loaded.family.word_embedding(loaded.model).weight[mask_token_id(loaded)]
    found = removals(loaded, encoded, items, 6, 256)
    exact = dict(occlusion(loaded, encoded, items, Occlusion(), 256))
    for index, (item, removed) in enumerate(zip(items, found, strict=True)):
        adds = contributions(loaded, encoded, item)
        mask = float(loaded.model.weight[item.target].detach() @ vector.detach())
        special = encoded.special[encoded.row(item.example)]
        assert len(removed) == 6
        for removal in removed:
            assert 1 <= len(removal.places) == len(set(removal.places.tolist()))
            assert not special[removal.places].any()
            expected = adds[removal.places].sum() - len(removal.places) * mask
            assert removal.lost == pytest.approx(expected, abs=1e-4)
            # Occlusion explains a linear model exactly: its infidelity is zero.
            assert exact[index].values[removal.places].sum() == pytest.approx(removal.lost, abs=1e-4)


def test_noise_moves_a_linear_models_attributions_by_weight_times_noise(linear: Case) -> None:
    loaded, encoded, items = linear
    weight = loaded.model.weight.detach().numpy()
    for item in items:
        row = encoded.row(item.example)
        width, drawn = noises(loaded, encoded, item.example, 4, 0.2)
        vectors = loaded.family.word_embedding(loaded.model).weight.detach().numpy()[encoded.input_ids[row]]
        free = ~encoded.special[row]
        assert width == pytest.approx(0.2 * np.sqrt((vectors[free] ** 2).mean()), rel=1e-5)
        for noise in drawn:
            assert np.abs(noise).max() <= width
            assert (noise[~free] == 0).all()
        adds = contributions(loaded, encoded, item)
        for made, noise in zip(
            under_noise(loaded, encoded, item, saliency, IXG, drawn, 256), drawn, strict=True
        ):
            expected = adds + noise @ weight[item.target]
            np.testing.assert_allclose(made["input_x_gradient"], expected, atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "t5", "llama"])
def test_infidelity_is_captums_on_the_same_draws(family: str, case_of: Callable[[str], Case]) -> None:
    loaded, encoded, items = case_of(family)
    item, draws = items[0], 5
    (found,) = removals(loaded, encoded, [item], draws, 512)
    values = dict(saliency(loaded, encoded, [item], IXG, 512))[0]["input_x_gradient"].values
    gone = torch.zeros(draws, len(values))
    for draw, removal in enumerate(found):
        gone[draw, torch.from_numpy(removal.places)] = 1

    def shown(gates: torch.Tensor) -> torch.Tensor:
        points = [(0, np.flatnonzero(row == 0)) for row in gates.numpy()]
        at = Points.of(np.zeros(len(points), dtype=np.int64), [places for _, places in points])
        f = without(loaded, encoded, [item], at, mask_token_id(loaded), 512)
        return torch.from_numpy(f).float()

    def remove(gates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return gone, gates - gone

    attributed = np.array([values[removal.places].sum() for removal in found])
    lost = np.array([removal.lost for removal in found])
    gates, stored = torch.ones(1, len(values)), torch.from_numpy(values).float()[None]
    for normalize in (False, True):
        expected = infidelity(shown, remove, gates, stored, n_perturb_samples=draws, normalize=normalize)
        scale = (attributed @ lost) / (attributed @ attributed) if normalize else 1
        ours = np.mean((scale * attributed - lost) ** 2)
        assert ours == pytest.approx(expected.item(), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("family", ["bert", "t5", "llama"])
def test_sensitivity_is_captums_on_the_same_draws(family: str, case_of: Callable[[str], Case]) -> None:
    loaded, encoded, items = case_of(family)
    item, draws = items[0], 3
    values = dict(saliency(loaded, encoded, [item], IXG, 512))[0]["input_x_gradient"].values
    _, drawn = noises(loaded, encoded, item.example, draws, 0.1)
    changed = under_noise(loaded, encoded, item, saliency, IXG, drawn, 512)
    changes = [np.linalg.norm(row["input_x_gradient"] - values) for row in changed]
    (batch,) = in_batches(loaded, encoded, [item], 512, lambda _, batch: iter([batch]))
    real = batch.attention_mask[0].bool()
    model = VectorModel(loaded)
    arguments = model.arguments(batch)

    def explain(vectors: Any) -> Any:
        (point,) = vectors if isinstance(vectors, tuple) else (vectors,)
        rows = []
        for row in point:
            leaf = row[None].clone().requires_grad_(True)
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(model(leaf, *arguments)[0, item.target], leaf)
            rows.append((slope * leaf).sum(-1)[0, real].detach())
        return (torch.stack(rows),)

    def shake(vectors: torch.Tensor) -> torch.Tensor:
        shaken = vectors.clone()
        for row, noise in zip(shaken, drawn, strict=True):
            row[real] += torch.from_numpy(noise)
        return shaken

    expected = sensitivity_max(
        explain, word_vectors(loaded, batch), perturb_func=shake, n_perturb_samples=draws
    )
    assert max(changes) / np.linalg.norm(values) == pytest.approx(expected.item(), rel=1e-3)


def test_draws_belong_to_the_example_and_baselines_stay_as_they_are(case_of: Callable[[str], Case]) -> None:
    loaded, encoded, items = case_of("bert")
    once = removals(loaded, encoded, items, 3, 512)
    turned = removals(loaded, encoded, items[::-1], 3, 64)[::-1]
    for one, other in zip(once, turned, strict=True):
        assert [r.places.tolist() for r in one] == [r.places.tolist() for r in other]
        np.testing.assert_allclose([r.lost for r in one], [r.lost for r in other], atol=1e-5)
    _, (noise,) = noises(loaded, encoded, 0, 1, 0.5)
    embedding = loaded.family.word_embedding(loaded.model)
    ids = torch.from_numpy(encoded.input_ids[encoded.row(0)].astype(np.int64))[None]
    masked = torch.full_like(ids, mask_token_id(loaded))
    with torch.no_grad():
        before = embedding(ids), embedding(masked)
        with noisy(loaded, encoded, 0, noise):
            after = embedding(ids), embedding(masked)
    np.testing.assert_allclose((after[0] - before[0])[0].numpy(), noise, atol=1e-6)
    assert torch.equal(after[1], before[1])
    assert torch.equal(embedding(ids), before[0])
