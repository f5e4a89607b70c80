"""Names of concepts, from the file that the study names."""

from __future__ import annotations

from collections.abc import Iterable

from xlwh.concepts.labels import of_model
from xlwh.steps.concepts.asked import clusterings, settings_of
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
        """The labels; CorpusError for one of a concept that is not stored."""
        (model,) = job.slots["concept_labels"].keys
        known = work.scan(job, "concepts").select("clustering", "concept").collect()
        return {"concept_labels": of_model(job.tools, model, known)}


STEP = _ConceptLabels()
