"""The study's lexica into one target language: read from files, or made by aligning parallel datasets.

A dataset of translations holds both sides in its rows. Of any other parallel dataset, the examples with the same id in
the two languages are sentence pairs, first text with first text and second with second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from xlwh.corpora import source_side
from xlwh.digests import HashCache
from xlwh.errors import CorpusError, MissingDataError, StudyError
from xlwh.models.words import segmenter_name
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.corpora.parallelism import require_parallel
from xlwh.steps.upstream import command, identity, required
from xlwh.store import Entry, Slot, fingerprint, schema
from xlwh.study import Lexicon, LexiconFile

if TYPE_CHECKING:
    from xlwh.concepts.lexicon import Ranked, Sentences

CODE_VERSION = "2"


@dataclass(frozen=True)
class _Job:
    """One lexicon from one source language, where it goes, and what it depends on."""

    key: str
    lexicon: Lexicon
    source: str
    target: str
    file: LexiconFile | None
    slot: Slot
    fingerprint: str


def run(context: Context, key: Key) -> StepResult:
    """Write `lexicon` into one language, a file per lexicon and source language."""
    language = str(key.language)
    jobs = [
        _job(context, name, lexicon, source, target)
        for name, lexicon in context.study.lexica.items()
        for source, target in lexicon.directions()
        if target == language
    ]
    if not jobs:
        return not_applicable(f"The study has no lexicon into `{language}`.")
    if not context.force:
        jobs = [job for job in jobs if not context.warehouse.is_fresh(job.slot, job.fingerprint)]
    if not jobs:
        return StepResult(status="fresh")
    watch, rows = Stopwatch(), 0
    metadata: dict[str, object] = {}
    for job in jobs:
        made = _from_file(context, job) if job.file is not None else _aligned(context, job)
        constants = {
            "lexicon": job.key,
            "source_language": job.source,
            "target_language": job.target,
            "provenance": made.provenance,
        }
        frame = made.frame.with_columns(pl.lit(v, dtype=pl.String).alias(k) for k, v in constants.items())
        context.warehouse.write({job.slot: frame.select(list(schema("lexicon")))}, job.fingerprint)
        rows += frame.height
        metadata[f"{job.key} {job.source}-{job.target}"] = {
            "source_words": made.frame["source_word"].n_unique(),
            "translations": made.frame.height,
            "sentence_pairs": made.sentence_pairs,
            "links": made.links,
        }
    return StepResult("written", rows, duration_s=watch.seconds, metadata=metadata)


def slot_of(lexicon: str, source: str, target: str) -> Slot:
    """Where the translations of a lexicon from one language into another lie."""
    return Slot("lexicon", (lexicon, target), source)


def _job(context: Context, key: str, lexicon: Lexicon, source: str, target: str) -> _Job:
    """What a lexicon depends on; MissingDataError where its parallel text is still to be read."""
    file = next((f for f in lexicon.files if (f.source, f.target) == (source, target)), None)
    parameters: dict[str, object] = {"n_best": lexicon.n_best, "min_count": lexicon.min_count}
    if file is not None:
        path = context.study.data_path(file.path)
        if not path.is_file():
            raise CorpusError(f"No file {path}, which `lexica.{key}.files` in the study names.")
        digest = HashCache.of(context.warehouse.root).digest([path])
        inputs = [f"{file.path} {digest}"]
        parameters["reversed"] = file.reversed
    else:
        texts = _texts(context, key, lexicon, source, target)
        inputs = [identity(entry) for text in texts for entry in text.entries]
        parameters["aligner"] = lexicon.aligner.model_dump(mode="json", exclude_none=True)
        # What splits the aligned texts into words.
        parameters["segmenters"] = [segmenter_name(language) for language in (source, target)]
    mark = fingerprint("lexicon", CODE_VERSION, parameters, inputs)
    return _Job(key, lexicon, source, target, file, slot_of(key, source, target), mark)


def _from_file(context: Context, job: _Job) -> Ranked:
    from xlwh.concepts.lexicon import from_file

    assert job.file is not None
    return from_file(
        context.study.data_path(job.file.path),
        n_best=job.lexicon.n_best,
        min_count=job.lexicon.min_count,
        swapped=job.file.reversed,
        name=job.file.path,
    )


def _aligned(context: Context, job: _Job) -> Ranked:
    from xlwh.concepts.alignment import AlignerSettings
    from xlwh.concepts.lexicon import from_alignment

    aligner = job.lexicon.aligner
    source, target = _sentences(context, job)
    what = f"{job.key} {job.source}-{job.target}: passes"
    return from_alignment(
        source,
        target,
        AlignerSettings(
            model1_iterations=aligner.model1_iterations,
            iterations=aligner.iterations,
            null_probability=aligner.null_probability,
            tension=aligner.tension,
            optimise_tension=aligner.optimise_tension,
            tension_update=aligner.tension_update,
            alpha=aligner.alpha,
        ),
        n_best=job.lexicon.n_best,
        min_count=job.lexicon.min_count,
        lower_case=aligner.lower_case,
        max_words=aligner.max_words,
        command=aligner.command,
        name=", ".join(
            text.dataset for text in _texts(context, job.key, job.lexicon, job.source, job.target)
        ),
        progress=lambda done, total: context.progress(what, done, total),
    )


@dataclass(frozen=True)
class _Text:
    """One parallel dataset: the side that its translations are from (None where each language has its own rows), and
    the files of the examples."""

    dataset: str
    pivot: str | None
    entries: tuple[Entry, ...]


def _texts(context: Context, key: str, lexicon: Lexicon, source: str, target: str) -> list[_Text]:
    """The datasets of a lexicon that have both languages; MissingDataError for one that is still to be read.

    CorpusError for one whose languages are not translations of each other.
    """
    found = []
    for dataset in lexicon.datasets:
        named = context.study.datasets[dataset]
        pivot = source_side(context.study, dataset)
        if pivot is not None and pivot not in (source, target):
            continue
        languages = [language for language in (source, target) if language != pivot]
        if not set(languages) <= set(context.study.dataset_languages(dataset)):
            continue
        entries = tuple(
            required(
                context, Slot("examples", (dataset, language), named.split), Key(None, dataset, language)
            )
            for language in languages
        )
        require_parallel(context, dataset, (source, target))
        found.append(_Text(dataset, pivot, entries))
    if not found:
        raise StudyError(
            f"`lexica.{key}`: none of {', '.join(lexicon.datasets)} has both `{source}` and `{target}`. Name a parallel "
            "dataset that does in `datasets`, or drop the direction from `pairs`."
        )
    return found


def _sentences(context: Context, job: _Job) -> tuple[Sentences, Sentences]:
    """Words of the sentence pairs of both sides, dataset after dataset."""
    source: Sentences = []
    target: Sentences = []
    for text in _texts(context, job.key, job.lexicon, job.source, job.target):
        sides = (
            _translations(context, job, text) if text.pivot is not None else _counterparts(context, job, text)
        )
        source += sides[0]
        target += sides[1]
    if not source:
        raise MissingDataError(
            f"`lexica.{job.key}`: no example of {', '.join(job.lexicon.datasets)} has the same id in `{job.source}` and "
            f"`{job.target}`, so there is nothing to align. Name a parallel dataset in `datasets`, then run: "
            f"{command('lexicon', Key(language=job.target))}"
        )
    return source, target


def _translations(context: Context, job: _Job, text: _Text) -> tuple[Sentences, Sentences]:
    """Sentence pairs of a dataset whose rows hold both sides."""
    from xlwh.concepts.lexicon import split

    frame = pl.read_parquet(context.warehouse.root / text.entries[0].file, columns=["text", "text_pair"])
    pivot, other = str(text.pivot), job.target if job.source == text.pivot else job.source
    sides = {
        pivot: [split(sentence, pivot) for sentence in frame["text"]],
        other: [split(sentence, other) for sentence in frame["text_pair"]],
    }
    return sides[job.source], sides[job.target]


def _counterparts(context: Context, job: _Job, text: _Text) -> tuple[Sentences, Sentences]:
    """Sentence pairs of a dataset in which an example has the same id in every language."""
    from xlwh.concepts.lexicon import parallel_words

    frames = [pl.read_parquet(context.warehouse.root / entry.file) for entry in text.entries]
    shapes = [frame.select("example_id", pl.col("text_pair").is_null().alias("single")) for frame in frames]
    # A pair that lacks its second text in one language would shift all that follow.
    common = shapes[0].join(shapes[1], on=["example_id", "single"]).select("example_id")
    source, target = (parallel_words(common.join(frame, on="example_id", how="left")) for frame in frames)
    return source, target
