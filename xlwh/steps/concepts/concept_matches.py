"""How the concepts of one language match those of another, in one model, through each lexicon of the study."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from xlwh.concepts.alignment_matches import Matching, matched
from xlwh.concepts.clusterings import Clustering
from xlwh.steps.concepts.asked import clusterings, settings_of
from xlwh.steps.concepts.lexicon import slot_of
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot


class _ConceptMatches(Whole):
    version = "2"
    counted = ("concept_matches",)

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per lexicon, direction and corpus."""
        study, asked, model = partition.study, settings_of(partition), partition.model
        settings = study.concept_alignment
        if settings is None:
            raise NotApplicable("The study has no [concept_alignment] section.")
        alone: dict[str, dict[str, list[Clustering]]] = {}
        for found in clusterings(partition):
            if len(found.languages) == 1:
                alone.setdefault(found.corpus, {}).setdefault(found.languages[0], []).append(found)
        pairings = [
            (name, source, target, corpus)
            for name in settings.lexica or study.lexica
            for source, target in study.lexica[name].directions()
            for corpus, by_language in alone.items()
            if {source, target} <= by_language.keys()
        ]
        if not pairings:
            raise NotApplicable(
                "No lexicon of the study is between two languages that are clustered by themselves."
            )
        for name, source, target, corpus in pairings:
            sides = tuple(zip(alone[corpus][source], alone[corpus][target], strict=True))
            members = [side.slot("concept_members") for pair in sides for side in pair]
            part = f"{name}.{corpus}.{source}-{target}"
            how = (study.lexica[name].n_best, settings.floor, settings.draws, study.seed)
            yield Job(
                {table: Slot(table, (model,), part) for table in ("concept_pairings", "concept_matches")},
                Matching(name, source, target, sides, asked.clusters, asked.seeds, *how),
                tuple(partition.required(slot) for slot in (slot_of(name, source, target), *members)),
                name=part,
                together="matching concepts",
            )

    def make(self, work: Work, job: Job) -> Frames:
        """Rows of the two tables: every place and seed, one after the other."""
        how: Matching = job.params
        lexicon = work.scan(job, "lexicon").collect()
        made = []
        for sides in how.sides:
            for seed in how.seeds:
                names = [side.name(how.clusters, seed) for side in sides]
                members = [
                    work.scan(job, "concept_members", part=side.part)
                    .filter(clustering=name)
                    .select("concept", "word")
                    .collect()
                    for side, name in zip(sides, names, strict=True)
                ]
                made.append(matched(how, lexicon, names, members))
        pairings, matches = (pl.concat(frames) for frames in zip(*made, strict=True))
        work.count("pairings", pairings.height)
        coverage = pairings.group_by("lexicon", "source_language", "target_language").agg(
            corpus=pl.lit(how.sides[0][0].corpus),
            pairings=pl.len(),
            coverage=(pl.col("source_types_covered").sum() / pl.col("source_types").sum()).round(3),
        )
        work.table("coverage of source types", coverage)
        return {"concept_pairings": pairings, "concept_matches": matches}


STEP = _ConceptMatches()
