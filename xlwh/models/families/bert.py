"""BERT and its multilingual and monolingual sisters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, ClassVar

from xlwh.models.families.base import AttentionSite, Family, Layer, arange_positions, base_model

if TYPE_CHECKING:
    from torch import Tensor, nn


class Bert(Family):
    """Absolute positions counted from 0, token types, post-normalisation."""

    name = "bert"
    model_types: ClassVar[tuple[str, ...]] = ("bert",)
    no_encoder = ("is_decoder", "add_cross_attention")

    def word_embedding(self, model: nn.Module) -> nn.Embedding:
        module: nn.Embedding = base_model(model).embeddings.word_embeddings
        return module

    def embedding_output(self, model: nn.Module) -> nn.Module | None:
        module: nn.Module = base_model(model).embeddings.LayerNorm
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
            "token_type_ids": input_ids.new_zeros(input_ids.shape)
            if token_type_ids is None
            else token_type_ids,
            "position_ids": arange_positions(attention_mask),
        }

    def attention_sites(self, model: nn.Module) -> tuple[AttentionSite, ...]:
        encoder = base_model(model)
        heads, size = self.num_heads(encoder.config), self.head_size(encoder.config)
        return tuple(
            AttentionSite(index, "encoder", layer.attention.output.dense, heads, size)
            for index, layer in enumerate(encoder.encoder.layer)
        )

    def layers(self, model: nn.Module) -> tuple[Layer, ...]:
        modules = base_model(model).encoder.layer
        return tuple(Layer("encoder", index, module) for index, module in enumerate(modules))

    def pooled_only(self, model: nn.Module) -> AbstractContextManager[None]:
        """Classification heads read the first token: past the last attention only that one is computed."""
        if not type(model).__name__.endswith("ForSequenceClassification"):
            return nullcontext()
        return _first_token_only(base_model(model).encoder.layer[-1].attention.output)


@contextmanager
def _first_token_only(attention_output: nn.Module) -> Iterator[None]:
    """Cut the (hidden states, residual) that enter this module, `[rows, length, width]`, to `[rows, 1, width]`."""

    def first(_: nn.Module, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        hidden, residual = inputs
        return hidden[:, :1], residual[:, :1]

    handle = attention_output.register_forward_pre_hook(first)
    try:
        yield
    finally:
        handle.remove()
