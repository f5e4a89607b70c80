"""How alike languages are at every layer of a model, from vectors that are stored already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.concepts.places import Place, places_of
from xlwh.corpora import sample
from xlwh.draws import stream
from xlwh.steps.concepts.sentences import has_texts, settings_of
from xlwh.steps.corpora.parallelism import not_parallel, refuse_differing
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Slot, schema

if TYPE_CHECKING:
    from xlwh.concepts.similarity import Score

MOST_SENTENCES = 2_000
"""Sentence pairs compared, the same in every language: the matrices grow with their square."""
MOST_WORDS = 20_000
"""Words per language for anisotropy and the probe: the bound on memory."""
TRAIN_SHARE = 0.7


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
        study, model, settings = partition.study, partition.model, settings_of(partition)
        places = places_of(partition.pin(model), settings)
        needed = settings.needed_languages(study.languages)
        corpora = {
            dataset: languages
            for dataset in settings.datasets
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
        params, frames = job.params, []
        what = f"{params.corpus}: comparing languages"
        for number, place in enumerate(params.places):
            work.progress(what, number, len(params.places))
            frames.append(_frame(params, place, _measured(work, job, place)))
        work.progress(what, len(params.places), len(params.places))
        return {"representation_similarities": pl.concat(frames)}


STEP = _RepresentationSimilarities()


def _measured(work: Work, job: Job, place: Place) -> Iterator[tuple[str, str, str, Score]]:
    """(measure, source language, target language, score) of everything at one place."""
    from xlwh.concepts.similarity import anisotropy, language_probe, linear_cka, retrieval

    params, part = job.params, f"{job.params.corpus}.{place}"
    means = {
        language: work.scan(job, "sentence_vectors", language=language, part=part)
        .select("example_id", "vector")
        .drop_nulls()
        .collect()
        for language in params.languages
    }
    paired = [language for language in params.languages if language not in params.apart]
    for source, target in combinations(paired, 2):
        both = means[source].join(means[target], on="example_id", maintain_order="left", suffix="_target")
        # Translations share their example ids; a handful may do so by accident.
        if both.height < 10:
            continue
        both = sample(both, MOST_SENTENCES, params.seed)
        first, second = _matrix(both["vector"]), _matrix(both["vector_target"])
        rng = stream("cka", params.seed)
        yield "cka", source, target, linear_cka(first, second, rng)
        forward, backward, mutual = retrieval(first, second)
        yield "retrieval", source, target, forward
        yield "retrieval", target, source, backward
        yield "mutual_retrieval", source, target, mutual
    train: dict[str, NDArray[np.float16]] = {}
    test: dict[str, NDArray[np.float16]] = {}
    for language in params.languages:
        words = _words(work.scan(job, "activations", language=language, part=part), params.seed)
        if words.height < 2:
            continue
        vectors = _matrix(words["vector"])
        yield "anisotropy", language, language, anisotropy(vectors)
        # By example, so that translations of a sentence are never on both sides.
        ids = words.select("example_id").unique()
        chosen = sample(ids.sort("example_id"), round(TRAIN_SHARE * ids.height), params.seed)
        inside = words["example_id"].is_in(chosen["example_id"].to_list()).to_numpy()
        if inside.any() and not inside.all():
            train[language], test[language] = vectors[inside], vectors[~inside]
    if len(train) > 1:
        yield "language_probe", "all", "all", language_probe(train, test)


def _words(rows: pl.LazyFrame, seed: int) -> pl.DataFrame:
    """Vectors of at most MOST_WORDS words, whole examples, the same examples in every language."""
    usable = rows.filter(pl.col("vector").is_not_null())
    counts = usable.group_by("example_id").len().sort("example_id").collect()
    share = min(1.0, MOST_WORDS / max(1, counts["len"].sum()))
    chosen = sample(counts, max(1, int(share * counts.height)), seed)["example_id"]
    wanted = chosen.to_list()
    return usable.filter(pl.col("example_id").is_in(wanted)).select("example_id", "vector").collect()


def _matrix(vectors: pl.Series) -> NDArray[np.float16]:
    width = len(vectors[0])
    return vectors.cast(pl.Array(pl.Float16, width)).to_numpy()


def _frame(params: _Params, place: Place, scores: Iterable[tuple[str, str, str, Score]]) -> pl.DataFrame:
    """Rows of one place."""
    place_columns = {"stack": place.stack, "convention": place.convention, "layer": place.layer}
    rows = [
        {
            "model": params.model,
            "corpus": params.corpus,
            **place_columns,
            "measure": measure,
            "source_language": source,
            "target_language": target,
            "value": score.value,
            "null_value": score.null,
            "num_units": score.units,
        }
        for measure, source, target, score in scores
    ]
    return pl.DataFrame(rows, schema=schema("representation_similarities"))
