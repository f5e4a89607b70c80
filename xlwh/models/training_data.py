"""From rows of `examples` to training batches, and what each task counts as correct.

Texts go through the same encoder and the same family inputs as in prediction, so a model is trained on what it
will see. A task that is trained here is an `Objective`; another task is another entry of `OBJECTIVES`, and neither
batching nor the training loop (`xlwh.models.finetune`) changes: gold that is a list (one tag per sub-token) is
padded like the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.errors import ModelError
from xlwh.models.batches import collate, padded_length
from xlwh.models.tokenize import Encoded, encode

if TYPE_CHECKING:
    from torch import Tensor

    from xlwh.models.zoo import LoadedModel

NLI_LABELS = ("entailment", "neutral", "contradiction")
"""Order of the logits of natural language inference."""

IGNORED = -100
"""Gold of padded positions; torch's cross entropy leaves it out."""

BATCHES_PER_BUCKET = 50
"""Examples are sorted by length within this many batches of the shuffled order."""

ENCODE_ROWS = 4096
"""Examples encoded at once: what the encoder knows beyond the token ids is dropped after each chunk."""

Gold = Mapping[str, NDArray[np.int64] | Sequence[Sequence[int]]]
"""Arguments of a model's `forward` beside its inputs, one entry per example: a number, or one per sub-token."""


@dataclass(frozen=True)
class Objective:
    """What a task adds to the training loop.

    `gold` is the column of `examples` that holds the gold. `targets(encoded, examples, labels)` turns it into
    arguments of the model's `forward`. `problem_type` chooses its loss, where transformers knows several.
    `correct(logits, gold)` gives how many predictions of a batch are right and how many there are; the development
    score is their ratio.
    """

    gold: str
    problem_type: Literal["single_label_classification"] | None
    targets: Callable[[Encoded, pl.DataFrame, Sequence[str]], Gold]
    correct: Callable[[Tensor, Mapping[str, Tensor]], tuple[int, int]]


def class_targets(encoded: Encoded, examples: pl.DataFrame, labels: Sequence[str]) -> Gold:
    """The index of each example's label: `[n]`. `ModelError` for a label that is not in `labels`."""
    index = {label: i for i, label in enumerate(labels)}
    for label in examples["label"].unique(maintain_order=True):
        if label not in index:
            raise ModelError(
                f"Label `{label}` is not one of the labels trained on: {', '.join(labels)}. Use data with the same "
                "labels, or set `labels` of the model."
            )
    return {"labels": np.array([index[label] for label in examples["label"]], dtype=np.int64)}


def correct_classes(logits: Tensor, gold: Mapping[str, Tensor]) -> tuple[int, int]:
    """Rows whose largest logit is the gold class, and rows: logits `[n, classes]`."""
    labels = gold["labels"]
    return int((logits.argmax(dim=-1) == labels).sum()), len(labels)


CLASSIFICATION = Objective(
    gold="label",
    problem_type="single_label_classification",
    targets=class_targets,
    correct=correct_classes,
)

OBJECTIVES: dict[str, Objective] = {
    "sequence_classification": CLASSIFICATION,
    "sentence_pair": CLASSIFICATION,
}
"""The tasks that can be trained here, by `examples.task`."""


def objective_of(task: str, model: str) -> Objective:
    """How a task is trained; `ModelError` names the tasks that can be."""
    if task not in OBJECTIVES:
        raise ModelError(
            f"Model `{model}`: task `{task}` cannot be fine-tuned here. Tasks that can: {', '.join(OBJECTIVES)}."
        )
    return OBJECTIVES[task]


def canonical_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """The one order in which a set of labels becomes logits: that of NLI for its labels, else alphabetical."""
    found = set(labels)
    if found <= set(NLI_LABELS):
        return tuple(label for label in NLI_LABELS if label in found)
    return tuple(sorted(found))


@dataclass(frozen=True)
class TrainingSet:
    """Encoded examples with their gold, lean enough for hundreds of thousands of them."""

    encoded: Encoded
    """Token ids and types only: words and characters were needed to make the gold, at most."""
    gold: Gold

    def __len__(self) -> int:
        return len(self.encoded)

    @property
    def truncated_examples(self) -> int:
        return int((self.encoded.num_truncated > 0).sum())

    @property
    def truncated_tokens(self) -> int:
        """Sub-tokens cut off."""
        return int(self.encoded.num_truncated.sum())

    def batch(
        self, base: LoadedModel, rows: NDArray[np.int64]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Inputs `[rows, length]` and gold (`[rows]` or `[rows, length]`) of a batch, on the model's device."""
        length = padded_length(int(self.encoded.lengths[rows].max()), base.max_length)
        inputs = collate(base, self.encoded, rows, length).inputs(base)
        left = base.family.padding_side == "left"
        return inputs, {
            name: _gold_tensor(values, rows, length, left).to(base.device)
            for name, values in self.gold.items()
        }


def prepare(
    base: LoadedModel, objective: Objective, examples: pl.DataFrame, labels: Sequence[str]
) -> TrainingSet:
    """Encode examples (columns of the `examples` table, gold not NULL) for a model, at most `base.max_length` long.

    `ModelError` where the gold does not fit the labels.
    """
    chunks, golds, none = [], [], np.zeros(0, np.int32)
    for chunk in examples.iter_slices(ENCODE_ROWS):
        encoded = encode(base, chunk)
        golds.append(objective.targets(encoded, chunk, labels))
        # Only ids and types are kept: the rest is several times their size.
        chunks.append(
            replace(
                encoded,
                segment=none,
                char_start=none,
                char_end=none,
                word_index=none,
                words=(),
                segmenters=(),
            )
        )
    gold: dict[str, NDArray[np.int64] | Sequence[Sequence[int]]] = {}
    for name, first in golds[0].items():
        parts = [part[name] for part in golds]
        gold[name] = (
            np.concatenate(parts)
            if isinstance(first, np.ndarray)
            else [row for part in parts for row in part]
        )
    return TrainingSet(_concatenate(chunks), gold)


def epoch_batches(
    lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """Order of one epoch: each example once, batches of similar lengths, in an order fixed by (seed, epoch).

    The examples are shuffled, sorted by length within buckets of `BATCHES_PER_BUCKET` batches, cut into batches,
    and the batches shuffled, so that neither the content of a batch nor its place follows the file. A pure
    function of its arguments: a resumed run finds its place again without a saved sampler.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    bucket = batch_size * BATCHES_PER_BUCKET
    batches = []
    for start in range(0, len(order), bucket):
        part = order[start : start + bucket]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def _gold_tensor(
    values: NDArray[np.int64] | Sequence[Sequence[int]], rows: NDArray[np.int64], length: int, left: bool
) -> Tensor:
    import torch

    if isinstance(values, np.ndarray):
        return torch.from_numpy(values[rows])
    padded = np.full((len(rows), length), IGNORED, dtype=np.int64)
    for place, index in enumerate(rows.tolist()):
        size = len(values[index])
        padded[place, length - size if left else 0 : length if left else size] = values[index]
    return torch.from_numpy(padded)


def _concatenate(chunks: Sequence[Encoded]) -> Encoded:
    lengths = np.concatenate([chunk.lengths for chunk in chunks])
    types = [chunk.token_type_ids for chunk in chunks if chunk.token_type_ids is not None]
    return replace(
        chunks[0],
        keys=pl.concat([chunk.keys for chunk in chunks]),
        bounds=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        input_ids=np.concatenate([chunk.input_ids for chunk in chunks]),
        token_type_ids=np.concatenate(types) if types else None,
        special=np.concatenate([chunk.special for chunk in chunks]),
        num_truncated=np.concatenate([chunk.num_truncated for chunk in chunks]),
    )
