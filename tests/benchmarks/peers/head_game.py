"""A game of attention heads as one would write it for a Shapley library: a forward pass of all examples a coalition."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification


class HeadGame:
    """The mean probability of the gold class with only some of the players' heads; all other heads stay."""

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / "settings.json").read_text())
        cases = json.loads((folder / "pairs.json").read_text())[: settings["sizes"]["heads"]]
        self.heads: list[tuple[int, int]] = [(layer, head) for layer, head in settings["heads"]]
        self._model = AutoModelForSequenceClassification.from_pretrained(settings["model"]).eval()
        self._inputs = {name: self._padded(cases, name) for name in cases[0]["inputs"]}
        self._gold = torch.tensor([case["gold"] for case in cases])
        shape = self._model.config.num_hidden_layers, self._model.config.num_attention_heads
        self._gates = torch.ones(shape)
        for number, layer in enumerate(self._model.base_model.encoder.layer):
            layer.attention.output.dense.register_forward_pre_hook(self._gate(number))

    def value(self, coalition: Sequence[bool]) -> float:
        """What a coalition `[players]` (True: present) is worth."""
        self._gates.fill_(1)
        for (layer, head), present in zip(self.heads, coalition, strict=True):
            self._gates[layer, head] = float(present)
        with torch.inference_mode():
            chances = self._model(**self._inputs).logits.softmax(-1)
        return float(chances.gather(1, self._gold[:, None]).double().mean())

    def _gate(self, layer: int) -> Any:
        def hook(module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            (states,) = inputs
            width = states.shape[-1] // self._gates.shape[1]
            return (states * self._gates[layer].repeat_interleave(width),)

        return hook

    def _padded(self, cases: list[dict[str, Any]], name: str) -> torch.Tensor:
        rows = [torch.tensor(case["inputs"][name]) for case in cases]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
