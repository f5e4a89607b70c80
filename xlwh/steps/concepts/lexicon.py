"""The study's lexica into one target language: read from files, or made by aligning parallel datasets.

A dataset of translations holds both sides in its rows. Of any other parallel dataset, the examples with the same id in
the two languages are sentence pairs, first text with first text and second with second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from xlwh.corpora import source_side
from xlwh.errors import MissingDataError, StudyError
from xlwh.models.words import segmenter_name
from xlwh.steps.base import Key
from xlwh.steps.corpora.parallelism import require_parallel
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import NotApplicable, Partition, command
from xlwh.steps.work import Whole, Work
from xlwh.store import Entry, Slot
from xlwh.study import Aligner, Lexicon, LexiconFile

if TYPE_CHECKING:
    from xlwh.concepts.lexicon import Ranked, Sentences


@dataclass(frozen=True)
class _Aligned:
    """Parallel datasets."""

    datasets: tuple[tuple[str, str | None], ...]
    """Each with the language that its translations are from, None where each language has its own rows."""
    aligner: Aligner
    segmenters: tuple[str, str]
    """What splits the texts into words."""


@dataclass(frozen=True)
class _Params:
    lexicon: str
    source: str
    target: str
    n_best: int
    min_count: int
    made_from: LexiconFile | _Aligned


class _Lexicon(Whole):
    version = "2"
    libraries = ("scipy",)

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per lexicon and source language."""
        directions = [
            (name, lexicon, source)
            for name, lexicon in partition.study.lexica.items()
            for source, target in lexicon.directions()
            if target == partition.language
        ]
        if not directions:
            raise NotApplicable(f"The study has no lexicon into `{partition.language}`.")
        for name, lexicon, source in directions:
            yield _job(partition, name, lexicon, source)

    def make(self, work: Work, job: Job) -> Frames:
        """The translations of every source word, best first."""
        params = job.params
        made = _read(job) if isinstance(params.made_from, LexiconFile) else _align(work, job)
        work.tell(
            job.name,
            {
                "source_words": made.frame["source_word"].n_unique(),
                "translations": made.frame.height,
                "sentence_pairs": made.sentence_pairs,
                "links": made.links,
            },
        )
        frame = made.frame.with_columns(
            lexicon=pl.lit(params.lexicon),
            source_language=pl.lit(params.source),
            target_language=pl.lit(params.target),
            provenance=pl.lit(made.provenance),
        )
        return {"lexicon": frame}


STEP = _Lexicon()


def slot_of(lexicon: str, source: str, target: str) -> Slot:
    """Where the translations of a lexicon from one language into another lie."""
    return Slot("lexicon", (lexicon, target), source)


def _job(partition: Partition, name: str, lexicon: Lexicon, source: str) -> Job:
    """One lexicon from one source language."""
    study, target = partition.study, partition.language
    path, reads, files = None, tuple[Entry, ...](), tuple[str, ...]()
    made_from: LexiconFile | _Aligned
    file = next((f for f in lexicon.files if (f.source, f.target) == (source, target)), None)
    if file is not None:
        path, made_from = study.data_path(file.path), file
        files = (partition.digest(path, f"`lexica.{name}.files`"),)
    else:
        texts = _texts(partition, name, lexicon, source)
        reads = tuple(entry for _, _, entries in texts for entry in entries)
        made_from = _Aligned(
            tuple((dataset, pivot) for dataset, pivot, _ in texts),
            lexicon.aligner,
            (segmenter_name(source), segmenter_name(target)),
        )
    return Job(
        {"lexicon": slot_of(name, source, target)},
        _Params(name, source, target, lexicon.n_best, lexicon.min_count, made_from),
        reads,
        files=files,
        name=f"{name} {source}-{target}",
        tools=path,
    )


def _texts(
    partition: Partition, name: str, lexicon: Lexicon, source: str
) -> list[tuple[str, str | None, list[Entry]]]:
    """(dataset, language that its translations are from, files) of a lexicon's datasets that have both languages.

    MissingDataError for one that is still to be read, CorpusError for one whose languages are not translations of each
    other.
    """
    study, target, found = partition.study, partition.language, []
    for dataset in lexicon.datasets:
        pivot = source_side(study, dataset)
        if pivot is not None and pivot not in (source, target):
            continue
        languages = [language for language in (source, target) if language != pivot]
        if not set(languages) <= set(study.dataset_languages(dataset)):
            continue
        split = study.datasets[dataset].split
        entries = [partition.required(Slot("examples", (dataset, language), split)) for language in languages]
        require_parallel(partition, dataset, (source, target))
        found.append((dataset, pivot, entries))
    if not found:
        raise StudyError(
            f"`lexica.{name}`: none of {', '.join(lexicon.datasets)} has both `{source}` and `{target}`. Name a parallel "
            "dataset that does in `datasets`, or drop the direction from `pairs`."
        )
    return found


def _read(job: Job) -> Ranked:
    from xlwh.concepts.lexicon import from_file

    params, file = job.params, job.params.made_from
    return from_file(
        job.tools, n_best=params.n_best, min_count=params.min_count, swapped=file.reversed, name=file.path
    )


def _align(work: Work, job: Job) -> Ranked:
    from xlwh.concepts.alignment import AlignerSettings
    from xlwh.concepts.lexicon import from_alignment

    params, made_from = job.params, job.params.made_from
    source: Sentences = []
    target: Sentences = []
    for dataset, pivot in made_from.datasets:
        sides = (
            _counterparts(work, job, dataset) if pivot is None else _translations(work, job, dataset, pivot)
        )
        source += sides[params.source]
        target += sides[params.target]
    datasets = ", ".join(dataset for dataset, _ in made_from.datasets)
    if not source:
        raise MissingDataError(
            f"`lexica.{params.lexicon}`: no example of {datasets} has the same id in `{params.source}` and "
            f"`{params.target}`, so there is nothing to align. Name a parallel dataset in `datasets`, then run: "
            f"{command('lexicon', Key(language=params.target))}"
        )
    options = made_from.aligner.model_dump()
    outside = {name: options.pop(name) for name in ("lower_case", "max_words", "command")}
    return from_alignment(
        source,
        target,
        AlignerSettings(**options),
        n_best=params.n_best,
        min_count=params.min_count,
        name=datasets,
        progress=partial(work.progress, f"{job.name}: passes"),
        **outside,
    )


def _translations(work: Work, job: Job, dataset: str, pivot: str) -> dict[str, Sentences]:
    """Language -> words of each sentence of a dataset whose rows hold a text and its translation."""
    from xlwh.concepts.lexicon import split

    rows = work.scan(job, "examples", dataset=dataset).select("text", "text_pair").collect()
    (into,) = {job.params.source, job.params.target} - {pivot}
    return {
        pivot: [split(sentence, pivot) for sentence in rows["text"]],
        into: [split(sentence, into) for sentence in rows["text_pair"]],
    }


def _counterparts(work: Work, job: Job, dataset: str) -> dict[str, Sentences]:
    """Language -> words of each sentence of a dataset in which an example has the same id in every language."""
    from xlwh.concepts.lexicon import parallel_words

    languages = (job.params.source, job.params.target)
    first, second = (
        work.scan(job, "examples", dataset=dataset, language=language).collect() for language in languages
    )
    # A pair that lacks its second text in one language would shift all that follow.
    single = pl.col("text_pair").is_null().alias("single")
    shapes = [frame.select("example_id", single) for frame in (first, second)]
    common = shapes[0].join(shapes[1], on=["example_id", "single"]).select("example_id")
    return {
        language: parallel_words(common.join(frame, on="example_id", how="left"))
        for language, frame in zip(languages, (first, second), strict=True)
    }
