"""What the study asks for of a model's words: of which texts they are, and what of them is clustered together."""

from __future__ import annotations

from xlwh.concepts.clusterings import Clustering
from xlwh.concepts.places import places_of
from xlwh.corpora import inapplicable
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.store import Entry, Slot
from xlwh.study import Concepts, Study


def settings_of(partition: Partition) -> Concepts:
    """What the study says of the concepts of the partition's model; NotApplicable where it asks for none."""
    study, model = partition.study, partition.model
    if study.concepts is None or model not in (study.concepts.models or study.models):
        raise NotApplicable(f"The study asks for no concepts of `{model}`.")
    return study.concepts


def has_texts(study: Study, dataset: str, language: str) -> bool:
    """Whether a dataset has texts in a language: rows, or the source side of the rows of other languages."""
    return language in study.dataset_languages(dataset) and bool(_read_from(study, dataset, language))


def files(partition: Partition, dataset: str, language: str) -> list[Entry]:
    """The files of `examples` that the texts of a dataset in a language are read from; MissingDataError for one that is missing."""
    split = partition.study.datasets[dataset].split
    read_from = _read_from(partition.study, dataset, language)
    return [partition.required(Slot("examples", (dataset, other), split)) for other in read_from]


def _read_from(study: Study, dataset: str, language: str) -> list[str]:
    """The language itself; in place of the one that translations are from, all others, by name."""
    if not inapplicable(study, dataset, language):
        return [language]
    others = sorted(study.dataset_languages(dataset))
    return [other for other in others if not inapplicable(study, dataset, other)]


def clusterings(partition: Partition) -> list[Clustering]:
    """Everything that is to be clustered of a model; NotApplicable where that is nothing.

    A group of languages is left out of a corpus that none of whose datasets is read in one of them.
    """
    study, model, asked = partition.study, partition.model, settings_of(partition)
    alone = [(language,) for language in asked.monolingual_languages(study.languages)]
    corpora = [asked.datasets] if asked.pool else [(dataset,) for dataset in asked.datasets]
    found = [
        Clustering(model, corpus, place, languages)
        for corpus in corpora
        for place in places_of(partition.pin(model), asked)
        for languages in dict.fromkeys((*alone, *asked.mixed))
        if all(any(has_texts(study, dataset, language) for dataset in corpus) for language in languages)
    ]
    if not found:
        raise NotApplicable(f"There is nothing to cluster of `{model}`.")
    return found


def texts(study: Study, clustering: Clustering) -> list[tuple[str, str]]:
    """(dataset, language) of the words that are clustered."""
    return [
        (dataset, language)
        for language in clustering.languages
        for dataset in clustering.datasets
        if has_texts(study, dataset, language)
    ]
