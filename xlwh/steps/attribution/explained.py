"""What is explained of each task, and by which methods: what the steps share that attribute."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

import polars as pl

from xlwh.attribution.methods import Asked
from xlwh.attribution.methods import asked as asked_of
from xlwh.attribution.rows import Scores, scores_of
from xlwh.attribution.targets import ANSWERS, CLASSES, TAGS, TRANSLATIONS, Choice, Chosen, Kind, Placed, place
from xlwh.models import LoadedModel
from xlwh.steps.corpora.parallelism import require_parallel
from xlwh.steps.job import Job, options_of
from xlwh.steps.models.evaluated import (
    CLASSIFICATION,
    QUESTION_ANSWERING,
    TAGGING,
    TRANSLATION,
    Corpus,
    evaluated,
)
from xlwh.steps.models.selftests import allowed
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Work
from xlwh.store import Entry, Slot
from xlwh.study import Inputs, Study

LIBRARIES = ("torch", "transformers", "tokenizers")


@dataclass(frozen=True)
class Explained:
    """What a task's targets are found in."""

    kind: Kind
    head: str
    table: str
    """What holds the predictions that are explained."""
    reaching: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """Options of a model that reach its attributions."""
        return ("max_length", "dtype", "attention", *self.reaching)


EXPLAINED: dict[str, Explained] = {
    **dict.fromkeys(
        CLASSIFICATION, Explained(CLASSES, "sequence_classification", "predictions", ("labels",))
    ),
    TAGGING: Explained(TAGS, TAGGING, "token_predictions", ("labels",)),
    QUESTION_ANSWERING: Explained(
        ANSWERS, QUESTION_ANSWERING, "answer_spans", ("doc_stride", "max_question")
    ),
    TRANSLATION: Explained(TRANSLATIONS, TRANSLATION, "predictions"),
}
"""What is explained, by `examples.task`."""


def explained_in(partition: Partition) -> list[tuple[Corpus, str, Explained]]:
    """The datasets of a partition of which something is explained, with their tasks."""
    found = ((corpus, corpus.task or "") for corpus in evaluated(partition))
    return [(corpus, task, EXPLAINED[task]) for corpus, task in found if task in EXPLAINED]


def asked(partition: Partition, chosen: Container[str] | None = None) -> Iterator[Asked]:
    """The methods that the study uses on its model and that this is not refused, or the `chosen` ones of them.

    NotApplicable where the study uses none of them.
    """
    study, model = partition.study, partition.model
    used = [name for name in study.attribution_methods(model) if chosen is None or name in chosen]
    if not used:
        raise NotApplicable(
            f"The study uses no attribution method{'' if chosen is None else ' of these'} on `{model}`."
        )
    given = dict(study.attribution.methods)
    for name in allowed(partition, model, used):
        yield asked_of(name, given[name], study.folder)


def num_explained_own(study: Study) -> int | None:
    """Examples whose own class is explained for faithfulness: those that it perturbs; None is all."""
    faithfulness = study.faithfulness
    limits = (study.attribution.max_examples, faithfulness.max_examples if faithfulness else None)
    return min((limit for limit in limits if limit is not None), default=None)


def choice_of(partition: Partition, corpus: Corpus) -> Choice:
    """What the study says of a dataset. Tags, answers and translations are always the language's own."""
    study, settings, classes = partition.study, partition.study.attribution, corpus.task in CLASSIFICATION
    gold = settings.target == "gold" and (classes or corpus.task == TAGGING)
    languages = [corpus.language]
    if classes and settings.target == "source_prediction":
        available = study.dataset_languages(corpus.dataset)
        languages = [each for each in study.source_languages(partition.model) if each in available]
    by = [Chosen(each, "gold" if gold else "own_prediction", settings.max_examples) for each in languages]
    # Faithfulness is about each language's own class.
    tested = study.tests_faithfulness(partition.model, corpus.dataset)
    if classes and tested and (gold or corpus.language not in languages):
        by.append(Chosen(corpus.language, "own_prediction", num_explained_own(study)))
    words = settings.words_per_example if corpus.task in (TAGGING, TRANSLATION) else None
    is_drawn = words is not None or any(each.limit is not None for each in by)
    return Choice(tuple(by), words, study.seed if is_drawn else None)


def predictions_of(partition: Partition, corpus: Corpus, table: str, choice: Choice) -> list[Entry]:
    """The files of the predictions that are explained, and of those of other languages that choose a class."""
    languages = dict.fromkeys((corpus.language, *(each.language for each in choice.by)))
    # A class that another language's row chose explains this one only if it says the same.
    require_parallel(partition, corpus.dataset, languages)
    keys = [(partition.model, language) for language in languages]
    return [partition.required(Slot(table, each, corpus.dataset)) for each in keys]


def language_of(job: Job) -> str:
    """The language of a job's partition."""
    return next(iter(job.slots.values())).partition["language"]


def placed(work: Work, job: Job, loaded: LoadedModel, targets: pl.DataFrame) -> Placed:
    """Some targets of a job whose `params` have a `task`, with what the model is given for them."""
    task = EXPLAINED[job.params.task]
    examples = work.pieces_of(job, "examples", targets)
    predictions = work.scan(job, task.table, language=language_of(job))
    return place(task.kind, loaded, examples, targets, predictions, options_of(job, Inputs))


def stored(work: Work, job: Job, targets: pl.DataFrame) -> Scores:
    """The attributions of some targets that a job reads, all of which are by one method."""
    (slot,) = job.slots.values()
    name = str(replace(slot, table="token_attributions"))
    return scores_of(work.scan(job, "token_attributions"), targets, name)
