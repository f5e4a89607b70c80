"""What every model family answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xlwh.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase


Stack = Literal["encoder", "decoder"]
"""A stack of layers. Encoders alone and decoders alone have one, an encoder-decoder has both."""

AttentionKind = Literal["encoder", "decoder", "cross"]
"""Self-attention of a stack, or the decoder's attention to the encoder's output."""


@dataclass(frozen=True)
class AttentionSite:
    """One attention block: where its heads lie side by side, just before they are projected.

    The input of `output` is `[rows, length, num_heads * head_size]`, head h in the columns
    `h * head_size : (h + 1) * head_size`.
    """

    layer: int
    kind: AttentionKind
    output: nn.Linear
    num_heads: int
    head_size: int


@dataclass(frozen=True)
class Layer:
    """One transformer layer: `module` is called with the hidden state before it as its first argument."""

    stack: Stack
    index: int
    """Number in its stack, from 0. The layer turns hidden state `index` into hidden state `index + 1`."""
    module: nn.Module
    whole: bool = True
    """Whether the module is the whole layer, so that its (first) output is the next hidden state."""


@dataclass(frozen=True)
class HiddenSite:
    """Where one hidden state passes by: at the first input of a module, or at its (first) output."""

    stack: Stack
    layer: int
    """0 is what enters the first layer; the last one is what leaves the stack, its final norm included."""
    module: nn.Module
    at: Literal["input", "output"]
    zero_padding: bool = False
    """Whether the architecture zeroes the padded positions after this module."""


class Family(ABC):
    """The differences between architectures. Stateless: every method takes the model or its configuration."""

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    """The `model_type` values of transformers that this adapter serves."""

    padding_side: ClassVar[Literal["left", "right"]] = "right"
    """Side on which batches are padded."""

    padding_sides: ClassVar[tuple[Literal["left", "right"], ...]] = ("right",)
    """Sides on which padding changes nothing: the left is none where positions are counted from the first column."""

    attention: ClassVar[tuple[str, ...]] = ("sdpa", "eager")
    """Attention implementations that work; where the one asked for does not, the first one is used."""

    pair_separator: ClassVar[str] = ""
    """Text between the segments of a pair, where tokenizers of the family put no special token there."""

    no_encoder: ClassVar[tuple[str, ...]] = ()
    """Entries of a configuration that would make something else than an encoder of an encoder."""

    reading_attention: ClassVar[AttentionKind] = "encoder"
    """The attention by which the classifier's position reads the input's tokens (its last layer is nearest to it)."""

    @abstractmethod
    def word_embedding(self, model: nn.Module) -> nn.Embedding:
        """The module that turns token ids into word vectors, before positions, types and normalisation.

        It is called in every forward pass, and its output `[rows, length, width]` is what layer-integrated
        gradients attribute to.
        """

    @abstractmethod
    def model_inputs(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Keyword arguments of a forward pass on a padded batch, each `[rows, length]`.

        Everything that an architecture would otherwise derive from the token ids (position ids, token types,
        decoder inputs) is spelled out from the real input, so that replacing word vectors on the way, as
        attribution and perturbation do, moves nothing else.
        """

    def embedding_output(self, model: nn.Module) -> nn.Module | None:
        """The module that leaves word, position and type vectors added up and normalised, before the first layer.

        None where an architecture has no such module.
        """
        return None

    @abstractmethod
    def attention_sites(self, model: nn.Module) -> tuple[AttentionSite, ...]:
        """Every attention block in the order of the forward pass."""

    @abstractmethod
    def layers(self, model: nn.Module) -> tuple[Layer, ...]:
        """Every layer in the order of the forward pass."""

    def final_norm(self, model: nn.Module, stack: Stack) -> nn.Module | None:
        """The normalisation after the last layer of a stack, which its last hidden state includes."""
        return None

    def hidden_sites(self, model: nn.Module) -> tuple[HiddenSite, ...]:
        """Where every hidden state passes by, in the order of the forward pass.

        The states are those of transformers' `output_hidden_states`: layers + 1 of each stack.
        """
        layers = self.layers(model)
        sites = []
        for place, layer in enumerate(layers):
            if layer.index == 0:
                sites.append(HiddenSite(layer.stack, 0, layer.module, "input"))
            last = place + 1 == len(layers) or layers[place + 1].stack != layer.stack
            norm = self.final_norm(model, layer.stack) if last else None
            sites.append(HiddenSite(layer.stack, layer.index + 1, norm or layer.module, "output"))
        return tuple(sites)

    def attention_weights(self, output: Any, site: AttentionSite) -> Tensor:
        """Weights of one attention block in a model's output: `[rows, heads, queries, keys]`."""
        weights: Tensor = output.attentions[site.layer]
        return weights

    def teacher_forced(
        self, model: nn.Module, inputs: dict[str, Tensor], target_ids: Tensor, target_mask: Tensor
    ) -> dict[str, Tensor]:
        """Model inputs with a given output text `[rows, length]`, right-padded, forced on the decoder.

        The decoder's position i then predicts target i from the targets before it. ModelError where there is
        no decoder beside an encoder.
        """
        raise ModelError(f"{type(model).__name__} has no decoder to force an output text on.")

    def pooled_only(self, model: nn.Module) -> AbstractContextManager[None]:
        """While entered, the last layer may skip what its classification head does not read.

        The logits stay the same; a family that has no such short cut changes nothing.
        """
        return nullcontext()

    def attention_output(self, model: nn.Module, site: int) -> nn.Linear:
        """The output projection of one attention block: its input is the concatenated heads."""
        return self.attention_sites(model)[site].output

    def num_layers(self, config: Any) -> int:
        """Transformer layers; encoder and decoder layers are added up."""
        return int(config.num_hidden_layers)

    def num_heads(self, config: Any) -> int:
        """Attention heads per layer (query heads, where queries are grouped)."""
        return int(config.num_attention_heads)

    def hidden_size(self, config: Any) -> int:
        """Width of the hidden states."""
        return int(config.hidden_size)

    def head_size(self, config: Any) -> int:
        """Columns of one head before the output projection."""
        return self.hidden_size(config) // self.num_heads(config)

    def max_positions(self, config: Any) -> int | None:
        """Longest input in sub-tokens, special ones counted; None where the architecture sets no limit."""
        return int(config.max_position_embeddings)

    def special_ids(self, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
        """Ids that give the input its structure (CLS, SEP, BOS, EOS, PAD): never part of a text."""
        names = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id")
        ids = (getattr(tokenizer, name, None) for name in names)
        return frozenset(index for index in ids if index is not None)


def base_model(model: nn.Module) -> Any:
    """The model without its head."""
    return getattr(model, "base_model", model)


def arange_positions(attention_mask: Tensor) -> Tensor:
    """Position of every column, 0 at the first one: `[rows, length]`."""
    import torch

    rows, length = attention_mask.shape
    return torch.arange(length, device=attention_mask.device).expand(rows, length)
