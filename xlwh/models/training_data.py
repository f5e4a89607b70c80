"""From rows of `examples` to padded training batches, and what each task counts as correct.

A task that is trained here is an `Objective`: which column holds its gold, how rows become features and how
predictions are counted. Another task is another entry of `OBJECTIVES`; batching, padding and the training loop
(`xlwh.models.finetune`) do not change: gold that is a list (one tag per sub-token) is padded like the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xlwh.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

NLI_LABELS = ("entailment", "neutral", "contradiction")
"""Order of the logits of natural language inference."""

IGNORED = -100
"""Gold of padded positions; torch's cross entropy leaves it out."""

LENGTH_MULTIPLE = 8
"""Padded lengths are multiples of this: few shapes, so that the allocator and kernel caches are reused."""

BATCHES_PER_BUCKET = 50
"""Examples are sorted by length within this many batches of the shuffled order."""

ENCODE_ROWS = 4096
"""Rows given to the tokenizer at once."""


@dataclass(frozen=True)
class Feature:
    """One model input without padding, and its gold under the names that the model's `forward` expects."""

    inputs: Mapping[str, list[int]]
    gold: Mapping[str, int | list[int]]

    @property
    def length(self) -> int:
        return len(self.inputs["input_ids"])


@dataclass(frozen=True)
class Encoded:
    """Features of a data set and what was cut to make them."""

    features: list[Feature]
    truncated_examples: int
    truncated_tokens: int

    @property
    def lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Sub-tokens of each feature: `[n]`."""
        return np.array([feature.length for feature in self.features], dtype=np.int64)


@dataclass(frozen=True)
class Objective:
    """What a task adds to the training loop.

    `gold` is the column of `examples` that holds the gold. `encode(rows, tokenizer, labels, max_length)` makes the
    features. `correct(logits, batch)` gives how many predictions are right and how many there are; the development
    score is their ratio.
    """

    gold: str
    encode: Callable[
        [Sequence[Mapping[str, Any]], PreTrainedTokenizerBase, Sequence[str], int],
        Encoded,
    ]
    correct: Callable[[Any, Mapping[str, Tensor]], tuple[int, int]]


def canonical_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """The one order in which a set of labels becomes logits: that of NLI for its labels, else alphabetical."""
    found = set(labels)
    if found <= set(NLI_LABELS):
        return tuple(label for label in NLI_LABELS if label in found)
    return tuple(sorted(found))


def encode_classification(
    rows: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    labels: Sequence[str],
    max_length: int,
) -> Encoded:
    """One feature per row of texts or text pairs; of a pair that is too long, the longer text is cut first.

    Raises `ModelError` for a label that is not in `labels`.
    """
    index = {label: i for i, label in enumerate(labels)}
    features: list[Feature] = []
    truncated_examples = truncated_tokens = 0
    for start in range(0, len(rows), ENCODE_ROWS):
        chunk = rows[start : start + ENCODE_ROWS]
        # verbose=False: the warning about inputs beyond the model's maximum would be about the uncut texts.
        full = _tokenize(tokenizer, chunk, verbose=False)
        cut = _tokenize(tokenizer, chunk, truncation="longest_first", max_length=max_length)
        for i, row in enumerate(chunk):
            if row["label"] not in index:
                raise ModelError(
                    f"Label `{row['label']}` of example {row.get('example_id')} is not one of the labels trained on: "
                    f"{', '.join(labels)}. Use data with the same labels, or set `labels` of the model."
                )
            inputs = {name: values[i] for name, values in cut.items()}
            lost = len(full["input_ids"][i]) - len(inputs["input_ids"])
            truncated_examples += lost > 0
            truncated_tokens += lost
            features.append(Feature(inputs, {"labels": index[row["label"]]}))
    return Encoded(features, truncated_examples, truncated_tokens)


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]], **options: Any
) -> dict[str, list[list[int]]]:
    texts = [row["text"] for row in rows]
    pairs = [row["text_pair"] for row in rows]
    if any(pair is None for pair in pairs) != all(pair is None for pair in pairs):
        raise ModelError(
            "Some of the training examples are single texts and some are pairs; use data of one kind."
        )
    encoded = tokenizer(texts, None if not pairs or pairs[0] is None else pairs, **options)
    return {name: encoded[name] for name in tokenizer.model_input_names if name in encoded}


def correct_classes(logits: Tensor, batch: Mapping[str, Tensor]) -> tuple[int, int]:
    """Rows whose largest logit is the gold class, and rows: logits `[n, classes]`."""
    gold = batch["labels"]
    return int((logits.argmax(dim=-1) == gold).sum()), len(gold)


CLASSIFICATION = Objective(gold="label", encode=encode_classification, correct=correct_classes)

OBJECTIVES: dict[str, Objective] = {
    "sequence_classification": CLASSIFICATION,
    "sentence_pair": CLASSIFICATION,
}
"""The tasks that can be trained here, by `examples.task`."""


def epoch_batches(
    lengths: np.ndarray[Any, np.dtype[np.int64]], batch_size: int, seed: int, epoch: int
) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
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


def evaluation_batches(
    lengths: np.ndarray[Any, np.dtype[np.int64]], batch_size: int
) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    """All examples once, the longest first, so that memory runs out at once if it does."""
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def collate(
    features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> dict[str, Tensor]:
    """Pad features to one length (a multiple of 8, at most `max_length`): `[n, length]` per input, int64.

    Pads on the tokenizer's own side. Gold that is one number per feature becomes `[n]`.
    """
    import torch

    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"The tokenizer {tokenizer.name_or_path} has no padding piece, so examples cannot share a batch. "
            "Set its pad_token and save it again."
        )
    longest = max(feature.length for feature in features)
    length = max(
        longest,
        min(max_length, -(-longest // LENGTH_MULTIPLE) * LENGTH_MULTIPLE),
    )
    padding = {
        "input_ids": tokenizer.pad_token_id,
        "token_type_ids": tokenizer.pad_token_type_id,
    }

    def padded(rows: list[list[int]], value: int) -> Tensor:
        out = np.full((len(rows), length), value, dtype=np.int64)
        for i, row in enumerate(rows):
            if tokenizer.padding_side == "left":
                out[i, length - len(row) :] = row
            else:
                out[i, : len(row)] = row
        return torch.from_numpy(out)

    batch = {
        name: padded([list(f.inputs[name]) for f in features], padding.get(name, 0))
        for name in features[0].inputs
    }
    for name, value in features[0].gold.items():
        gold = [f.gold[name] for f in features]
        batch[name] = (
            padded([list(g) for g in gold if isinstance(g, list)], IGNORED)
            if isinstance(value, list)
            else torch.tensor(gold, dtype=torch.int64)
        )
    return batch
