"""A model that is loaded: what everything that runs one is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xlwh.models.families import Family
from xlwh.models.pins import Pin

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from xlwh.study import Tokenization


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run: in evaluation mode, frozen, with its tokenizer."""

    key: str
    pin: Pin
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: tuple[str, ...] | None
    """Class labels in the order of the logits; None where there is no classification head."""
    task: str | None
    """Task of its head, as in `examples.task` (sentence pairs too are `sequence_classification`)."""
    family: Family
    device: torch.device
    max_length: int
    """Longest input in sub-tokens, special ones counted: the study's, or less where the model has less."""
    tokenization: Tokenization | None = None
    """How texts are cut into other sub-tokens than the tokenizer would; None: they are not."""

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.model.config
