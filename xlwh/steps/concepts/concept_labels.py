"""Names of concepts, from the file that the study names."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from xlwh.concepts.labels import read
from xlwh.errors import CorpusError
from xlwh.steps.concepts.clusterings import clusterings
from xlwh.steps.concepts.sentences import settings_of
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot


class _ConceptLabels(Whole):
    version = "1"

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """One job, of all labels of the model."""
        labels = settings_of(partition).labels
        if labels is None:
            raise NotApplicable("The study names no file of labels (`concepts.labels`).")
        path = partition.study.folder / labels
        yield Job(
            {"concept_labels": Slot("concept_labels", (partition.model,))},
            reads=tuple(partition.required(found.slot("concepts")) for found in clusterings(partition)),
            files=(partition.digest(path, "`concepts.labels`"),),
            tools=path,
        )

    def make(self, work: Work, job: Job) -> Frames:
        """Rows of `concept_labels`.

        CorpusError for a label of a concept that is not stored: clusterings are made anew with other settings, and a
        label must not move to another concept without notice.
        """
        (model,) = job.slots["concept_labels"].keys
        labels = read(job.tools).filter(pl.col("model") == model)
        known = work.scan(job, "concepts").select("clustering", "concept").collect()
        lost = labels.join(known, on=["clustering", "concept"], how="anti", maintain_order="left")
        if lost.height:
            row = lost.row(0, named=True)
            raise CorpusError(
                f"{job.tools}: {lost.height} labels are of concepts that `{model}` does not have, the first "
                f'"{row["label"]}" of concept {row["concept"]} of `{row["clustering"]}`.'
            )
        return {"concept_labels": labels}


STEP = _ConceptLabels()
