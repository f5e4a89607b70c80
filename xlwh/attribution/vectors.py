"""Passes that start at the word vectors: batches of items, their baselines, and the model as a function of vectors.

Everything that is not a word vector (mask, positions, token types, a decoder's input) is that of the real input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.baselines import Baseline, stand_in
from xlwh.errors import ModelError
from xlwh.models.batches import Batch, collate, to_device, to_host, within
from xlwh.models.fitting import each_batch
from xlwh.models.loaded import LoadedModel
from xlwh.models.outputs import output_replaced
from xlwh.models.tokenize import Encoded

T = TypeVar("T")

ITEMS_AT_ONCE = 64
"""Items on a CPU whose perturbed or sampled rows share batches: the bound on what a kill can cost."""


def in_batches(
    loaded: LoadedModel,
    encoded: Encoded,
    items: Sequence[Item],
    batch_tokens: int,
    compute: Callable[[list[int], Batch], Iterator[T]],
) -> Iterator[T]:
    """What `compute(positions in items, batch of their examples)` yields for batches of all items.

    A batch has at most `batch_tokens` padded sub-tokens, and its items explain the same output. Nothing is yielded of one
    that does not fit the device: it is computed again in halves (`xlwh.models.fitting`).
    """
    examples = np.array([item.example for item in items], dtype=np.int64)
    for members in by_output(items):

        def part(places: NDArray[np.int64], length: int, members: NDArray[np.int64] = members) -> list[T]:
            chosen = members[places]
            return list(compute(chosen.tolist(), collate(loaded, encoded, examples[chosen], length)))

        for _, made in each_batch(loaded, encoded.lengths[examples[members]], part, batch_tokens):
            yield from made


def by_output(items: Sequence[Item]) -> list[NDArray[np.int64]]:
    """Positions in `items`, those that explain the same output of the model together."""
    names = [item.output for item in items]
    return [np.flatnonzero(np.array([name == wanted for name in names])) for wanted in dict.fromkeys(names)]


def word_vectors(loaded: LoadedModel, batch: Batch) -> Tensor:
    """Output of the word embedding: `[rows, length, width]`, a leaf without gradient."""
    with torch.no_grad():
        vectors: Tensor = loaded.family.word_embedding(loaded.model)(batch.input_ids)
    return vectors


def baseline_vectors(loaded: LoadedModel, batch: Batch, kind: Baseline) -> Tensor:
    """Word vectors where all but the special tokens are those of a baseline: `[rows, length, width]`.

    A tokenizer without a mask token has PAD in its place.
    """
    vectors = word_vectors(loaded, batch)
    return torch.where(batch.special[..., None], vectors, stand_in(loaded, kind).to(vectors))


def columns(output: Any, name: str) -> Tensor:
    """One of a model's outputs with all numbers of an example in a row: `[rows, columns]`."""
    values: Tensor = getattr(output, name)
    return values.flatten(1)


def targets(loaded: LoadedModel, batch: Batch, items: Sequence[Item]) -> Tensor:
    """Column of `columns` that each item explains: `[rows]`, for the items of a batch in the order of its rows."""
    places = positions(loaded, batch, items)
    found = to_device(np.array([item.target for item in items], dtype=np.int64), loaded.device)
    if places is None:
        return found
    if items[0].output != "logits":
        return places + found
    # A model that writes has the whole vocabulary to choose from at each place.
    return places * (int(loaded.config.vocab_size) if loaded.labels is None else len(loaded.labels)) + found


def positions(loaded: LoadedModel, batch: Batch, items: Sequence[Item]) -> Tensor | None:
    """Place in the padded input of each item's sub-token: `[rows]`; None where whole examples are explained.

    Of an output text that is forced on the decoder, it is the place there.
    """
    if items[0].position is None:
        return None
    places = np.array([item.position for item in items], dtype=np.int64)
    if loaded.family.padding_side == "left":
        places += batch.real.shape[1] - batch.real.sum(axis=1)
    return to_device(places, loaded.device)


def explained(loaded: LoadedModel, batch: Batch, output: Any, items: Sequence[Item]) -> Tensor:
    """F, the number that each item explains: `[rows]`."""
    values = columns(output, items[0].output)
    return values.gather(1, targets(loaded, batch, items)[:, None])[:, 0]


@dataclass(frozen=True)
class Points:
    """Inputs in which the word vectors of some tokens are replaced, one after the other."""

    item: NDArray[np.int64]
    """`[points]`, index of the item."""
    place: NDArray[np.int64]
    """Positions in the example of the tokens that are replaced, of all points."""
    bounds: NDArray[np.int64]
    """`[points + 1]`: point i has the places `bounds[i]:bounds[i + 1]`; none is the whole input."""

    @classmethod
    def of(cls, item: NDArray[np.int64], places: Sequence[NDArray[np.int64]]) -> Points:
        """With the places of each point."""
        bounds = np.cumsum([0, *map(len, places)], dtype=np.int64)
        return cls(item, np.concatenate([np.zeros(0, dtype=np.int64), *places]), bounds)


def without(
    loaded: LoadedModel,
    encoded: Encoded,
    items: Sequence[Item],
    points: Points,
    stand_in: int,
    batch_tokens: int,
) -> NDArray[np.float64]:
    """F of items with the word vector of token `stand_in` at some places: `[points]`."""
    examples = np.array([item.example for item in items], dtype=np.int64)[points.item]
    embedding = loaded.family.word_embedding(loaded.model)
    left = loaded.family.padding_side == "left"
    counts = np.diff(points.bounds)
    values = np.zeros(len(examples))
    output_of = np.zeros(len(items), dtype=np.int64)
    for number, chosen_items in enumerate(by_output(items)):
        output_of[chosen_items] = number
    for number in range(int(output_of.max(initial=-1)) + 1):
        members = np.flatnonzero(output_of[points.item] == number)

        def part(chosen: NDArray[np.int64], length: int, members: NDArray[np.int64] = members) -> None:
            rows = members[chosen]
            batch = collate(loaded, encoded, examples[rows], length)
            row = np.repeat(np.arange(len(rows)), counts[rows])
            column = points.place[within(points.bounds[rows], counts[rows])]
            if left:
                column = column + (length - encoded.lengths[examples[rows]])[row]
            replaced = np.zeros((len(rows), length), dtype=np.bool_)
            replaced[row, column] = True
            with torch.inference_mode():
                ids = batch.input_ids.masked_fill(to_device(replaced, loaded.device), stand_in)
                vectors = embedding(ids)
                with loaded.family.pooled_only(loaded.model), output_replaced(embedding, vectors):
                    output = loaded.model(**batch.inputs(loaded))
                f = explained(loaded, batch, output, [items[index] for index in points.item[rows].tolist()])
                (values[rows],) = to_host(f.float())

        deque(each_batch(loaded, encoded.lengths[examples[members]], part, batch_tokens), maxlen=0)
    return values


def at_once(loaded: LoadedModel, items: Sequence[Item]) -> int:
    """Items whose many rows share a plan: on a CPU few, since all of them are unfinished together; on a GPU all."""
    return len(items) if loaded.device.type == "cuda" else ITEMS_AT_ONCE


def unpadded(loaded: LoadedModel, batch: Batch, values: NDArray[np.floating]) -> list[NDArray[np.float64]]:
    """Values `[rows, length]` without the padding; ModelError if one is not finite."""
    flat = values[batch.real].astype(np.float64, copy=False)
    if not np.isfinite(flat).all():
        raise ModelError(f"Model `{loaded.key}` gives attributions that are not finite.")
    bounds = np.cumsum(batch.real.sum(axis=1)).tolist()
    return [flat[start:end] for start, end in zip([0, *bounds], bounds, strict=False)]


def by_example(
    loaded: LoadedModel,
    batch: Batch,
    chosen: Sequence[int],
    f: Tensor,
    values: Mapping[str, Tensor],
    passes: Mapping[str, tuple[int, int]],
    checked: Sequence[tuple[Tensor, Callable[[NDArray[Any]], None]]] = (),
) -> Iterator[tuple[int, dict[str, Attribution]]]:
    """The attributions of one batch: (item, method -> attribution) for each of its items `chosen`.

    `f` `[rows]` is the explained output, `values` are `[rows, length]` per method, and `passes` how many gradient rows
    and forward rows each method took for an item. `checked` are tensors that come in the same download, each with what
    judges it. ModelError if a value is not finite.
    """
    told, *found = to_host(f.float(), *(each.float() for each in values.values()), *(x for x, _ in checked))
    for (_, judge), each in zip(checked, found[len(values) :], strict=True):
        judge(each)
    rows = [unpadded(loaded, batch, each) for each in found[: len(values)]]
    names, outputs = tuple(values), told.tolist()
    made = [
        [Attribution(row, output, None, *passes[name]) for row, output in zip(each, outputs, strict=True)]
        for name, each in zip(names, rows, strict=True)
    ]
    for index, *own in zip(chosen, *made, strict=True):
        yield index, dict(zip(names, own, strict=True))


class VectorModel(nn.Module):
    """The model as a function of its word vectors, for captum: `forward(vectors, *inputs)` gives `columns`.

    `output` names the model's output that is explained. `arguments(batch)` are the tensors of the real input that go
    with them, each with a row per example, so that captum may repeat them.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__()
        self._loaded = loaded
        self.model: nn.Module = loaded.model
        self.output = "logits"
        self._names: tuple[str, ...] = ()

    def arguments(self, batch: Batch) -> tuple[Tensor, ...]:
        """The other inputs of the forward pass, in a fixed order."""
        inputs = batch.inputs(self._loaded)
        self._names = tuple(inputs)
        return tuple(inputs.values())

    def forward(self, vectors: Tensor, *inputs: Tensor) -> Tensor:
        with output_replaced(self._loaded.family.word_embedding(self._loaded.model), vectors):
            output = self.model(**dict(zip(self._names, inputs, strict=True)))
        return columns(output, self.output)
