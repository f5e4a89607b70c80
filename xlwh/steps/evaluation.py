"""What the steps share that run a model over the datasets it is evaluated on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from xlwh.corpora import inapplicable
from xlwh.steps.base import Context, Key
from xlwh.steps.upstream import required
from xlwh.store import Entry, Slot

CLASSIFICATION = ("sequence_classification", "sentence_pair")
"""Tasks of which whole examples are classified."""

TAGGING = "token_classification"
"""The task of which words are classified; the name of its head too."""

QUESTION_ANSWERING = "question_answering"
"""The task of which spans of a context are found; the name of its head too."""

CHUNK = 10_000
"""Examples worked on at once: the bound on memory beside the frames that are written."""


@dataclass(frozen=True)
class Corpus:
    """One dataset in one language, as it stands in the warehouse."""

    dataset: str
    language: str
    entry: Entry
    frame: pl.LazyFrame
    task: str | None
    """The task of its examples; None if there are none."""

    def chunks(self) -> Iterator[pl.DataFrame]:
        """The examples in parts of at most CHUNK rows; one empty part if there are none."""
        frame = self.frame.collect()
        for start in range(0, max(frame.height, 1), CHUNK):
            yield frame[start : start + CHUNK]


def corpora(context: Context, model: str, language: str) -> list[Corpus]:
    """The datasets that a model is evaluated on in a language; MissingDataError if one has not been read yet.

    A dataset that has no such language by its nature is left out.
    """
    found = []
    for dataset in context.study.evaluations(model, language):
        split = context.study.datasets[dataset].split
        slot = Slot("examples", (dataset, language), split)
        if context.warehouse.current(slot) is None and inapplicable(context.study, dataset, language):
            continue
        entry = required(context, slot, Key(dataset=dataset, language=language))
        frame = context.warehouse.scan("examples", dataset=dataset, language=language, split=split)
        first = frame.select("task").head(1).collect()
        task = first.item() if first.height else None
        found.append(Corpus(dataset, language, entry, frame, task))
    return found
