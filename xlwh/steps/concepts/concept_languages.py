"""How much of each concept of a model's mixed clusterings is of which language, and how much would be by chance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from xlwh.concepts.alignment_matches import languages
from xlwh.steps.concepts.asked import clusterings
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work


@dataclass(frozen=True)
class _Params:
    draws: int
    seed: int


class _ConceptLanguages(Whole):
    version = "2"

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per corpus, layer and group of languages."""
        settings = partition.study.concept_alignment
        if settings is None:
            raise NotApplicable("The study has no [concept_alignment] section.")
        mixed = [found for found in clusterings(partition) if len(found.languages) > 1]
        if not mixed:
            raise NotApplicable("The study clusters no languages together.")
        for clustering in mixed:
            yield Job(
                {"concept_languages": clustering.slot("concept_languages")},
                _Params(settings.draws, partition.study.seed),
                (partition.required(clustering.slot("concept_members")),),
                name=clustering.part,
                together="languages of concepts",
            )

    def make(self, work: Work, job: Job) -> Frames:
        """Rows of every seed's clustering."""
        columns = ("model", "clustering", "concept", "language", "word")
        members = work.scan(job, "concept_members").select(columns).collect()
        work.count("mixed clusterings", 1)
        return {
            "concept_languages": pl.concat(
                languages(own, draws=job.params.draws, seed=(job.params.seed, name)).with_columns(
                    model=pl.lit(own["model"][0]), clustering=pl.lit(name)
                )
                for (name,), own in members.partition_by("clustering", as_dict=True).items()
            )
        }


STEP = _ConceptLanguages()
