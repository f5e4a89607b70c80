"""What every model family answers, and how most of them are described: by the names of their modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from xlwh.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase


Stack = Literal["encoder", "decoder"]
"""A stack of layers. Encoders alone and decoders alone have one, an encoder-decoder has both."""

AttentionKind = Literal["encoder", "decoder", "cross"]
"""Self-attention of a stack, or the decoder's attention to the encoder's output."""

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Call:
    """One of the calls of a module in a forward pass; layers that share their weights are one module."""

    number: int = 0
    """Which call, from 0."""
    of: int = 1
    """How many there are in a forward pass."""


ONCE = Call()


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
    call: Call = ONCE

    def without(self, weight: Tensor, heads: Sequence[int]) -> Tensor:
        """A copy of the projection's weight in which these heads have no part."""
        found = weight.detach().clone()
        # GPT-2's projections have their inputs in the rows.
        by_input = found if type(self.output).__name__ == "Conv1D" else found.T
        for head in heads:
            by_input[head * self.head_size : (head + 1) * self.head_size] = 0
        return found


@dataclass(frozen=True)
class Layer:
    """One transformer layer: `module` is called with the hidden state before it as its first argument."""

    stack: Stack
    index: int
    """Number in its stack, from 0. The layer turns hidden state `index` into hidden state `index + 1`."""
    module: nn.Module
    call: Call = ONCE


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
    call: Call = ONCE


@dataclass(frozen=True)
class Blocks:
    """Where the layers of one stack are: paths of attributes and indices, from the model without its head."""

    stack: Stack
    layers: str
    attention: str
    """From a layer to the output projection of its self-attention."""
    cross: str | None = None
    """From a layer to the output projection of its attention to the encoder."""
    last: str | None = None
    """The module that the stack's last hidden state leaves, where that is not the last layer."""
    zero_padding: bool = False
    """Whether padded positions are zeroed behind `last`."""
    depth: tuple[str, ...] = ("num_hidden_layers", "n_layers", "n_layer")
    """Entries of config.json, the first of which that is there says how many layers there are."""
    shared: bool = False
    """Whether `layers` are groups whose weights several layers share, as in ALBERT."""


@dataclass(frozen=True)
class Family:
    """The differences between architectures. Stateless: every method takes the model or its configuration.

    Paths are attributes and indices joined by dots, from the model without its head.
    """

    name: str
    model_types: tuple[str, ...]
    """The `model_type` values of transformers that are described."""
    blocks: tuple[Blocks, ...]
    """The stacks in the order of the forward pass."""
    embedding: str
    """The module that turns token ids into word vectors."""
    embedding_norm: str | None = None
    """The module that leaves word, position and type vectors added up and normalised, before the first layer."""
    positions: Literal["columns", "after_padding_id", "tokens"] | None = None
    """Position ids: the column; RoBERTa's, the padding id + 1 at the first token; the token's number, wherever the
    padding is; None where none are passed."""
    token_types: Literal["own", "zero"] | None = None
    """Token types: the tokenizer's, all 0, or none."""
    lengths: bool = False
    """Whether the number of tokens is passed."""
    decoder_input: Literal["start", "rotated"] | None = None
    """What a decoder beside an encoder reads before the text: the start token, or the text's own last token."""
    position_limit: Literal["config", "behind_padding_id"] | None = "config"
    """What limits the input's length: `max_position_embeddings`, or what is left of it behind the padding id."""
    padding_side: Side = "right"
    """Side on which batches are padded."""
    padding_sides: tuple[Side, ...] = ("right",)
    """Sides on which padding changes nothing: the left is none where positions are counted from the first column."""
    attention: tuple[str, ...] = ("sdpa", "eager")
    """Attention implementations that work; where the one asked for does not, the first one is used."""
    pair_separator: str = ""
    """Text between the segments of a pair, where tokenizers of the family put no special token there."""
    no_encoder: tuple[str, ...] = ()
    """Entries of a configuration that would make something else than an encoder of an encoder."""
    language_tokens: bool = False
    """Whether a text and its translation begin or end with the token of their language."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Entries of configurations made by the family's own code, and what transformers calls them."""
    reading_attention: AttentionKind = "encoder"
    """The attention by which the classifier's position reads the input's tokens (its last layer is nearest to it)."""
    first_token: bool = False
    """Whether the head of classifiers reads the first token of layers of BERT's kind, so that others may be left out."""
    bert_layout: bool = False
    """Whether layers have BERT's parts by BERT's names, so that heads can be taken out and engines be built of them."""

    def word_embedding(self, model: nn.Module) -> nn.Embedding:
        """The module that turns token ids into word vectors, before positions, types and normalisation.

        It is called in every forward pass, and its output `[rows, length, width]` is what layer-integrated
        gradients attribute to.
        """
        module: nn.Embedding = at_path(base_model(model), self.embedding)
        return module

    def embedding_output(self, model: nn.Module) -> nn.Module | None:
        """The module that leaves word, position and type vectors added up and normalised, before the first layer.

        None where an architecture has no such module.
        """
        if self.embedding_norm is None:
            return None
        module: nn.Module = at_path(base_model(model), self.embedding_norm)
        return module

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
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.positions == "columns":
            inputs["position_ids"] = arange_positions(attention_mask)
        elif self.positions == "tokens":
            inputs["position_ids"] = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        elif self.positions == "after_padding_id":
            padding = int(base_model(model).embeddings.padding_idx)
            inputs["position_ids"] = attention_mask.cumsum(dim=1) * attention_mask + padding
        if self.token_types is not None:
            own = token_type_ids if self.token_types == "own" else None
            inputs["token_type_ids"] = input_ids.new_zeros(input_ids.shape) if own is None else own
        if self.lengths:
            inputs["lengths"] = attention_mask.sum(dim=1)
        if self._decoder(model) is None:
            return inputs
        if type(model).__name__.endswith(("ForSequenceClassification", "ForQuestionAnswering")):
            return self.teacher_forced(model, inputs, input_ids, attention_mask)
        return self.teacher_forced(model, inputs, input_ids[:, :1], attention_mask[:, :1])

    def teacher_forced(
        self, model: nn.Module, inputs: dict[str, Tensor], target_ids: Tensor, target_mask: Tensor
    ) -> dict[str, Tensor]:
        """Model inputs with a given output text `[rows, length]`, right-padded, forced on the decoder.

        The decoder's position i then predicts target i from the targets before it. ModelError where there is
        no decoder beside an encoder.
        """
        import torch

        if self._decoder(model) is None:
            raise ModelError(f"{type(model).__name__} has no decoder to force an output text on.")
        if self.decoder_input == "rotated":
            start = target_ids.gather(1, (target_mask.sum(dim=1, keepdim=True) - 1).clamp(min=0))
        else:
            start = target_ids.new_full(
                (len(target_ids), 1), int(base_model(model).config.decoder_start_token_id)
            )
        first = target_mask.new_ones((len(target_ids), 1))
        return inputs | {
            "decoder_input_ids": torch.cat([start, target_ids[:, :-1]], dim=1),
            "decoder_attention_mask": torch.cat([first, target_mask[:, :-1]], dim=1),
        }

    def _decoder(self, model: nn.Module) -> Any:
        """The decoder beside an encoder; None where there is none, as in a tagger on a text-to-text model's encoder."""
        return None if self.decoder_input is None else getattr(base_model(model), "decoder", None)

    def _stacks(self, model: nn.Module) -> list[Blocks]:
        two = len(self.blocks) > 1 and self._decoder(model) is None
        return [blocks for blocks in self.blocks if not (two and blocks.stack == "decoder")]

    def _modules(self, model: nn.Module, blocks: Blocks) -> list[nn.Module]:
        """The layers of a stack in the order in which they are called; one module may be called several times."""
        modules = list(at_path(base_model(model), blocks.layers))
        if not blocks.shared:
            return modules
        depth = int(base_model(model).config.num_hidden_layers)
        return [modules[index * len(modules) // depth].albert_layers[0] for index in range(depth)]

    def attention_sites(self, model: nn.Module) -> tuple[AttentionSite, ...]:
        """Every attention block in the order of the forward pass."""
        body = base_model(model)
        heads, size = self.num_heads(body.config), self.head_size(body.config)
        found: list[tuple[int, AttentionKind, Any]] = []
        for blocks in self._stacks(model):
            for index, layer in enumerate(self._modules(model, blocks)):
                found.append((index, blocks.stack, at_path(layer, blocks.attention)))
                if blocks.cross is not None:
                    found.append((index, "cross", at_path(layer, blocks.cross)))
        calls = _calls([module for *_, module in found])
        return tuple(
            AttentionSite(index, kind, module, heads, size, call)
            for (index, kind, module), call in zip(found, calls, strict=True)
        )

    def layers(self, model: nn.Module) -> tuple[Layer, ...]:
        """Every layer in the order of the forward pass."""
        found = [
            (blocks.stack, index, module)
            for blocks in self._stacks(model)
            for index, module in enumerate(self._modules(model, blocks))
        ]
        calls = _calls([module for *_, module in found])
        return tuple(Layer(*each, call) for each, call in zip(found, calls, strict=True))

    def final_module(self, model: nn.Module, stack: Stack) -> nn.Module | None:
        """The module that a stack's last hidden state leaves; None where it is the last layer."""
        (blocks,) = (blocks for blocks in self.blocks if blocks.stack == stack)
        return None if blocks.last is None else at_path(base_model(model), blocks.last)

    def hidden_sites(self, model: nn.Module) -> tuple[HiddenSite, ...]:
        """Where every hidden state passes by, in the order of the forward pass.

        The states are those of transformers' `output_hidden_states`: layers + 1 of each stack.
        """
        sites = []
        layers = self.layers(model)
        for blocks in self._stacks(model):
            own = [layer for layer in layers if layer.stack == blocks.stack]
            sites += [
                HiddenSite(blocks.stack, layer.index, layer.module, "input", call=layer.call) for layer in own
            ]
            final, end = self.final_module(model, blocks.stack), own[-1]
            module, call = (end.module, end.call) if final is None else (final, ONCE)
            sites.append(HiddenSite(blocks.stack, len(own), module, "output", blocks.zero_padding, call))
        return tuple(sites)

    def attention_weights(self, output: Any, site: AttentionSite) -> Tensor:
        """Weights of one attention block in a model's output: `[rows, heads, queries, keys]`."""
        name = "cross_attentions" if site.kind == "cross" else f"{site.kind}_attentions"
        whole = getattr(output, name, None)
        weights: Tensor = (output.attentions if whole is None else whole)[site.layer]
        return weights

    def pooled_only(self, model: nn.Module) -> AbstractContextManager[None]:
        """While entered, the last layer may skip what its classification head does not read.

        The logits stay the same; a family that has no such short cut changes nothing.
        """
        if not self.first_token or not type(model).__name__.endswith("ForSequenceClassification"):
            return nullcontext()
        # Past the last attention only the first token is computed.
        return _first_token_only(self.layers(model)[-1].module.attention.output)  # type: ignore[union-attr, arg-type]

    def attention_output(self, model: nn.Module, site: int) -> nn.Linear:
        """The output projection of one attention block: its input is the concatenated heads."""
        return self.attention_sites(model)[site].output

    def num_layers(self, config: Any) -> int:
        """Transformer layers; encoder and decoder layers are added up."""
        depths = self.depths(lambda name: getattr(config, name, None))
        return sum(depths.values()) if config.is_encoder_decoder else depths[self.blocks[0].stack]

    def depths(self, entry: Callable[[str], Any]) -> dict[Stack, int]:
        """Layers of each stack by the entries of a configuration; KeyError where it does not say."""
        found: dict[Stack, int] = {}
        for blocks in self.blocks:
            said = [entry(name) for name in blocks.depth if entry(name) is not None]
            if not said:
                raise KeyError(blocks.depth[0])
            found[blocks.stack] = int(said[0])
        return found

    def num_heads(self, config: Any) -> int:
        """Attention heads per layer (query heads, where queries are grouped)."""
        return int(config.num_attention_heads)

    def hidden_size(self, config: Any) -> int:
        """Width of the hidden states."""
        return int(config.hidden_size)

    def vector_size(self, model: nn.Module) -> int:
        """Width of the word vectors: in some architectures less than that of the hidden states."""
        return int(self.word_embedding(model).weight.shape[1])

    def head_size(self, config: Any) -> int:
        """Columns of one head before the output projection."""
        for name in ("d_kv", "head_dim"):
            if getattr(config, name, None) is not None:
                return int(getattr(config, name))
        return self.hidden_size(config) // self.num_heads(config)

    def max_positions(self, config: Any) -> int | None:
        """Longest input in sub-tokens, special ones counted; None where the architecture sets no limit."""
        if self.position_limit is None:
            return None
        if self.position_limit == "config":
            return int(config.max_position_embeddings)
        if config.pad_token_id is None:
            raise ModelError(f"`pad_token_id` is missing, from which {config.model_type} counts positions.")
        return int(config.max_position_embeddings) - int(config.pad_token_id) - 1

    def require_described(self, config: Any) -> None:
        """ModelError for a configuration that makes something else than what is described here."""
        for entry in self.no_encoder:
            if getattr(config, entry, False):
                raise ModelError(
                    f"has `{entry}` = `{getattr(config, entry)}`, which makes another architecture of "
                    f"{config.model_type}: its tokens would see the ones before them only. Set it to `false` if the "
                    "checkpoint was trained as an encoder; others are not supported."
                )
        if getattr(config, "inner_group_num", 1) != 1:
            raise ModelError(
                f"has `inner_group_num` = {config.inner_group_num}: layers of {config.model_type} that are groups of "
                "several are not supported."
            )
        both = [getattr(config, f"{stack}_attention_heads", None) for stack in ("encoder", "decoder")]
        if None not in both and both[0] != both[1]:
            raise ModelError(
                f"has {both[0]} heads in each layer of its encoder and {both[1]} in its decoder. Gates are of one width: "
                "such models are not supported."
            )

    def special_ids(self, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
        """Ids that give the input its structure (CLS, SEP, BOS, EOS, PAD): never part of a text."""
        names = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id")
        ids = (getattr(tokenizer, name, None) for name in names)
        return frozenset(index for index in ids if index is not None)


def at_path(module: Any, path: str) -> Any:
    """What a path of attributes and indices leads to."""
    for step in path.split("."):
        module = module[int(step)] if step.lstrip("-").isdigit() else getattr(module, step)
    return module


def base_model(model: nn.Module) -> Any:
    """The model without its head."""
    return getattr(model, "base_model", model)


def arange_positions(attention_mask: Tensor) -> Tensor:
    """Position of every column, 0 at the first one: `[rows, length]`."""
    import torch

    rows, length = attention_mask.shape
    return torch.arange(length, device=attention_mask.device).expand(rows, length)


def _calls(modules: Sequence[Any]) -> list[Call]:
    """Which call of its module each of some calls is."""
    total = Counter(map(id, modules))
    before: Counter[int] = Counter()
    found = []
    for module in modules:
        found.append(Call(before[id(module)], total[id(module)]))
        before[id(module)] += 1
    return found


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
