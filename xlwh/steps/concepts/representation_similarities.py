"""How alike languages are at every layer of a model, from vectors that are stored already."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from xlwh.concepts.places import Place, places_of
from xlwh.steps.concepts.asked import has_texts, settings_of
from xlwh.steps.corpora.parallelism import not_parallel, refuse_differing
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot


@dataclass(frozen=True)
class _Params:
    model: str
    corpus: str
    languages: tuple[str, ...]
    apart: tuple[str, ...]
    """Languages that are no translations of the others: compared as wholes, but not sentence by sentence."""
    places: tuple[Place, ...]
    seed: int


class _RepresentationSimilarities(Whole):
    version = "2"

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per dataset."""
        study, model, asked = partition.study, partition.model, settings_of(partition)
        places = places_of(partition.pin(model), asked)
        needed = asked.needed_languages(study.languages)
        corpora = {
            dataset: languages
            for dataset in asked.datasets
            if (languages := tuple(each for each in needed if has_texts(study, dataset, each)))
        }
        if not corpora or not places:
            raise NotApplicable(f"There are no vectors of `{model}` to compare.")
        for corpus, languages in corpora.items():
            entries = tuple(
                partition.required(Slot(table, (model, language), f"{corpus}.{place}"))
                for table in ("activations", "sentence_vectors")
                for language in languages
                for place in places
            )
            refuse_differing(partition, corpus, languages)
            apart = {str(row["target_language"]) for row in not_parallel(partition, corpus, languages)}
            yield Job(
                {"representation_similarities": Slot("representation_similarities", (model,), corpus)},
                _Params(model, corpus, languages, tuple(sorted(apart)), places, study.seed),
                entries,
            )

    def make(self, work: Work, job: Job) -> Frames:
        """Every measure at every place."""
        from xlwh.concepts.similarity import measured

        params, frames = job.params, []
        what = f"{params.corpus}: comparing languages"
        for number, place in enumerate(params.places):
            work.progress(what, number, len(params.places))
            sentences, words = (
                {
                    language: work.scan(job, table, language=language, part=f"{params.corpus}.{place}")
                    for language in params.languages
                }
                for table in ("sentence_vectors", "activations")
            )
            frame = measured(sentences, words, params.apart, params.seed)
            names = {"model": pl.lit(params.model), "corpus": pl.lit(params.corpus)}
            frames.append(frame.with_columns(**names, **place.columns))
        work.progress(what, len(params.places), len(params.places))
        return {"representation_similarities": pl.concat(frames)}


STEP = _RepresentationSimilarities()
