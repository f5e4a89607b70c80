"""Any model of which the layers follow each other, resumed at the lowest layer that changes.

The layers are called one by one with what the model's own forward pass gives them; the embeddings, the masks, the last
norm and the head are the model's own. Whether that is the whole model is found out by trying: on a text and its padded
half, each layer has to get what the one before it left, so that nothing happens between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xlwh.errors import ModelError
from xlwh.models.gates import gate
from xlwh.models.hooks import on_call

if TYPE_CHECKING:
    from xlwh.heads.walks import Gates
    from xlwh.models.batches import Batch
    from xlwh.models.families import AttentionSite, Layer
    from xlwh.models.loaded import LoadedModel

PROBE = 12
"""Tokens of the text that a model is tried on."""
Path = tuple[str | int, ...]
"""Where a value stands in the arguments of a call."""
_PLAIN = (type(None), bool, int, float, str, torch.dtype, torch.device)


@dataclass
class _Called:
    """One call of a layer."""

    arguments: tuple[Any, ...]
    """Without the hidden state, which comes first."""
    named: dict[str, Any]
    entered: Tensor
    left: Any = None
    """What the layer returned; the (first) tensor is the next hidden state."""


@dataclass(frozen=True)
class _Block:
    """One layer: its sites of attention, and which of its arguments differ from row to row."""

    layer: Layer
    sites: tuple[int, ...]
    opens: bool
    """Whether it is the first one of its stack."""
    per_row: dict[Path, int]
    """Values that have a part for each row, and into how many the first dimension is divided for one."""
    encoded: frozenset[Path]
    """Values that are the encoder's output."""


@dataclass
class _Pass:
    """A forward pass: every call of a layer in order, and the encoder's output where a decoder follows."""

    calls: list[_Called] = field(default_factory=list)
    encoded: Tensor | None = None
    logits: Tensor = field(default_factory=lambda: torch.zeros(0))


class Prefix:
    """A model that is resumed at a layer; `of` makes it where that is possible."""

    def __init__(self, loaded: LoadedModel, model: Any, blocks: tuple[_Block, ...], width: int) -> None:
        self.loaded = loaded
        self.model = model
        self.blocks = blocks
        self.sites: tuple[AttentionSite, ...] = loaded.family.attention_sites(model)
        self.num_layers, self.num_heads = len(self.sites), self.sites[0].num_heads
        self._width = width
        self._item_bytes = torch.finfo(model.dtype).bits // 8

    @classmethod
    def of(cls, loaded: LoadedModel, model: Any) -> Prefix | None:
        """The model taken apart; None where something happens between its layers (XLM)."""
        with torch.inference_mode():
            two, three = (_recorded(loaded, model, _probe(loaded, rows)) for rows in (2, 3))
        layers, sites = loaded.family.layers(model), loaded.family.attention_sites(model)
        blocks = []
        for index, layer in enumerate(layers):
            opens = index == 0 or layers[index - 1].stack != layer.stack
            if len(two.calls) != len(layers):
                return None
            if not opens and not torch.equal(two.calls[index].entered, _state(two.calls[index - 1].left)):
                return None
            found = _per_row(two.calls[index], three.calls[index])
            if found is None:
                return None
            values = dict(_leaves(two.calls[index]))
            encoded = {
                path
                for path, value in values.items()
                if two.encoded is not None
                and layer.stack == "decoder"
                and isinstance(value, Tensor)
                and value.shape == two.encoded.shape
                and torch.equal(value, two.encoded)
            }
            kinds = ("decoder", "cross") if layer.stack == "decoder" else ("encoder",)
            own = tuple(
                place for place, site in enumerate(sites) if site.kind in kinds and site.layer == layer.index
            )
            blocks.append(
                _Block(
                    layer,
                    own,
                    opens,
                    {p: n for p, n in found.items() if p not in encoded},
                    frozenset(encoded),
                )
            )
        return cls(loaded, model, tuple(blocks), two.calls[0].entered.shape[-1])

    def row_bytes(self, length: int) -> int:
        """Memory that one row of `length` sub-tokens takes: what enters each layer, and a layer's masks and biases."""
        states = (len(self.blocks) + 2) * length * self._width
        return (states + 2 * self.num_heads * length * length) * self._item_bytes

    def rows(self, batch: Batch, repeated: Tensor) -> _PrefixRows:
        """All gates open: row i of the result is example `repeated[i]` of the batch."""
        return _PrefixRows(self, batch.inputs(self.loaded), repeated)

    def encoder_output(self, state: Tensor) -> Tensor:
        """What a decoder gets of the encoder's last layer."""
        final = self.loaded.family.final_module(self.model, "encoder")
        return state if final is None else final(state)

    def call(
        self, block: _Block, called: _Called, state: Tensor, examples: Tensor, encoded: Tensor | None
    ) -> Tensor:
        """What leaves a layer that `state` `[rows, length, width]` enters, with arguments of the rows' examples."""

        def of_rows(path: Path, value: Any) -> Any:
            if path in block.encoded:
                return encoded
            if not isinstance(value, Tensor) or path not in block.per_row or len(value) == 1:
                return value
            parts = block.per_row[path]
            return value.view(-1, parts, *value.shape[1:])[examples].flatten(0, 1)

        arguments = _mapped(called.arguments, of_rows, ("arguments",))
        named = _mapped(called.named, of_rows, ("named",))
        return _state(block.layer.module(state, *arguments, **named))

    def head(self, inputs: dict[str, Tensor], calls: list[_Called], state: Tensor) -> Tensor:
        """Logits of the last layer's output: the model's own pass, with all layers left out."""
        with ExitStack() as left_out:
            for block, called in zip(self.blocks, calls, strict=True):
                last = block.layer.stack == self.blocks[-1].layer.stack
                given = state if last else called.entered[:1].expand(len(state), -1, -1)
                left_out.enter_context(_returning(block.layer.module, _with_state(called.left, given)))
            logits: Tensor = self.model(**inputs).logits
        return logits.float()


class _PrefixRows:
    """What enters each layer, row by row."""

    def __init__(self, stack: Prefix, inputs: dict[str, Tensor], repeated: Tensor) -> None:
        self._stack = stack
        self._inputs = inputs
        self._examples = repeated
        self._pass = _recorded(stack.loaded, stack.model, inputs)
        self._entered = [called.entered[repeated] for called in self._pass.calls]
        self._encoded = None if self._pass.encoded is None else self._pass.encoded[repeated]

    @property
    def logits(self) -> Tensor:
        return self._pass.logits.float()

    def move(self, order: Tensor, reach: list[int], gates: Gates) -> Tensor:
        stack = self._stack
        if gates.mlps is not None:
            raise ModelError(
                f"Model `{stack.loaded.key}`: players of kind `mlp` need an encoder of BERT's layout."
            )
        state: Tensor | None = None
        before = 0
        for block, called, kept in zip(stack.blocks, self._pass.calls, self._entered, strict=True):
            count = reach[max(block.sites)]
            if not count:
                continue
            if state is not None and block.opens:
                # Rows that changed in the encoder enter the decoder as ever, and it reads what they have become.
                assert self._encoded is not None
                self._encoded.index_copy_(0, order[:before], stack.encoder_output(state))
                state = kept[order[:before]]
            elif state is not None:
                kept.index_copy_(0, order[:before], state)
            new = kept[order[before:count]]
            entering = new if state is None else torch.cat([state, new])
            rows = order[:count]
            with ExitStack() as closed:
                for site in block.sites:
                    own = gate(stack.sites[site], gates.heads[:count, site])
                    handle = stack.sites[site].output.register_forward_pre_hook(own)
                    closed.callback(handle.remove)
                encoded = None if self._encoded is None else self._encoded[rows]
                state = stack.call(block, called, entering, self._examples[rows], encoded)
            before = count
        if state is None:
            raise ValueError("move: no row changes")
        inputs = {name: value[self._examples[order]] for name, value in self._inputs.items()}
        return stack.head(inputs, self._pass.calls, state)


def _recorded(loaded: LoadedModel, model: Any, inputs: dict[str, Tensor]) -> _Pass:
    """A forward pass with every call of a layer."""
    found = _Pass()
    layers = loaded.family.layers(model)
    with ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(_listening(layer, found))
        if len({layer.stack for layer in layers}) > 1:
            final = loaded.family.final_module(model, "encoder")
            last = [layer for layer in layers if layer.stack == "encoder"][-1]

            def note(_: Any, __: Any, output: Any) -> None:
                found.encoded = _state(output)

            module, call = (last.module, last.call) if final is None else (final, last.call)
            hooks.enter_context(on_call(model, module, call, "output", note))
        found.logits = model(**inputs).logits
    return found


@contextmanager
def _listening(layer: Layer, found: _Pass) -> Iterator[None]:
    # A module that is called several times is listened to once.
    if layer.call.number:
        yield
        return

    def before(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        found.calls.append(_Called(arguments[1:], named, arguments[0]))

    def after(_: Any, __: Any, output: Any) -> None:
        found.calls[-1].left = output

    handles = [
        layer.module.register_forward_pre_hook(before, with_kwargs=True),
        layer.module.register_forward_hook(after),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _returning(module: Any, output: Any) -> Iterator[None]:
    """Inside, a module computes nothing and returns `output`."""
    if "forward" in vars(module):  # a module that is called several times
        yield
        return
    module.forward = lambda *_, **__: output
    try:
        yield
    finally:
        del module.forward


def _probe(loaded: LoadedModel, rows: int) -> dict[str, Tensor]:
    """Inputs of a few rows of one text, of which the first is shorter, so that masks are not left out."""
    special = set(loaded.tokenizer.all_special_ids) | loaded.family.special_ids(loaded.tokenizer)
    known = [index for index in sorted(set(loaded.tokenizer.get_vocab().values())) if index not in special]
    ids = known[: min(PROBE, loaded.max_length - 1)]
    end = loaded.tokenizer.eos_token_id  # classifiers of encoder-decoders read their decoder there
    ending = [end] if isinstance(end, int) else []
    pad, left = loaded.tokenizer.pad_token_id, loaded.family.padding_side == "left"
    short = [*ids[: len(ids) // 2], *ending]
    padding = [pad] * (len(ids) + len(ending) - len(short))
    first, mask = ([*padding, *short], [0] * len(padding) + [1] * len(short))
    if not left:
        first, mask = [*short, *padding], [1] * len(short) + [0] * len(padding)
    chosen = [first] + [[*ids, *ending]] * (rows - 1)
    masks = [mask] + [[1] * len(mask)] * (rows - 1)
    device = loaded.device
    return loaded.family.model_inputs(
        loaded.model, torch.tensor(chosen, device=device), torch.tensor(masks, device=device)
    )


def _leaves(called: _Called) -> Iterator[tuple[Path, Any]]:
    found: list[tuple[Path, Any]] = []

    def note(path: Path, value: Any) -> Any:
        found.append((path, value))
        return value

    _mapped(called.arguments, note, ("arguments",))
    _mapped(called.named, note, ("named",))
    yield from found


def _per_row(two: _Called, three: _Called) -> dict[Path, int] | None:
    """Values that have one part more, or h parts more, in a batch of one row more; None for values of unknown kinds."""
    found: dict[Path, int] = {}
    others = dict(_leaves(three))
    for path, value in _leaves(two):
        if not isinstance(value, (Tensor, *_PLAIN)):
            return None
        other = others.get(path)
        if isinstance(value, Tensor) and isinstance(other, Tensor) and value.dim():
            more = len(other) - len(value)
            if more:
                if len(value) != 2 * more:
                    return None
                found[path] = more
    return found


def _mapped(value: Any, change: Callable[[Path, Any], Any], path: Path) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(_mapped(each, change, (*path, place)) for place, each in enumerate(value))
    if isinstance(value, dict):
        return {name: _mapped(each, change, (*path, name)) for name, each in value.items()}
    return change(path, value)


def _state(output: Any) -> Tensor:
    state: Tensor = output[0] if isinstance(output, tuple) else output
    return state


def _with_state(output: Any, state: Tensor) -> Any:
    return (state, *output[1:]) if isinstance(output, tuple) else state
