"""T5 and mT5: encoder, decoder and cross attention, relative positions, one end token per segment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xlwh.models.families.base import AttentionSite, Family, base_model

if TYPE_CHECKING:
    from torch import Tensor, nn


class T5(Family):
    """Text-to-text transformers, as classifiers (encoder and decoder), taggers (encoder) and generators.

    What is attributed are the encoder's word vectors. A classifier also reads the text in its decoder; there it
    stays the real one.
    """

    name = "t5"
    model_types = ("t5", "mt5")

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
        start = input_ids.new_full((len(input_ids), 1), int(base_model(model).config.decoder_start_token_id))
        first = attention_mask.new_ones((len(input_ids), 1))
        if not type(model).__name__.endswith("ForSequenceClassification"):
            return inputs | {"decoder_input_ids": start, "decoder_attention_mask": first}
        import torch

        return inputs | {
            "decoder_input_ids": torch.cat([start, input_ids[:, :-1]], dim=1),
            "decoder_attention_mask": torch.cat([first, attention_mask[:, :-1]], dim=1),
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

    def num_layers(self, config: Any) -> int:
        return int(config.num_layers) + (int(config.num_decoder_layers) if config.is_encoder_decoder else 0)

    def head_size(self, config: Any) -> int:
        return int(config.d_kv)

    def max_positions(self, config: Any) -> int | None:
        return None
