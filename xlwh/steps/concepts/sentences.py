"""The texts of one language that concepts are made from: whole datasets, or one side of translations."""

from __future__ import annotations

import polars as pl

from xlwh.corpora import inapplicable
from xlwh.steps.job import Job
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Work
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
    """The files of `examples` that the texts of a dataset in a language are read from: `Texts` reads them.

    MissingDataError if one has not been read yet.
    """
    split = partition.study.datasets[dataset].split
    read_from = _read_from(partition.study, dataset, language)
    return [partition.required(Slot("examples", (dataset, other), split)) for other in read_from]


def _read_from(study: Study, dataset: str, language: str) -> list[str]:
    """The language itself; in place of the one that translations are from, all others, by name."""
    if not inapplicable(study, dataset, language):
        return [language]
    others = sorted(study.dataset_languages(dataset))
    return [other for other in others if not inapplicable(study, dataset, other)]


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
