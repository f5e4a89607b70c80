"""RoBERTa and XLM-R: position ids follow from which ids are PAD, so they are always passed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xlwh.errors import ModelError
from xlwh.models.families.base import base_model
from xlwh.models.families.bert import Bert

if TYPE_CHECKING:
    from torch import Tensor, nn


class Roberta(Bert):
    """BERT's layout with positions counted from the padding id + 1, and one token type."""

    name = "roberta"
    model_types = ("roberta", "xlm-roberta", "camembert")

    def model_inputs(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        padding = int(base_model(model).embeddings.padding_idx)
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            # There is one type only: what a tokenizer may say of the second segment has no row here.
            "token_type_ids": input_ids.new_zeros(input_ids.shape),
            "position_ids": attention_mask.cumsum(dim=1) * attention_mask + padding,
        }

    def max_positions(self, config: Any) -> int:
        if config.pad_token_id is None:
            raise ModelError(f"`pad_token_id` is missing, from which {config.model_type} counts positions.")
        return int(config.max_position_embeddings) - int(config.pad_token_id) - 1
