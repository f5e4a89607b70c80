"""Gradients against finite differences, attention measures against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xlwh.heads.attention import attention_maps
from xlwh.heads.importance import (
    attention_looks,
    gradient_importance,
    head_importance,
    layer_normalised,
)
from xlwh.models.attentions import attentions
from xlwh.models.batches import collate


@pytest.mark.parametrize("model_type", ["bert", "xlm", "t5"])
def test_gradients_are_those_of_the_loss_to_the_gates(game, model_type):
    built = game(model_type)
    found = gradient_importance(built.loaded, built.encoded, built.gold)
    sites = len(built.loaded.family.attention_sites(built.loaded.model))
    assert found.shape == (4, sites, 4)

    def loss(gates):
        return float(-built.naive(1, gates).double().log_softmax(-1)[built.gold.classes[1]])

    for layer, head in ((0, 1), (1, 3)):
        up, down = torch.ones(sites, 4), torch.ones(sites, 4)
        up[layer, head] += 0.01
        down[layer, head] -= 0.01
        slope = abs(loss(up) - loss(down)) / 0.02
        assert found[1, layer, head] == pytest.approx(slope, rel=0.02, abs=2e-3)


def test_layers_are_normalised_by_their_means():
    values = np.random.default_rng(0).random((5, 3, 4))
    normal = layer_normalised(values)
    np.testing.assert_allclose((normal.mean(axis=0) ** 2).sum(axis=-1), 1)
    assert layer_normalised(np.zeros((2, 1, 2))).tolist() == np.zeros((2, 1, 2)).tolist()


def test_attention_measures_of_one_example_are_those_of_its_weights(game):
    built = game("bert")
    names = ("attention_entropy", "attention_confidence", "separator_attention")
    found = attention_looks(built.loaded, built.encoded, names)
    batch = collate(built.loaded, built.encoded, np.array([3]), int(built.encoded.lengths[3]))
    weights = attentions(built.loaded, batch.inputs(built.loaded), [1]).weights[1][0, 2].double().numpy()
    entropy = -(weights * np.log(weights)).sum(axis=1).mean()
    assert found["attention_entropy"][3, 1, 2] == pytest.approx(entropy, abs=1e-5)
    assert found["attention_confidence"][3, 1, 2] == pytest.approx(weights.max(axis=1).mean(), abs=1e-5)
    special = built.encoded.special[built.encoded.row(3)].copy()
    special[0] = False
    expected = float(weights[:, special].sum(axis=1).mean() > 0.5)
    assert found["separator_attention"][3, 1, 2] == expected


@pytest.mark.parametrize(("model_type", "sites"), [("xlm-roberta", 2), ("t5", 2), ("llama", 2)])
def test_maps_are_of_every_example_and_of_the_input_alone(game, model_type, sites):
    built = game(model_type)
    found = attention_maps(built.loaded, built.examples)
    assert found.select("example_id", "layer", "head").rows() == [
        (str(row), site, head) for row in range(4) for site in range(sites) for head in range(4)
    ]
    for one in found.iter_rows(named=True):
        length = int(built.encoded.lengths[int(one["example_id"])])
        assert len(one["tokens"]) == len(one["is_special"]) == length
        assert any(one["is_special"]) or model_type == "llama"
        weights = np.array(one["weights"]).reshape(length, length)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=5e-3)


def test_importance_is_the_mean_over_the_examples(game):
    built = game("bert")
    found = head_importance(built.loaded, built.examples, ("attention_entropy", "gradient"))
    assert found["method"].unique(maintain_order=True).to_list() == ["attention_entropy", "gradient"]
    gradients = gradient_importance(built.loaded, built.encoded, built.gold)
    own = found.filter(method="gradient", layer=1, head=2).row(0, named=True)
    assert own["value"] == pytest.approx(gradients[:, 1, 2].mean())
    assert own["sd"] == pytest.approx(gradients[:, 1, 2].std(ddof=1))
    assert own["num_examples"] == 4
    one = head_importance(built.loaded, built.examples[:1], ("gradient",))
    assert one["sd"].null_count() == one.height == 8
