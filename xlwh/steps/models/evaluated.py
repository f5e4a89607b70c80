"""What the steps share that run a model over the datasets it is evaluated on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from xlwh.steps.corpora.parallelism import refuse_differing
from xlwh.steps.planning import Partition
from xlwh.store import Entry, Slot
from xlwh.store.reading import StoredFile
from xlwh.study.leaks import numbered_alike

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

    MissingDataError if one has not been read yet, StudyError or CorpusError if it may hold what the model was trained
    on. A dataset that has no such language by its nature is left out.
    """
    model, language, study = model or partition.model, language or partition.language, partition.study
    found = []
    for dataset in study.evaluations(model, language):
        for languages in numbered_alike(study, model, dataset, language):
            refuse_differing(partition, dataset, languages)
        if partition.inapplicable(dataset, language):
            continue
        entry = partition.required(Slot("examples", (dataset, language), study.datasets[dataset].split))
        found.append(Corpus(dataset, language, entry, _task(partition.file(entry))))
    return found


@lru_cache(maxsize=4096)
def _task(file: StoredFile) -> str | None:
    """A file of the warehouse never changes."""
    first = file.scan().select("task").head(1).collect()
    return first.item() if first.height else None
