"""How the concepts of one language match those of another, in one model, through each lexicon of the study."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from xlwh.steps.concepts.clusterings import Clustering, clusterings
from xlwh.steps.concepts.lexicon import slot_of
from xlwh.steps.concepts.sentences import settings_of
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot


@dataclass(frozen=True)
class _Params:
    lexicon: str
    source: str
    target: str
    sides: tuple[tuple[Clustering, Clustering], ...]
    """What is matched, place by place."""
    clusters: int
    seeds: tuple[int, ...]
    depth: int
    floor: float
    draws: int
    seed: int


class _ConceptMatches(Whole):
    version = "2"
    counted = ("concept_matches",)

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per lexicon, direction and corpus."""
        study, concepts = partition.study, settings_of(partition)
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
            sides = alone[corpus][source], alone[corpus][target]
            part = f"{name}.{corpus}.{source}-{target}"
            yield Job(
                {
                    table: Slot(table, (partition.model,), part)
                    for table in ("concept_pairings", "concept_matches")
                },
                _Params(
                    name,
                    source,
                    target,
                    tuple(zip(*sides, strict=True)),
                    concepts.clusters,
                    concepts.seeds,
                    study.lexica[name].n_best,
                    settings.floor,
                    settings.draws,
                    study.seed,
                ),
                (
                    partition.required(slot_of(name, source, target)),
                    *(
                        partition.required(clustering.slot("concept_members"))
                        for side in sides
                        for clustering in side
                    ),
                ),
                name=part,
                together="matching concepts",
            )

    def make(self, work: Work, job: Job) -> Frames:
        """Rows of the two tables: every place and seed, one after the other."""
        from xlwh.concepts.alignment_matches import covered, matches, translations_of, types_of

        params: _Params = job.params
        lexicon = (
            work.scan(job, "lexicon").select("source_word", "target_word", "rank", "file_rank").collect()
        )
        pairings, found = [], []
        for sides in params.sides:
            for seed in params.seeds:
                names = [side.name(params.clusters, seed) for side in sides]
                source, target = (
                    types_of(
                        work.scan(job, "concept_members", part=side.part)
                        .filter(clustering=name)
                        .select("concept", "word")
                        .collect(),
                        params.clusters,
                    )
                    for side, name in zip(sides, names, strict=True)
                )
                translations = translations_of(lexicon, source, target, params.depth)
                identity = {
                    "model": sides[0].model,
                    "lexicon": params.lexicon,
                    "source_clustering": names[0],
                    "target_clustering": names[1],
                }
                facts = {
                    **identity,
                    "source_language": params.source,
                    "target_language": params.target,
                    "max_rank": params.depth,
                    "floor": params.floor,
                    "num_draws": params.draws,
                    "source_concepts": params.clusters,
                    "source_types": len(source.vocabulary),
                    "source_types_covered": covered(translations),
                }
                pairings.append(facts)
                found.append(
                    matches(
                        source,
                        target,
                        translations,
                        floor=params.floor,
                        draws=params.draws,
                        seed=(params.seed, params.lexicon, *names),
                    ).with_columns(pl.lit(value).alias(column) for column, value in identity.items())
                )
        made = pl.DataFrame(pairings)
        work.count("pairings", made.height)
        work.table("coverage of source types", _coverage(made, params.sides[0][0].corpus))
        return {"concept_pairings": made, "concept_matches": pl.concat(found)}


STEP = _ConceptMatches()


def _coverage(pairings: pl.DataFrame, corpus: str) -> pl.DataFrame:
    """How much of the source words a lexicon covers."""
    return pairings.group_by("lexicon", "source_language", "target_language").agg(
        corpus=pl.lit(corpus),
        pairings=pl.len(),
        coverage=(pl.col("source_types_covered").sum() / pl.col("source_types").sum()).round(3),
    )
