"""From rows of `examples` to training batches, and what each task counts as correct.

Texts go through the same encoder and the same family inputs as in prediction, so a model is trained on what it
will see. A task that is trained here is an `Objective`; another task is another entry of `OBJECTIVES`, and neither
batching nor the training loop (`xlwh.models.finetune`) changes: gold that is a list (one tag per sub-token) is
padded like the inputs. What is particular to a task beyond a few lines has its own module (`xlwh.models.tagging`,
`xlwh.models.answers`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from xlwh.errors import ModelError
from xlwh.models.answers import (
    AnswerScorer,
    answer_loss,
    answer_targets,
    trained_windows,
    window_counts,
    windows,
)
from xlwh.models.batches import collate, padded_length
from xlwh.models.gold import Gold, Scorer
from xlwh.models.tagging import IGNORED, TagScorer, tag_counts, tag_targets
from xlwh.models.tokenize import Encoded, encode
from xlwh.models.translation import (
    TranslationScorer,
    encode_translations,
    forced_inputs,
    translation_counts,
    translation_targets,
)

if TYPE_CHECKING:
    import polars as pl
    from torch import Tensor

    from xlwh.models.loaded import LoadedModel
    from xlwh.study.models import Inputs

NLI_LABELS = ("entailment", "neutral", "contradiction")
"""Order of the logits of natural language inference."""

BATCHES_PER_BUCKET = 50
"""Examples are sorted by length within this many batches of the shuffled order."""

ENCODE_ROWS = 4096
"""Examples encoded at once: what the encoder knows beyond the token ids is dropped after each chunk."""

POSITIONS = ("start_positions", "end_positions")
"""Gold that counts sub-tokens of the input."""


def whole_texts(base: LoadedModel, examples: pl.DataFrame, inputs: Inputs) -> Encoded:
    """One input per example, cut where it is too long."""
    return encode(base, examples)


def no_counts(encoded: Encoded, gold: Gold, inputs: Inputs) -> dict[str, int]:
    """Nothing to count beyond truncation."""
    return {}


@dataclass(frozen=True)
class Objective:
    """What a task adds to the training loop.

    `gold` is the column of `examples` that holds the gold, and `head` the kind of head that is trained
    (`xlwh.models.loading.TRAINABLE`). `labelled`: the head has one output per label of the data. `forced`: the gold is
    a text of its own, forced on the decoder. `encode` makes inputs of examples, `targets(encoded, examples, labels,
    inputs)` their gold as arguments of the model's `forward`, `scorer` (same arguments) the judge of the development
    inputs, `counts` what the record of the training tells beyond truncation. `kept(gold, inputs)` says which inputs are
    trained on (None: all). `problem_type` chooses the loss, where transformers knows several; `loss(output, gold,
    attention_mask)` replaces transformers' own, and the gold is then not given to `forward`.
    """

    gold: str
    head: str
    targets: Callable[[Encoded, pl.DataFrame, Sequence[str], Inputs], Gold]
    scorer: Callable[[Encoded, pl.DataFrame, Sequence[str], Inputs], Scorer]
    labelled: bool = True
    problem_type: Literal["single_label_classification"] | None = None
    forced: bool = False
    encode: Callable[[LoadedModel, pl.DataFrame, Inputs], Encoded] = whole_texts
    counts: Callable[[Encoded, Gold, Inputs], Mapping[str, int]] = no_counts
    kept: Callable[[Gold, Inputs], NDArray[np.bool_]] | None = None
    loss: Callable[[Any, Mapping[str, Tensor], Tensor], Tensor] | None = None


def class_targets(encoded: Encoded, examples: pl.DataFrame, labels: Sequence[str], inputs: Inputs) -> Gold:
    """The index of each example's label: `[n]`. `ModelError` for a label that is not in `labels`."""
    index = {label: i for i, label in enumerate(labels)}
    for label in examples["label"].unique(maintain_order=True):
        if label not in index:
            raise ModelError(
                f"Label `{label}` is not one of the labels trained on: {', '.join(labels)}. Use data with the same "
                "labels, or set `labels` of the model."
            )
    return {"labels": np.array([index[label] for label in examples["label"]], dtype=np.int64)}


class ClassScorer:
    """Development score of classes: the share of inputs whose largest logit is the gold class."""

    def __init__(
        self, encoded: Encoded, examples: pl.DataFrame, labels: Sequence[str], inputs: Inputs
    ) -> None:
        self._right = self._total = 0

    def add(
        self, rows: NDArray[np.int64], output: Any, gold: Mapping[str, Tensor], real: NDArray[np.bool_]
    ) -> int:
        """Take a batch: logits `[rows, classes]`, labels `[rows]`."""
        self._right += int((output.logits.argmax(dim=-1) == gold["labels"]).sum())
        self._total += len(rows)
        return len(rows)

    def scores(self) -> dict[str, float]:
        """Accuracy."""
        return {"accuracy": self._right / max(1, self._total)}


CLASSIFICATION = Objective(
    gold="label",
    head="sequence_classification",
    targets=class_targets,
    scorer=ClassScorer,
    problem_type="single_label_classification",
)

TAGGING = Objective(
    gold="word_labels",
    head="token_classification",
    targets=tag_targets,
    scorer=TagScorer,
    counts=tag_counts,
)

ANSWERING = Objective(
    gold="answers",
    head="question_answering",
    targets=answer_targets,
    scorer=AnswerScorer,
    labelled=False,
    encode=windows,
    counts=window_counts,
    kept=trained_windows,
    loss=answer_loss,
)

TRANSLATION = Objective(
    gold="text_pair",
    head="translation",
    targets=translation_targets,
    scorer=TranslationScorer,
    labelled=False,
    forced=True,
    encode=encode_translations,
    counts=translation_counts,
)

OBJECTIVES: dict[str, Objective] = {
    "sequence_classification": CLASSIFICATION,
    "sentence_pair": CLASSIFICATION,
    "token_classification": TAGGING,
    "question_answering": ANSWERING,
    "translation": TRANSLATION,
}
"""The tasks that can be trained here, by `examples.task`."""


def objective_of(task: str, model: str) -> Objective:
    """How a task is trained; `ModelError` names the tasks that can be."""
    if task not in OBJECTIVES:
        raise ModelError(
            f"Model `{model}`: task `{task}` cannot be fine-tuned here. Tasks that can: {', '.join(OBJECTIVES)}."
        )
    return OBJECTIVES[task]


def gold_labels(gold: pl.Series) -> list[str]:
    """The labels that occur in a column of gold, of whole examples or of their words."""
    import polars as pl

    flat = gold.explode() if isinstance(gold.dtype, pl.List) else gold
    return [str(label) for label in flat.drop_nulls().unique(maintain_order=True)]


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
    examples: int
    """Examples that the inputs come from: several inputs may come from one."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What the objective counted."""
    forced: bool = False
    """Whether the gold is a text of its own, forced on the decoder."""

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
        """Inputs `[rows, length]` and gold (`[rows]` or `[rows, length]`) of a batch, on the model's device.

        Gold that is forced on the decoder has a length of its own.
        """
        length = padded_length(int(self.encoded.lengths[rows].max()), base.max_length)
        inputs = collate(base, self.encoded, rows, length).inputs(base)
        if self.forced:
            texts = self.gold["labels"]
            longest = padded_length(max(len(texts[row]) for row in rows.tolist()), base.max_length)
            labels = _gold_tensor(texts, rows, longest, left=False).to(base.device)
            return forced_inputs(base, inputs, labels), {"labels": labels}
        left = base.family.padding_side == "left"
        gold = {
            name: _gold_tensor(values, rows, length, left).to(base.device)
            for name, values in self.gold.items()
        }
        if left:
            # Padding on the left moves every place in the input.
            moved = length - _numbers(self.encoded.lengths[rows]).to(base.device)
            gold |= {name: gold[name] + moved for name in POSITIONS if name in gold}
        return inputs, gold


def prepare(
    base: LoadedModel,
    objective: Objective,
    examples: pl.DataFrame,
    labels: Sequence[str],
    inputs: Inputs,
) -> TrainingSet:
    """Encode examples (columns of the `examples` table, gold not NULL) for a model, at most `base.max_length` long.

    `ModelError` where the gold does not fit the labels.
    """
    chunks, golds = [], []
    counts: Counter[str] = Counter()
    for chunk in examples.iter_slices(ENCODE_ROWS):
        encoded = objective.encode(base, chunk, inputs)
        gold = objective.targets(encoded, chunk, labels, inputs)
        counts.update(objective.counts(encoded, gold, inputs))
        lean = _lean(encoded)
        if objective.kept is not None:
            kept = objective.kept(gold, inputs)
            counts["inputs_left_out"] += int((~kept).sum())
            lean, gold = _selected(lean, gold, np.flatnonzero(kept))
        chunks.append(lean)
        golds.append(gold)
    return TrainingSet(_concatenate(chunks), _joined(golds), examples.height, counts, objective.forced)


@dataclass(frozen=True)
class DevelopmentSet:
    """Inputs to be scored, with everything that the scorer needs of them."""

    data: TrainingSet
    scorer: Callable[[], Scorer]
    """A new judge for each evaluation."""


def prepare_development(
    base: LoadedModel, objective: Objective, examples: pl.DataFrame, labels: Sequence[str], inputs: Inputs
) -> DevelopmentSet:
    """The same for development examples, kept whole: they are few."""
    encoded = objective.encode(base, examples, inputs)
    gold = objective.targets(encoded, examples, labels, inputs)
    counts = objective.counts(encoded, gold, inputs)
    return DevelopmentSet(
        TrainingSet(encoded, gold, examples.height, counts, objective.forced),
        lambda: objective.scorer(encoded, examples, labels, inputs),
    )


def _joined(golds: Sequence[Gold]) -> Gold:
    joined: dict[str, NDArray[np.int64] | Sequence[Sequence[int]]] = {}
    for name, first in golds[0].items():
        parts = [part[name] for part in golds]
        joined[name] = (
            np.concatenate(parts)
            if isinstance(first, np.ndarray)
            else [row for part in parts for row in part]
        )
    return joined


def epoch_batches(
    lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """Order of one epoch: each example once, batches of similar lengths, in an order fixed by (seed, epoch).

    The examples are shuffled, sorted by length within buckets of `BATCHES_PER_BUCKET` batches, cut into batches,
    and the batches shuffled, so that neither the content of a batch nor its place follows the file. A pure
    function of its arguments: a resumed run finds its place again without a saved sampler.
    """
    # No draw of `xlwh.draws`: with another order, every checkpoint that is there would be trained again.
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    bucket = batch_size * BATCHES_PER_BUCKET
    batches = []
    for start in range(0, len(order), bucket):
        part = order[start : start + bucket]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def _numbers(values: NDArray[np.int64]) -> Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values))


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


def _lean(encoded: Encoded) -> Encoded:
    """Only ids and types: the rest is several times their size."""
    none = np.zeros(0, np.int32)
    return Encoded(
        keys=encoded.keys,
        bounds=encoded.bounds,
        input_ids=encoded.input_ids,
        token_type_ids=encoded.token_type_ids,
        special=encoded.special,
        segment=none,
        char_start=none,
        char_end=none,
        word_index=none,
        occurrences=(),
        segmenters=(),
        num_truncated=encoded.num_truncated,
    )


def _selected(encoded: Encoded, gold: Gold, rows: NDArray[np.int64]) -> tuple[Encoded, Gold]:
    """Some inputs of a lean encoding, with their gold."""
    if len(rows) == len(encoded):
        return encoded, gold
    sizes = encoded.lengths[rows]
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    take = np.arange(bounds[-1]) + np.repeat(encoded.bounds[rows] - bounds[:-1], sizes)
    types = encoded.token_type_ids
    left = replace(
        encoded,
        keys=encoded.keys[rows.tolist()],
        bounds=bounds,
        input_ids=encoded.input_ids[take],
        token_type_ids=None if types is None else types[take],
        special=encoded.special[take],
        num_truncated=encoded.num_truncated[rows],
    )
    return left, {
        name: values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows.tolist()]
        for name, values in gold.items()
    }


def _concatenate(chunks: Sequence[Encoded]) -> Encoded:
    import polars as pl

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
