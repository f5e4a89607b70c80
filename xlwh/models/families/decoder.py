"""Decoder-only models of Llama's layout: Llama, Mistral, Qwen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xlwh.models.families.base import AttentionSite, Family, Layer, Stack, base_model

if TYPE_CHECKING:
    from torch import Tensor, nn


class Decoder(Family):
    """Causal attention, rotary positions, a classifier that reads the rightmost token that is not PAD.

    Batches are padded on the left. Where PAD also closes each text, the token before the closing one is read.

    Their tokenizers would glue the two segments of a pair together: a line break goes between, which counts as one of
    the tokens that give the input its structure.

    With grouped queries a head is a query head: its columns before the output projection are its own, while
    keys and values may be shared with its group.
    """

    name = "decoder"
    model_types = ("llama", "mistral", "qwen2", "qwen3")
    padding_side = "left"
    padding_sides = ("left", "right")
    pair_separator = "\n"
    reading_attention = "decoder"

    def word_embedding(self, model: nn.Module) -> nn.Embedding:
        module: nn.Embedding = base_model(model).embed_tokens
        return module

    def model_inputs(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "position_ids": (attention_mask.cumsum(dim=1) - 1).clamp(min=0),
        }

    def attention_sites(self, model: nn.Module) -> tuple[AttentionSite, ...]:
        body = base_model(model)
        heads, size = self.num_heads(body.config), self.head_size(body.config)
        return tuple(
            AttentionSite(index, "decoder", layer.self_attn.o_proj, heads, size)
            for index, layer in enumerate(body.layers)
        )

    def layers(self, model: nn.Module) -> tuple[Layer, ...]:
        modules = base_model(model).layers
        return tuple(Layer("decoder", index, module) for index, module in enumerate(modules))

    def final_norm(self, model: nn.Module, stack: Stack) -> nn.Module:
        module: nn.Module = base_model(model).norm
        return module

    def head_size(self, config: Any) -> int:
        size = getattr(config, "head_dim", None)
        return int(size) if size is not None else super().head_size(config)
