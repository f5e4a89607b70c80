"""Pruned models compute what closed gates compute, also after a way over the disk."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from xlwh.errors import ModelError
from xlwh.heads.export import load_pruned, mask_json, read_mask, save_pruned, without_heads
from xlwh.heads.players import Player
from xlwh.models.batches import collate

REMOVED = tuple(Player("head", layer, head) for layer, head in ((0, 1), (1, 0), (1, 1), (1, 2), (1, 3)))


def logits(game, model):
    batch = collate(game.loaded, game.encoded, np.arange(4), int(game.encoded.lengths.max()))
    with torch.inference_mode():
        return model(**batch.inputs(game.loaded)).logits


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta", "xlm", "llama"])
def test_removed_heads_are_closed_gates(game, model_type):
    built = game(model_type)
    whole = sum(p.numel() for p in built.loaded.model.parameters())
    pruned = without_heads(built.loaded.model, REMOVED)
    gates = torch.ones(2, 4)
    gates[0, 1] = 0
    gates[1] = 0
    found = logits(built, pruned)
    for row in range(4):
        torch.testing.assert_close(found[row], built.naive(row, gates), atol=1e-5, rtol=1e-5)
    smaller = sum(p.numel() for p in pruned.parameters()) < whole
    assert smaller == (model_type in ("bert", "xlm-roberta"))
    assert sum(p.numel() for p in built.loaded.model.parameters()) == whole


@pytest.mark.parametrize("model_type", ["roberta", "qwen3"])
def test_saved_models_are_read_back(game, model_type, tmp_path):
    built = game(model_type)
    pruned = save_pruned(built.loaded, REMOVED, tmp_path / "pruned", language="en")
    again = load_pruned(tmp_path / "pruned")
    assert torch.equal(logits(built, again), logits(built, pruned))
    told = json.loads((tmp_path / "pruned" / "pruned_heads.json").read_text())
    assert told == {"language": "en", "removed_heads": {"0": [1], "1": [0, 1, 2, 3]}}


def test_masks_are_json_there_and_back():
    assert read_mask(mask_json(reversed(REMOVED), ranking="random")) == REMOVED
    with pytest.raises(ModelError, match="no mask"):
        read_mask("[]")
    with pytest.raises(ModelError, match="not layer 1"):
        mask_json([Player("layer", 1)])


def test_what_is_not_there_is_refused(game, tmp_path):
    with pytest.raises(ModelError, match="has no Player"):
        without_heads(game("bert").loaded.model, [Player("head", 2, 0)])
    with pytest.raises(ModelError, match="no pruned model"):
        load_pruned(tmp_path)


def test_a_pruned_model_that_is_not_that_of_its_mask_is_refused(game, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "pruned"
    save_pruned(game("bert").loaded, REMOVED, folder)
    mask, file, config = folder / "pruned_heads.json", folder / "model.safetensors", folder / "config.json"
    whole = {path: path.read_bytes() for path in (mask, file, config)}
    weights = load_file(file)
    name = "bert.encoder.layer.0.attention.self.query.weight"

    def refused(pattern):
        with pytest.raises(ModelError, match=pattern):
            load_pruned(folder)
        for path, content in whole.items():
            path.write_bytes(content)

    mask.write_text(mask_json(REMOVED[1:]))
    refused(
        rf"do not fit pruned_heads\.json.*{name} \[18, 24\] \(mask and configuration make it \[24, 24\]\)"
    )
    config.write_text(json.dumps(json.loads(whole[config]) | {"type_vocab_size": 3}))
    refused(r"token_type_embeddings\.weight \[2, 24\] .*make it \[3, 24\]")
    save_file(weights | {f"{name}.lora_A": torch.zeros(2)}, file)
    refused(r"lora_A \[2\] \(mask and configuration make it None\)")
    save_file({key: value for key, value in weights.items() if key != name}, file)
    refused(rf"{name} None")
    file.write_bytes(whole[file][:-9])
    refused(r"model\.safetensors cannot be read")
    config.write_text(json.dumps(json.loads(whole[config]) | {"architectures": ["Nothing"]}))
    refused(r"config\.json is not usable")
    config.write_text(json.dumps(json.loads(whole[config]) | {"auto_map": {"AutoModel": "evil.Model"}}))
    refused(r"`auto_map`: the checkpoint brings its own code")
    (folder / "adapter_config.json").write_text("{}")
    refused("holds an adapter")
