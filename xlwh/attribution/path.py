"""The model along straight paths from a baseline to the input, many examples and positions at a time.

What a path needs is on the device before the first pass, and the token densities stay there until they are summed: for
each refinement of all paths the host waits once, for three numbers a node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlwh.attribution.base import Item
from xlwh.attribution.baselines import Baseline, stand_in
from xlwh.attribution.quadrature import FOURTH_DIFFERENCE, Finished
from xlwh.attribution.vectors import by_output, columns, targets
from xlwh.errors import ModelError
from xlwh.models.batches import Batch, collate, to_device, to_host
from xlwh.models.fitting import by_padded_length, each_batch
from xlwh.models.loaded import LoadedModel
from xlwh.models.outputs import output_replaced
from xlwh.models.tokenize import Encoded

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TERMS = 1 << 16
"""Densities that are summed at once."""


@dataclass
class _Group:
    """Items of one output and padded length, on the device."""

    output: str
    batch: Batch
    columns: Tensor
    """Of the output, that each item explains: `[items]`."""
    densities: list[Tensor] = field(default_factory=list)
    """Of the nodes so far, `[nodes, length]` each."""
    num_nodes: int = 0

    def at(self, rows: Tensor) -> Tensor:
        """Densities of some nodes."""
        if len(self.densities) > 1:
            self.densities = [torch.cat(self.densities)]
        return self.densities[0][rows]


@dataclass(frozen=True)
class Sums:
    """Attributions and their errors of some items, on the device still: `[2, items, length]`."""

    items: Integers
    values: Tensor
    real: NDArray[np.bool_]
    """`[items, length]`, True at tokens."""


class PathModel:
    """Evaluates F and the token densities at points of the paths of `items`.

    The path runs at the word-embedding module's output from the baseline (special tokens kept; PAD, the mask
    token, zeros or the mean vector elsewhere) to the input; attention mask, position ids and token types are those of
    the real input throughout, because RoBERTa and XLM-R would derive shifted positions from the PADs of the baseline.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        encoded: Encoded,
        items: Sequence[Item],
        batch_tokens: int,
        baseline: Baseline = "pad",
    ) -> None:
        self.loaded = loaded
        self._encoded = encoded
        self._items = items
        self.batch_tokens = batch_tokens
        self._embedding = loaded.family.word_embedding(loaded.model)
        # Once: the mean is over the whole vocabulary.
        self._stand_in = stand_in(loaded, baseline)

    def groups(self, chosen: Sequence[int]) -> Iterator[tuple[Integers, _Group]]:
        """Groups of some items, each with places in `chosen`."""
        items = [self._items[item] for item in chosen]
        examples = np.array([item.example for item in items], dtype=np.int64)
        for members in by_output(items):
            for places, length in by_padded_length(self.loaded, self._encoded.lengths[examples[members]]):
                inside = members[places]
                own = [items[place] for place in inside.tolist()]
                batch = collate(self.loaded, self._encoded, examples[inside], length)
                yield inside, _Group(own[0].output, batch, targets(self.loaded, batch, own))

    def batch(self, group: _Group, rows: Integers, positions: Floats) -> tuple[Tensor, Tensor]:
        """Densities of a group's items at positions of their paths, `[rows, length]`; and F, their sums and sizes, `[3, rows]`."""
        loaded = self.loaded
        at = to_device(rows, loaded.device)
        batch = _rows(group.batch, rows, at)
        position = to_device(positions.astype(np.float32), loaded.device)
        with torch.no_grad():
            vectors = self._embedding(batch.input_ids)
            # Nothing changes along the path at special tokens, nor at padding.
            kept = batch.special | (batch.attention_mask == 0)
            source = torch.where(kept[..., None], vectors, self._stand_in.to(vectors))
            step = vectors - source
            point = source + position[:, None, None].to(source.dtype) * step
        point.requires_grad_(True)
        with (
            torch.enable_grad(),
            loaded.family.pooled_only(loaded.model),
            output_replaced(self._embedding, point),
        ):
            output = loaded.model(**batch.inputs(loaded))
            f = columns(output, group.output).gather(1, group.columns[at][:, None])[:, 0]
            (gradient,) = torch.autograd.grad(f.sum(), point)
        density = (gradient.float() * step.float()).sum(-1)
        return density, torch.stack([f.detach().double(), *_totals(density)])

    def evaluate(self, points: Sequence[tuple[int, float]]) -> list[tuple[float, NDArray[np.float32]]]:
        """F and token densities for every (item, position in [0, 1]), in the order given."""
        paths = Paths(self, sorted({item for item, _ in points}))
        places = {item: place for place, item in enumerate(sorted({item for item, _ in points}))}
        (f, _, _), _ = paths.evaluate(
            np.array([places[item] for item, _ in points]), np.array([position for _, position in points])
        )
        return list(zip(f.tolist(), paths.densities(), strict=True))


def _totals(density: Tensor) -> tuple[Tensor, Tensor]:
    exact = density.double()
    return exact.sum(-1), exact.abs().sum(-1)


def _rows(batch: Batch, rows: Integers, at: Tensor) -> Batch:
    """Some rows of a batch, which may repeat."""
    types, forced = batch.token_type_ids, batch.forced
    return replace(
        batch,
        rows=batch.rows[rows],
        input_ids=batch.input_ids[at],
        attention_mask=batch.attention_mask[at],
        token_type_ids=None if types is None else types[at],
        special=batch.special[at],
        real=batch.real[rows],
        forced=None if forced is None else (forced[0][at], forced[1][at]),
    )


class Paths:
    """Paths of some items that are integrated together; an item is known by its place among them."""

    def __init__(self, model: PathModel, chosen: Sequence[int]) -> None:
        self._model = model
        self._groups: list[_Group] = []
        self._group = np.zeros(len(chosen), dtype=np.int64)
        self._row = np.zeros(len(chosen), dtype=np.int64)
        for places, group in model.groups(chosen):
            self._group[places], self._row[places] = len(self._groups), np.arange(len(places))
            self._groups.append(group)
        self._lengths = np.array([group.batch.input_ids.shape[1] for group in self._groups], dtype=np.int64)
        self._node_item = np.zeros(0, dtype=np.int64)
        self._node_row = np.zeros(0, dtype=np.int64)

    def evaluate(
        self, item: Integers, position: Floats, waiting: Sequence[Sums] = ()
    ) -> tuple[Floats, list[NDArray[np.float64]]]:
        """F, the sum of the densities and that of their absolutes: `[3, nodes]`; and the values of sums that were made.

        ModelError where they are not finite.
        """
        loaded, group, row = self._model.loaded, self._group[item], self._row[item]
        node_row = np.zeros(len(item), dtype=np.int64)
        order, found = [], []
        outputs = np.array([each.output for each in self._groups])
        for output in dict.fromkeys(outputs.tolist()):
            members = np.flatnonzero(outputs[group] == output)

            def compute(
                places: Integers, length: int, members: Integers = members
            ) -> tuple[_Group, Tensor, Tensor]:
                nodes = members[places]
                own = self._groups[int(group[nodes[0]])]
                assert own.batch.input_ids.shape[1] == length
                return own, *self._model.batch(own, row[nodes], position[nodes])

            lengths = self._lengths[group[members]]
            for places, (own, density, totals) in each_batch(
                loaded, lengths, compute, self._model.batch_tokens
            ):
                nodes = members[places]
                node_row[nodes] = own.num_nodes + np.arange(len(nodes))
                own.densities.append(density)
                own.num_nodes += len(nodes)
                order.append(nodes)
                found.append(totals)
        self._node_item = np.concatenate([self._node_item, item])
        self._node_row = np.concatenate([self._node_row, node_row])
        told, *made = to_host(torch.cat(found, dim=1), *(each.values for each in waiting))
        if not np.isfinite(told).all():
            raise ModelError(f"Model `{loaded.key}` gives values that are not finite along the path.")
        values = np.empty_like(told)
        values[:, np.concatenate(order)] = told
        return values, made

    def sums(self, finished: Finished | None) -> list[Sums]:
        """Attributions of finished integrals, and the errors of each token where there are fives of nodes to tell."""
        if finished is None:
            return []
        made = []
        ends, four_ends = (
            np.concatenate([[0], np.cumsum(each)]) for each in (finished.terms, finished.fours)
        )
        group = self._group[finished.items]
        for number in np.unique(group).tolist():
            members = np.flatnonzero(group == number)
            before = np.cumsum(finished.terms[members]) - finished.terms[members]
            for block in np.split(members, np.flatnonzero(np.diff(before // TERMS)) + 1):
                terms, fours = _spans(ends, block), _spans(four_ends, block)
                made.append(self._sum(self._groups[number], finished, block, terms, fours))
        return made

    def _sum(
        self, group: _Group, finished: Finished, block: Integers, terms: Integers, fours: Integers
    ) -> Sums:
        def up(values: NDArray[np.float64] | Integers) -> Tensor:
            return to_device(values, self._model.loaded.device)

        density = group.at(up(self._node_row[finished.nodes[terms]])).double()
        density *= up(finished.weights[terms])[:, None]
        total = _summed(density, up(finished.terms[block]))
        error = torch.zeros_like(total)
        if len(fours):
            rows = up(self._node_row[finished.fives[fours]].T)
            apart = sum(factor * group.at(rows[k]) for k, factor in enumerate(FOURTH_DIFFERENCE.tolist()))
            assert isinstance(apart, Tensor)
            apart = apart.double().abs_() * up(finished.factors[fours])[:, None]
            # The known error is that of some tokens.
            least = up(finished.errors[fours]) / apart.sum(-1).clamp_min(1e-300)
            error = _summed(apart * least.clamp(1.0, 1e6)[:, None], up(finished.fours[block]))
        items = finished.items[block]
        return Sums(items, torch.stack([total, error]), group.batch.real[self._row[items]])

    def densities(self) -> Iterator[NDArray[np.float32]]:
        """Token densities of every node so far."""
        held = [to_host(*each.densities) for each in self._groups]
        pools = [np.concatenate(each) for each in held]
        for item, row in zip(self._node_item.tolist(), self._node_row.tolist(), strict=True):
            group = int(self._group[item])
            yield pools[group][row][self._groups[group].batch.real[self._row[item]]]


def _spans(ends: Integers, members: Integers) -> Integers:
    """What lies between the ends of some members, one after the other."""
    sizes = ends[members + 1] - ends[members]
    before = np.cumsum(sizes) - sizes
    return np.repeat(ends[members] - before, sizes) + np.arange(int(sizes.sum()))


def _summed(values: Tensor, sizes: Tensor) -> Tensor:
    """Sums of so many rows after each other; in one order on every device."""
    made: Tensor = torch.segment_reduce(values, "sum", lengths=sizes, axis=0, unsafe=True)
    return made
