"""What the steps share that run a model over the datasets it is evaluated on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from xlwh.corpora import inapplicable
from xlwh.errors import StudyError
from xlwh.steps.corpora.parallelism import refuse_differing
from xlwh.steps.planning import Partition
from xlwh.store import Entry, Slot

CLASSIFICATION = ("sequence_classification", "sentence_pair")
"""Tasks of which whole examples are classified."""

TAGGING = "token_classification"
"""The task of which words are classified; the name of its head too."""

QUESTION_ANSWERING = "question_answering"
"""The task of which spans of a context are found; the name of its head too."""

TRANSLATION = "translation"
"""The task of which texts are written; the name of its head too."""

CHUNK = 10_000
"""Examples worked on at once: the bound on memory beside the frames that are written."""


@dataclass(frozen=True)
class Corpus:
    """One dataset in one language, as it stands in the warehouse."""

    dataset: str
    language: str
    entry: Entry
    """Its file of `examples`."""
    task: str | None
    """The task of its examples; None if there are none."""


def evaluated(partition: Partition, model: str | None = None, language: str | None = None) -> list[Corpus]:
    """The datasets that a model is evaluated on in a language, by default those of the partition.

    MissingDataError if one has not been read yet. A dataset that has no such language by its nature is left out.
    """
    model, language, study = model or partition.model, language or partition.language, partition.study
    found = []
    for dataset in study.evaluations(model, language):
        _refuse_leak(partition, model, dataset, language)
        if inapplicable(study, dataset, language):
            continue
        entry = partition.required(Slot("examples", (dataset, language), study.datasets[dataset].split))
        found.append(Corpus(dataset, language, entry, _task(partition.root / entry.file)))
    return found


@lru_cache(maxsize=4096)
def _task(file: Path) -> str | None:
    """A file of the warehouse never changes."""
    first = pl.scan_parquet(file, hive_partitioning=False, glob=False).select("task").head(1).collect()
    return first.item() if first.height else None


def _refuse_leak(partition: Partition, model: str, dataset: str, language: str) -> None:
    """Refuse to evaluate on the rest of a corpus (`skip_examples`) where that may hold what the model was trained on.

    The rest is told by ids: it is the rest in another language only where both give the same rows the same ids.
    `StudyError` says which setting is wrong, `CorpusError` where the languages begin to differ.
    """
    study, settings = partition.study, partition.study.datasets[dataset]
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
            refuse_differing(partition, dataset, (*others, language))
        trained = recipe.base
