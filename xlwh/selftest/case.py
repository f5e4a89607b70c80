"""What every item of the self-test works with: a model with some examples, and how far numbers are apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from xlwh.attribution.base import Item as Explained
from xlwh.models.batches import Batch, collate
from xlwh.models.tokenize import encode
from xlwh.selftest.items import Capability

if TYPE_CHECKING:
    import polars as pl

    from xlwh.models.loaded import LoadedModel
    from xlwh.models.tokenize import Encoded

CLASSIFIER, TAGGER, READER, WRITER = (
    "sequence_classification",
    "token_classification",
    "question_answering",
    "translation",
)

TOLERANCES = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Deviation allowed in outputs and hidden states, relative to the largest of them, by number format."""


class NotApplicable(Exception):  # noqa: N818 (no error)
    """The model has nothing that the item could try; the text says why."""


class OnlyError(Exception):
    """What failed takes less than the whole capability of the item."""

    def __init__(self, capability: Capability, reason: str) -> None:
        super().__init__(reason)
        self.capability: Capability = capability


@dataclass(frozen=True)
class Measured:
    """What an item measured; it passes where the deviation is within the tolerance."""

    deviation: float
    tolerance: float
    detail: str

    @property
    def passed(self) -> bool:
        """Never where the deviation is not a number."""
        return self.deviation <= self.tolerance


class Case:
    """A model, some examples, and what several items ask for, computed when it is first asked for."""

    def __init__(self, loaded: LoadedModel, examples: pl.DataFrame) -> None:
        self.loaded = loaded
        self.examples = examples

    @cached_property
    def encoded(self) -> Encoded:
        """The examples as every step encodes them; a writer is made to write its source text."""
        encoded = encode(self.loaded, self.examples)
        if self.loaded.task != WRITER:
            return encoded
        return replace(
            encoded, forced=[encoded.input_ids[encoded.row(row)].tolist() for row in range(len(encoded))]
        )

    @property
    def tolerance(self) -> float:
        """Deviation allowed in the model's number format."""
        return TOLERANCES[self.loaded.model.dtype]

    def batch(
        self, rows: Sequence[int], side: Literal["left", "right"] | None = None, extra: int = 0
    ) -> Batch:
        """Some examples, padded to the longest of them and, where the model has room, `extra` more columns."""
        chosen = np.array(rows, dtype=np.int64)
        longest = int(self.encoded.lengths[chosen].max())
        length = max(longest, min(longest + extra, self.loaded.max_length))
        return collate(self.loaded, self.encoded, chosen, length, side)

    @cached_property
    def together(self) -> Batch:
        """All examples in one batch, the longest padded too."""
        return self.batch(range(len(self.encoded)), extra=3)

    def outputs(self, batch: Batch, inputs: Mapping[str, Tensor] | None = None) -> list[Tensor]:
        """What the model says of each row: logits, of each token where there are some per token, in float32.

        The last hidden state of the tokens where there is no head for the input's tokens.
        """
        given = batch.inputs(self.loaded) if inputs is None else inputs
        bare = self.loaded.task not in (CLASSIFIER, TAGGER, READER)
        with torch.inference_mode():
            output = self.loaded.model(**given, **({"output_hidden_states": True} if bare else {}))
        return self.rows(output, batch)

    def rows(self, output: Any, batch: Batch) -> list[Tensor]:
        """The same of an output that is there already."""
        task = self.loaded.task
        if task == CLASSIFIER:
            return list(output.logits.float())
        if task == TAGGER:
            values = output.logits
        elif task == READER:
            values = torch.stack([output.start_logits, output.end_logits], dim=-1)
        else:
            states = getattr(output, "encoder_hidden_states", None) or output.hidden_states
            values = states[-1]
        real = batch.attention_mask.bool()
        return [row[mask].float() for row, mask in zip(values, real, strict=True)]

    @cached_property
    def alone(self) -> list[Tensor]:
        """Outputs of each example by itself, without padding."""
        found = []
        for row in range(len(self.encoded)):
            found += self.outputs(self.batch([row]))
        return found

    @cached_property
    def batched(self) -> list[Tensor]:
        """Outputs of the batch of all."""
        return self.outputs(self.together)

    def explained(self) -> list[Explained]:
        """An output of the first two examples to explain: the likeliest class, of the last token where there are many."""
        task, found = self.loaded.task, []
        for row in range(min(2, len(self.encoded))):
            own = ~self.encoded.special[self.encoded.row(row)]
            last = int(np.flatnonzero(own)[-1]) if own.any() else 0
            if task == CLASSIFIER:
                found.append(Explained(row, int(self.alone[row].argmax())))
            elif task == TAGGER:
                found.append(Explained(row, int(self.alone[row][last].argmax()), last))
            elif task == READER:
                found.append(Explained(row, 0, last, "start_logits"))
            elif task == WRITER and self.encoded.forced is not None:
                found.append(Explained(row, int(self.encoded.forced[row][0]), 0))
            else:
                raise NotApplicable("The model has no head whose outputs are explained.")
        return found


def compared(case: Case, ours: Sequence[Tensor], theirs: Sequence[Tensor], what: str) -> Measured:
    """The deviation of outputs of a case from what they should be; `what` names the others."""
    return Measured(deviation(ours, theirs), case.tolerance, f"Largest deviation with {what}.")


def deviation(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Largest difference, relative to the largest value of `theirs`; infinite where a number is not finite."""
    scale = largest(float(value.float().abs().max()) for value in theirs)
    off = largest(
        float((mine.float() - their.float()).abs().max()) for mine, their in zip(ours, theirs, strict=True)
    )
    return off / max(scale, 1e-6) if math.isfinite(scale) else math.inf


def largest(values: Iterable[float]) -> float:
    """The largest value; infinite where one is not finite: `max` passes over NaN that is not the first."""
    found = list(values)
    return max(found) if all(map(math.isfinite, found)) else math.inf
