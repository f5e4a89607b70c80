"""What of a model's words is clustered together: what the study asks for, before any of it is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xlwh.concepts.places import Place, places_of
from xlwh.corpora import inapplicable
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.store import Slot
from xlwh.study import Concepts, Study


@dataclass(frozen=True)
class Clustering:
    """The words of some languages of a corpus at one place, which are clustered together, once per seed."""

    model: str
    datasets: tuple[str, ...]
    """What the corpus consists of."""
    place: Place
    languages: tuple[str, ...]

    @property
    def corpus(self) -> str:
        """Name of the corpus."""
        return "+".join(self.datasets)

    @property
    def scope(self) -> str:
        """`monolingual:<language>` or `mixed:<language>+<language>`."""
        return f"{'monolingual' if len(self.languages) == 1 else 'mixed'}:{'+'.join(self.languages)}"

    @property
    def part(self) -> str:
        """Name of its files."""
        return f"{self.corpus}.{self.place}.{self.scope.replace(':', '-')}"

    def slot(self, table: str) -> Slot:
        """Its file of a table."""
        return Slot(table, (self.model,), self.part)

    def name(self, clusters: int, seed: int) -> str:
        """What it is called in the tables, by seed."""
        return f"{self.part}.k{clusters}.s{seed}"


def settings_of(partition: Partition) -> Concepts:
    """What the study says of the concepts of the partition's model; NotApplicable where it asks for none."""
    study, model = partition.study, partition.model
    if study.concepts is None or model not in (study.concepts.models or study.models):
        raise NotApplicable(f"The study asks for no concepts of `{model}`.")
    return study.concepts


def clusterings(partition: Partition) -> list[Clustering]:
    """Everything that is to be clustered of a model; NotApplicable where that is nothing.

    A group of languages is left out of a corpus that none of whose datasets is read in one of them.
    """
    study, model, settings = partition.study, partition.model, settings_of(partition)
    alone = [(language,) for language in settings.monolingual_languages(study.languages)]
    corpora = [settings.datasets] if settings.pool else [(dataset,) for dataset in settings.datasets]
    found = [
        Clustering(model, corpus, place, languages)
        for corpus in corpora
        for place in places_of(partition.pin(model), settings)
        for languages in dict.fromkeys((*alone, *settings.mixed))
        if all(any(_has(study, dataset, language) for dataset in corpus) for language in languages)
    ]
    if not found:
        raise NotApplicable(f"There is nothing to cluster of `{model}`.")
    return found


def texts(study: Study, clustering: Clustering) -> Iterator[tuple[str, str]]:
    """(dataset, language) of the words that are clustered."""
    for language in clustering.languages:
        for dataset in clustering.datasets:
            if _has(study, dataset, language):
                yield dataset, language


def _has(study: Study, dataset: str, language: str) -> bool:
    """Whether a dataset has texts in a language: rows, or the source side of the rows of other languages."""
    read_in = study.dataset_languages(dataset)
    return language in read_in and not all(inapplicable(study, dataset, other) for other in read_in)
