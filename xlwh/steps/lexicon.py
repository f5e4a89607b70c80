"""The study's lexica into one target language: read from files, or made by aligning a parallel dataset.

A dataset of translations holds both sides in its rows. Of any other parallel dataset, the examples with the same id in
the two languages are sentence pairs, first text with first text and second with second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from xlwh.errors import CorpusError, MissingDataError, StudyError
from xlwh.models.pins import HashCache
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.upstream import command, identity, required
from xlwh.store import Entry, Slot, fingerprint, schema
from xlwh.study import Lexicon, LexiconFile

if TYPE_CHECKING:
    from xlwh.concepts.lexicon import Ranked, Sentences

CODE_VERSION = "1"


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
        digest = HashCache(context.warehouse.root / "cache" / "hashes.sqlite").digest([path])
        inputs = [f"{file.path} {digest}"]
        parameters["reversed"] = file.reversed
    else:
        inputs = [identity(entry) for entry in _examples(context, lexicon, source, target)]
        parameters["aligner"] = lexicon.aligner.model_dump(mode="json")
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
            alpha=aligner.alpha,
        ),
        n_best=job.lexicon.n_best,
        min_count=job.lexicon.min_count,
        lower_case=aligner.lower_case,
        max_words=aligner.max_words,
        name=str(job.lexicon.dataset),
        progress=lambda done, total: context.progress(what, done, total),
    )


def _translations_from(context: Context, dataset: str) -> str | None:
    """The source language of a dataset of translations, whose rows hold both sides; None for any other."""
    named = context.study.datasets[dataset]
    if named.reader != "parallel":
        return None
    return str(named.options.get("source", "en"))


def _examples(context: Context, lexicon: Lexicon, source: str, target: str) -> list[Entry]:
    """The parallel text: one entry of a dataset of translations, or one for each of the two languages."""
    dataset = str(lexicon.dataset)
    split = context.study.datasets[dataset].split
    pivot = _translations_from(context, dataset)
    languages = [source, target]
    if pivot is not None:
        languages = [language for language in languages if language != pivot]
        if len(languages) != 1:
            raise StudyError(
                f"lexica: `{dataset}` holds translations from `{pivot}`, so one side of every pair has to be `{pivot}`; "
                f"got {source} and {target}."
            )
    return [
        required(
            context, Slot("examples", (dataset, language), split), Key(dataset=dataset, language=language)
        )
        for language in languages
    ]


def _sentences(context: Context, job: _Job) -> tuple[Sentences, Sentences]:
    """Words of the sentence pairs of both sides."""
    from xlwh.concepts.lexicon import parallel_words, split

    dataset = str(job.lexicon.dataset)
    pivot = _translations_from(context, dataset)
    frames = [
        pl.read_parquet(context.warehouse.root / entry.file)
        for entry in _examples(context, job.lexicon, job.source, job.target)
    ]
    if pivot is not None:
        other = job.target if job.source == pivot else job.source
        sides = {
            pivot: [split(text, pivot) for text in frames[0]["text"]],
            other: [split(text, other) for text in frames[0]["text_pair"]],
        }
        return sides[job.source], sides[job.target]
    shapes = [frame.select("example_id", pl.col("text_pair").is_null().alias("single")) for frame in frames]
    # A pair that lacks its second text in one language would shift all that follow.
    common = shapes[0].join(shapes[1], on=["example_id", "single"]).select("example_id")
    if common.is_empty():
        raise MissingDataError(
            f"`{dataset}` has no example with the same id in `{job.source}` and `{job.target}`, so there is nothing to "
            f"align. Name a parallel dataset in `lexica.{job.key}.dataset`, then run: "
            f"{command('lexicon', Key(language=job.target))}"
        )
    source, target = (parallel_words(common.join(frame, on="example_id", how="left")) for frame in frames)
    return source, target
