"""The study's lexica into one target language: read from files, or made by aligning parallel datasets."""

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
from xlwh.steps.plan import command
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Entry, Slot
from xlwh.study import Aligner, Lexicon, LexiconFile

if TYPE_CHECKING:
    from xlwh.concepts.lexicon import Ranked


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
        study, target = partition.study, partition.language
        directions = [
            (name, lexicon, source)
            for name, lexicon in study.lexica.items()
            for source, into in lexicon.directions()
            if into == target
        ]
        if not directions:
            raise NotApplicable(f"The study has no lexicon into `{target}`.")
        for name, lexicon, source in directions:
            path, reads, files = None, tuple[Entry, ...](), tuple[str, ...]()
            made_from: LexiconFile | _Aligned
            file = next((f for f in lexicon.files if (f.source, f.target) == (source, target)), None)
            if file is not None:
                path, made_from = study.data_path(file.path), file
                files = (partition.digest(path, f"`lexica.{name}.files`"),)
            else:
                made_from, reads = _parallel(partition, name, lexicon, source)
            yield Job(
                {"lexicon": slot_of(name, source, target)},
                _Params(name, source, target, lexicon.n_best, lexicon.min_count, made_from),
                reads,
                files=files,
                name=f"{name} {source}-{target}",
                tools=path,
            )

    def make(self, work: Work, job: Job) -> Frames:
        """The translations of every source word, best first."""
        from xlwh.concepts.lexicon import from_file

        params, made_from = job.params, job.params.made_from
        made = (
            from_file(
                job.tools,
                n_best=params.n_best,
                min_count=params.min_count,
                swapped=made_from.reversed,
                name=made_from.path,
            )
            if isinstance(made_from, LexiconFile)
            else _aligned(work, job)
        )
        work.tell(
            job.name,
            {
                "source_words": made.frame["source_word"].n_unique(),
                "translations": made.frame.height,
                "sentence_pairs": made.sentence_pairs,
                "links": made.links,
            },
        )
        return {
            "lexicon": made.frame.with_columns(
                lexicon=pl.lit(params.lexicon),
                source_language=pl.lit(params.source),
                target_language=pl.lit(params.target),
                provenance=pl.lit(made.provenance),
            )
        }


STEP = _Lexicon()


def slot_of(lexicon: str, source: str, target: str) -> Slot:
    """Where the translations of a lexicon from one language into another lie."""
    return Slot("lexicon", (lexicon, target), source)


def _parallel(
    partition: Partition, name: str, lexicon: Lexicon, source: str
) -> tuple[_Aligned, tuple[Entry, ...]]:
    """The datasets of a lexicon that have both languages, and their files.

    MissingDataError for one that is still to be read, CorpusError for one whose languages are not translations of each
    other.
    """
    study, target = partition.study, partition.language
    datasets, entries = [], []
    for dataset in lexicon.datasets:
        pivot = source_side(study, dataset)
        languages = [language for language in (source, target) if language != pivot]
        if pivot not in (None, source, target) or not set(languages) <= set(study.dataset_languages(dataset)):
            continue
        split = study.datasets[dataset].split
        entries += [partition.required(Slot("examples", (dataset, each), split)) for each in languages]
        require_parallel(partition, dataset, (source, target))
        datasets.append((dataset, pivot))
    if not datasets:
        raise StudyError(
            f"`lexica.{name}`: none of {', '.join(lexicon.datasets)} has both `{source}` and `{target}`. Name a parallel "
            "dataset that does in `datasets`, or drop the direction from `pairs`."
        )
    segmenters = segmenter_name(source), segmenter_name(target)
    return _Aligned(tuple(datasets), lexicon.aligner, segmenters), tuple(entries)


def _aligned(work: Work, job: Job) -> Ranked:
    from xlwh.concepts.lexicon import from_alignment, sentence_pairs

    params, made_from = job.params, job.params.made_from
    source, target = params.source, params.target
    pairs = [
        pair
        for dataset, pivot in made_from.datasets
        for pair in sentence_pairs(
            work.scan(job, "examples", dataset=dataset).collect(), source, target, pivot
        )
    ]
    datasets = ", ".join(dataset for dataset, _ in made_from.datasets)
    if not pairs:
        raise MissingDataError(
            f"`lexica.{params.lexicon}`: no example of {datasets} has the same id in `{source}` and `{target}`, so there "
            "is nothing to align. Name a parallel dataset in `datasets`, then run: "
            f"{command('lexicon', Key(language=target))}"
        )
    return from_alignment(
        pairs,
        made_from.aligner,
        n_best=params.n_best,
        min_count=params.min_count,
        name=datasets,
        progress=partial(work.progress, f"{job.name}: passes"),
    )
