"""The texts of one language that concepts are made from: whole datasets, or one side of translations."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from xlwh.corpora import inapplicable
from xlwh.steps.job import Job
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.runner import Work
from xlwh.store import Entry, Slot
from xlwh.study import Concepts


@dataclass(frozen=True)
class Sentences:
    """One dataset in one language."""

    dataset: str
    split: str
    language: str
    entries: tuple[Entry, ...]
    """Its files of `examples`: one, but of the language that translations are from those of all others."""


def settings_of(partition: Partition) -> Concepts:
    """What the study says of concepts; NotApplicable where it asks for none of the partition's model."""
    study, model = partition.study, partition.model
    if study.concepts is None or model not in (study.concepts.models or study.models):
        raise NotApplicable(f"The study asks for no concepts of `{model}`.")
    return study.concepts


def sentences(partition: Partition, language: str) -> list[Sentences]:
    """What the study's concepts are made from in a language; MissingDataError if it has not been read yet.

    The language that translations are from has no files of its own.
    """
    study, found = partition.study, []
    for dataset in study.concepts.datasets if study.concepts is not None else ():
        languages, split = study.dataset_languages(dataset), study.datasets[dataset].split
        if language not in languages:
            continue
        read = [language]
        if inapplicable(study, dataset, language):
            read = [other for other in sorted(languages) if not inapplicable(study, dataset, other)]
        entries = [partition.required(Slot("examples", (dataset, other), split)) for other in read]
        if entries:
            found.append(Sentences(dataset, split, language, tuple(entries)))
    return found


class Texts:
    """The texts of a dataset in one language, out of the inputs of a job: whole examples, or a side of translations."""

    segment = 0
    """What `text` is in `examples`: 0 the first text, 1 the second, as of translations into this language."""

    def __init__(self, work: Work, job: Job, dataset: str, language: str) -> None:
        self._rows = work.scan(job, "examples", dataset=dataset)
        if self._rows.select(pl.col("task").first() == "translation").collect().item():
            self.segment = int(bool(work.files(job, "examples", dataset=dataset, language=language)))
            self._rows = self._rows.with_columns(
                language=pl.lit(language),
                text="text_pair" if self.segment else "text",
                text_pair=pl.lit(None, pl.String),
            )

    def ids(self) -> pl.DataFrame:
        """Columns `example_id` and `row`, in their order.

        Of translations into several languages each source text counts once: that of the first language, by name, as in
        the view `example_texts`.
        """
        ids = self._rows.select("example_id").with_row_index("row")
        return ids.unique("example_id", keep="first", maintain_order=True).collect()

    def read(self, ids: pl.DataFrame) -> pl.DataFrame:
        """The examples of some rows of `ids` that follow one another; no others are in memory."""
        first, last = ids["row"][0], ids["row"][-1]
        near = self._rows.slice(first, last - first + 1).with_row_index("row", offset=first)
        return near.filter(pl.col("row").is_in(ids["row"].implode())).drop("row").collect(engine="streaming")
