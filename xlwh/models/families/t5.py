"""T5 and mT5: encoder, decoder and cross attention, relative positions, one end token per segment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xlwh.models.families.base import (
    AttentionSite,
    Family,
    Layer,
    Stack,
    base_model,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


class T5(Family):
    """Text-to-text transformers, as classifiers (encoder and decoder), taggers (encoder) and generators.

    What is attributed are the encoder's word vectors. A classifier also reads the text in its decoder; there it
    stays the real one.
    """

    name = "t5"
    model_types = ("t5", "mt5")
    reading_attention = "cross"

    def word_embedding(self, model: nn.Module) -> nn.Embedding:
        # Not `shared`: encoder and decoder have modules of their own on its weight, and `shared` is never called.
        module: nn.Embedding = base_model(model).encoder.embed_tokens
        return module

    def model_inputs(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if getattr(base_model(model), "decoder", None) is None:
            return inputs
        if not type(model).__name__.endswith(("ForSequenceClassification", "ForQuestionAnswering")):
            return self.teacher_forced(model, inputs, input_ids[:, :1], attention_mask[:, :1])
        return self.teacher_forced(model, inputs, input_ids, attention_mask)

    def teacher_forced(
        self, model: nn.Module, inputs: dict[str, Tensor], target_ids: Tensor, target_mask: Tensor
    ) -> dict[str, Tensor]:
        import torch

        if getattr(base_model(model), "decoder", None) is None:
            return super().teacher_forced(model, inputs, target_ids, target_mask)
        start = target_ids.new_full(
            (len(target_ids), 1), int(base_model(model).config.decoder_start_token_id)
        )
        first = target_mask.new_ones((len(target_ids), 1))
        return inputs | {
            "decoder_input_ids": torch.cat([start, target_ids[:, :-1]], dim=1),
            "decoder_attention_mask": torch.cat([first, target_mask[:, :-1]], dim=1),
        }

    def attention_sites(self, model: nn.Module) -> tuple[AttentionSite, ...]:
        body = base_model(model)
        heads, size = self.num_heads(body.config), self.head_size(body.config)
        sites = [
            AttentionSite(index, "encoder", block.layer[0].SelfAttention.o, heads, size)
            for index, block in enumerate(body.encoder.block)
        ]
        decoder = getattr(body, "decoder", None)
        for index, block in enumerate(decoder.block if decoder is not None else ()):
            sites.append(AttentionSite(index, "decoder", block.layer[0].SelfAttention.o, heads, size))
            sites.append(AttentionSite(index, "cross", block.layer[1].EncDecAttention.o, heads, size))
        return tuple(sites)

    def layers(self, model: nn.Module) -> tuple[Layer, ...]:
        body = base_model(model)
        decoder = getattr(body, "decoder", None)
        return (
            *(Layer("encoder", index, block) for index, block in enumerate(body.encoder.block)),
            *(
                Layer("decoder", index, block)
                for index, block in enumerate(decoder.block if decoder is not None else ())
            ),
        )

    def final_norm(self, model: nn.Module, stack: Stack) -> nn.Module:
        module: nn.Module = getattr(base_model(model), stack).final_layer_norm
        return module

    def attention_weights(self, output: Any, site: AttentionSite) -> Tensor:
        names = {
            "encoder": "encoder_attentions",
            "decoder": "decoder_attentions",
            "cross": "cross_attentions",
        }
        whole = getattr(output, names[site.kind], None)
        weights: Tensor = (output.attentions if whole is None else whole)[site.layer]
        return weights

    def num_layers(self, config: Any) -> int:
        return int(config.num_layers) + (int(config.num_decoder_layers) if config.is_encoder_decoder else 0)

    def head_size(self, config: Any) -> int:
        return int(config.d_kv)

    def max_positions(self, config: Any) -> int | None:
        return None
