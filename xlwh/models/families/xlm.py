"""XLM: eager attention only, a slow tokenizer, language embeddings in some checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xlwh.models.families.base import (
    AttentionSite,
    Family,
    HiddenSite,
    Layer,
    arange_positions,
    base_model,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


class Xlm(Family):
    """Absolute positions counted from 0.

    Token types are never passed: XLM would look them up in the word embedding and add those vectors. Language
    ids are not passed either (as in most uses of these checkpoints): a checkpoint with language embeddings adds
    none of them. Nor does transformers pass a language on to the tokenizer: it cuts every text by the English rules
    of Moses, Chinese, Japanese and Thai too, for which these models were trained on the output of segmenters.
    """

    name = "xlm"
    model_types = ("xlm",)
    attention = ("eager",)
    no_encoder = ("causal",)

    def word_embedding(self, model: nn.Module) -> nn.Embedding:
        module: nn.Embedding = base_model(model).embeddings
        return module

    def embedding_output(self, model: nn.Module) -> nn.Module | None:
        module: nn.Module = base_model(model).layer_norm_emb
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
            "lengths": attention_mask.sum(dim=1),
            "position_ids": arange_positions(attention_mask),
        }

    def attention_sites(self, model: nn.Module) -> tuple[AttentionSite, ...]:
        encoder = base_model(model)
        heads, size = self.num_heads(encoder.config), self.head_size(encoder.config)
        return tuple(
            AttentionSite(index, "encoder", attention.out_lin, heads, size)
            for index, attention in enumerate(encoder.attentions)
        )

    def layers(self, model: nn.Module) -> tuple[Layer, ...]:
        """XLM has no module per layer: its layers begin with their attention, and are written out in `forward`."""
        modules = base_model(model).attentions
        return tuple(Layer("encoder", index, module, whole=False) for index, module in enumerate(modules))

    def hidden_sites(self, model: nn.Module) -> tuple[HiddenSite, ...]:
        layers = self.layers(model)
        last = base_model(model).layer_norm2[-1]
        return (
            *(HiddenSite("encoder", layer.index, layer.module, "input") for layer in layers),
            HiddenSite("encoder", len(layers), last, "output", zero_padding=True),
        )
