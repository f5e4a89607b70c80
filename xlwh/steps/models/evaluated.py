"""What the steps share that run a model over the datasets it is evaluated on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from xlwh.corpora import inapplicable
from xlwh.errors import StudyError
from xlwh.steps.base import Context, Key
from xlwh.steps.corpora.parallelism import refuse_differing
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
        refuse_leak(context, model, dataset, language)
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


def refuse_leak(context: Context, model: str, dataset: str, language: str) -> None:
    """Refuse to evaluate on the rest of a corpus (`skip_examples`) where that may hold what the model was trained on.

    The rest is told by ids: it is the rest in another language only where both give the same rows the same ids.
    `StudyError` says which setting is wrong, `CorpusError` where the languages begin to differ.
    """
    study, settings = context.study, context.study.datasets[dataset]
    if settings.skip_examples is None:
        return
    trained: str | None = model
    while trained is not None and (recipe := study.models[trained].finetune) is not None:
        part = study.datasets[recipe.dataset]
        same = all(
            getattr(part, name) == getattr(settings, name) for name in ("reader", "path", "hub", "split")
        )
        if same and recipe.dataset != dataset:
            if part.max_examples is None or part.max_examples > settings.skip_examples:
                raise StudyError(
                    f"`datasets.{dataset}.skip_examples` is {settings.skip_examples}, but `{trained}` is trained on "
                    f"`{recipe.dataset}` of the same corpus, whose `max_examples` is {part.max_examples or 'not set'}: it would be "
                    f"evaluated on what it was trained on. Set `datasets.{recipe.dataset}.max_examples` to at most that number."
                )
            others = [other for other in recipe.languages if other != language]
            unknown = [other for other in others if other not in study.dataset_languages(dataset)]
            if unknown and settings.aligned == "checked":
                raise StudyError(
                    f"`{trained}` is trained on {', '.join(unknown)} of `{recipe.dataset}` and evaluated on the rest of the same "
                    f"corpus in `{language}`. To check that its rows are numbered alike, add {', '.join(unknown)} to "
                    f'`datasets.{dataset}.languages`, or set `datasets.{dataset}.aligned = "unchecked"`.'
                )
            refuse_differing(context, dataset, (*others, language))
        trained = recipe.base
