"""What kind of concept each one is: affixes beyond chance, and gold tags where the corpus has them."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from xlwh.concepts.kinds import gold_tags, kinds
from xlwh.corpora import inapplicable
from xlwh.steps.concepts.asked import clusterings, texts
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot


class _ConceptKinds(Whole):
    version = "1"
    libraries = ("scipy",)

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per corpus, layer and group of languages, as `concept_members` has them."""
        study = partition.study
        for clustering in clusterings(partition):
            examples = [
                partition.required(Slot("examples", (dataset, language), study.datasets[dataset].split))
                for dataset, language in texts(study, clustering)
                if not inapplicable(study, dataset, language)
            ]
            yield Job(
                {"concept_kinds": clustering.slot("concept_kinds")},
                reads=(partition.required(clustering.slot("concept_members")), *examples),
                name=clustering.part,
                together="kinds of concepts",
            )

    def make(self, work: Work, job: Job) -> Frames:
        """Rows of every seed's clustering."""
        tags = gold_tags(work.scan(job, "examples"))
        members = work.scan(job, "concept_members").collect().partition_by("clustering")
        return {"concept_kinds": pl.concat(kinds(own, tags) for own in members)}


STEP = _ConceptKinds()
