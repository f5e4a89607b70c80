"""Vectors of the words of a study's corpora in the shared space that consistency is measured in.

A space of `.vec` files is shared by the models: its slot holds the words that any of them sees in the language, and
is identified by the file and those words. A space of input embeddings belongs to one model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.corpora.dictionaries import read_dictionary
from xlwh.models.words import segmenter_name
from xlwh.steps.job import Frames, Job
from xlwh.steps.models.evaluated import CLASSIFICATION, QUESTION_ANSWERING, evaluated
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Entry, Slot
from xlwh.study import Space, Study

Found = tuple[list[str], list[str], NDArray[np.floating[Any]]]
"""Words, the spelling each was found under, and vectors `[n, d]`."""

PAIRED = (*CLASSIFICATION, QUESTION_ANSWERING, None)
"""Tasks whose texts are compared between languages; None: a dataset without examples."""


@dataclass(frozen=True)
class _OfFile:
    """Words that are looked up in a file."""

    words: str
    """Hash of the words."""
    alignment: str
    min_coverage: float


@dataclass(frozen=True)
class _OfModel:
    """Words, or sub-tokens, that have a model's input embeddings."""

    unit: str
    pivot: str
    alignment: str
    dictionaries: tuple[str, ...]
    """Languages of the dictionaries; the first one's is where the pivot is centred."""
    foreign_first: tuple[str, ...]
    """Those of them whose entries begin with the foreign word."""
    segmenters: tuple[str, str]
    """Of the language and of the pivot."""
    min_coverage: float


@dataclass(frozen=True)
class _File:
    """Where the vectors are, and the files of `tokens` that hold the words."""

    path: Path
    tokens: tuple[Path, ...]


class _WordVectors(Whole):
    version = "3"
    libraries = ("transformers", "tokenizers", "scipy")

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """One job."""
        model, language, study = partition.model, partition.language, partition.study
        if reason := reason_not_covered(study, language, model):
            raise NotApplicable(reason)
        corpora = [corpus.dataset for corpus in evaluated(partition) if corpus.task in PAIRED]
        if not corpora:
            raise NotApplicable(f"`{model}` is evaluated on no classes or questions in `{language}`.")
        tokens = tuple(partition.required(Slot("tokens", (model, language), dataset)) for dataset in corpora)
        make = _in_file if _space(study).kind == "vec" else _in_model
        yield make(partition, slot_of(study, model, language), tokens)

    def make(self, work: Work, job: Job) -> Frames:
        """Rows of `word_vectors`; CorpusError where too few words have a vector."""
        space, language = job.slots["word_vectors"].keys
        find = _from_file if isinstance(job.params, _OfFile) else _from_embeddings
        words, matched, vectors = find(work, job, language)
        work.tell("alignment", job.params.alignment)
        columns = {
            "word": pl.Series(words, dtype=pl.String),
            "matched": pl.Series(matched, dtype=pl.String),
            "vector": pl.Series(list(vectors.astype(np.float32)), dtype=pl.List(pl.Float32)),
        }
        frame = pl.DataFrame(columns).with_columns(
            space=pl.lit(space), language=pl.lit(language), alignment=pl.lit(job.params.alignment)
        )
        return {"word_vectors": frame.sort("word")}


STEP = _WordVectors()


def slot_of(study: Study, model: str, language: str) -> Slot:
    """Where the vectors of a language lie that consistency of a model uses.

    The space's key is the study's name of it for `.vec` files, `<model>.<name>` for the model's own embeddings of
    words, `<model>.<name>.tokens` for those of sub-tokens.
    """
    assert study.consistency is not None
    key = study.consistency.space
    if _space(study).kind != "vec":
        key = f"{model}.{key}.tokens" if study.consistency.unit == "token" else f"{model}.{key}"
    return Slot("word_vectors", (key, language))


def reason_not_covered(study: Study, language: str, model: str) -> str | None:
    """Why a language of a model has no place in the space of the study's consistency; None if it has one."""
    if study.consistency is None:
        return "The study has no [consistency] section."
    if study.consistency.models is not None and model not in study.consistency.models:
        return f"The study does not measure the consistency of `{model}`."
    space = _space(study)
    if space.kind == "vec" and language not in space.files:
        return f"The space `{study.consistency.space}` has no vector file for `{language}`."
    return None


def alignment_of(study: Study, language: str) -> str:
    """How a language is brought into the space: given, pivot, procrustes or none."""
    space = _space(study)
    if space.kind == "vec":
        return "given"
    if language == space.pivot:
        return "pivot"
    return "procrustes" if language in space.dictionaries else "none"


def _name(study: Study) -> str:
    assert study.consistency is not None
    return study.consistency.space


def _space(study: Study) -> Space:
    return study.spaces[_name(study)]


def _dictionaries_used(space: Space, language: str) -> tuple[str, ...]:
    """Languages whose dictionaries decide how a language lies in the space: the first one's, and its own."""
    used = dict.fromkeys(list(space.dictionaries)[:1])
    if language in space.dictionaries and language != space.pivot:
        used[language] = None
    return tuple(used)


def _in_file(partition: Partition, slot: Slot, tokens: tuple[Entry, ...]) -> Job:
    """Words of every model of the study, as far as their tokens are there and up to date."""
    study, language = partition.study, partition.language
    others = (
        partition.current(Slot("tokens", (model, language), dataset))
        for model in study.models
        for dataset in study.evaluations(model, language)
    )
    seen = dict.fromkeys(entry.file for entry in (*tokens, *others) if entry is not None)
    files = tuple(partition.root / file for file in seen)
    space, path = _space(study), study.data_path(_space(study).files[language])
    return Job(
        {"word_vectors": slot},
        _OfFile(_hash_of_words(files), alignment_of(study, language), space.min_coverage),
        files=(partition.digest(path, f"`spaces.{_name(study)}.files`"),),
        name=_name(study),
        tools=_File(path, files),
    )


def _in_model(partition: Partition, slot: Slot, tokens: tuple[Entry, ...]) -> Job:
    study, language, space = partition.study, partition.language, _space(partition.study)
    assert study.consistency is not None
    used, pivot = _dictionaries_used(space, language), str(space.pivot)
    paths = {each: study.data_path(space.dictionaries[each]) for each in used}
    named = f"`spaces.{_name(study)}.dictionaries`"
    params = _OfModel(
        unit=study.consistency.unit,
        pivot=pivot,
        alignment=alignment_of(study, language),
        dictionaries=used,
        foreign_first=tuple(each for each in used if each in space.reversed_dictionaries),
        segmenters=(segmenter_name(language), segmenter_name(pivot)),
        min_coverage=space.min_coverage,
    )
    return Job(
        {"word_vectors": slot},
        params,
        tokens,
        partition.use(partition.model, "max_length", "dtype"),
        tuple(f"{each} {partition.digest(path, named)}" for each, path in paths.items()),
        name=_name(study),
        tools=paths,
    )


@lru_cache(maxsize=4096)
def _hash_of_words(files: tuple[Path, ...]) -> str:
    """Hash of the distinct words of some files of `tokens`: files of a warehouse never change."""
    text = "\n".join(_vocabulary(_scan(files)))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _scan(files: tuple[Path, ...]) -> pl.LazyFrame:
    return pl.scan_parquet(list(files), hive_partitioning=False, glob=False)


def _vocabulary(tokens: pl.LazyFrame) -> list[str]:
    """Distinct words of some tokens, sorted."""
    words = tokens.select(pl.col("word").drop_nulls().unique()).collect()["word"]
    return sorted(words.to_list())


def _from_file(work: Work, job: Job, language: str) -> Found:
    from xlwh.consistency.checks import require_coverage
    from xlwh.consistency.vectors import read_vectors

    words = _vocabulary(_scan(job.tools.tokens))
    found = read_vectors(job.tools.path, words)
    require_coverage(
        len(words),
        len(found.words),
        job.params.min_coverage,
        where=str(job.tools.path),
        language=language,
        setting=f"spaces.{job.name}.min_coverage",
        missing=found.missing,
        examples=found.examples,
    )
    for name, value in asdict(found.report).items():
        work.tell(name, value)
    return found.words, found.matched, found.vectors


def _from_embeddings(work: Work, job: Job, language: str) -> Found:
    from xlwh.consistency.checks import require_coverage, require_direction
    from xlwh.consistency.embeddings import input_embedding, word_embedder
    from xlwh.consistency.spaces import Rotation, align, pivot_mean

    params, loaded = job.params, work.load(job, "tokens")
    embedding, embed_pivot = input_embedding(loaded), word_embedder(loaded, params.pivot)
    vocabulary = _vocabulary(work.scan(job, "tokens"))
    dictionaries = {
        name: read_dictionary(path, foreign_first=name in params.foreign_first)
        for name, path in job.tools.items()
    }
    rotation = Rotation(np.zeros(embedding.shape[1]), None)
    if dictionaries:
        first = params.dictionaries[0]
        checked = language if language in dictionaries else first
        if checked == language or language == params.pivot:
            require_direction(
                dictionaries[checked],
                vocabulary,
                language == params.pivot,
                where=f"{job.tools[checked]}: the dictionary of `{checked}`",
                language=language,
                setting=f"spaces.{job.name}.reversed_dictionaries",
                is_reversed=checked in params.foreign_first,
            )
        rotation = Rotation(pivot_mean(dictionaries[first], embed_pivot), None)
    if params.alignment == "procrustes":
        foreign = word_embedder(loaded, language)
        rotation, report = align(dictionaries[language], embed_pivot, foreign, rotation.mean)
        for name, value in asdict(report).items():
            work.tell(f"dictionary_{name}", value)
    if params.unit == "token":
        pieces = _sub_tokens(work.scan(job, "tokens"))
        asked, raw = pieces["token"], embedding[pieces["token_id"].to_numpy()]
        covered = np.ones(len(asked), dtype=bool)
    else:
        asked = pl.Series(vocabulary, dtype=pl.String)
        raw, covered = word_embedder(loaded, language)(vocabulary)
    words = asked.filter(pl.Series(covered)).to_list()
    require_coverage(
        len(asked),
        len(words),
        params.min_coverage,
        where=f"`{loaded.key}`",
        language=language,
        setting=f"spaces.{job.name}.min_coverage",
        missing=asked.filter(pl.Series(~covered)).to_list(),
    )
    for name, value in (("asked", len(asked)), ("found", len(words)), ("dimension", embedding.shape[1])):
        work.tell(name, value)
    return words, words, rotation.apply(raw[covered])


def _sub_tokens(tokens: pl.LazyFrame) -> pl.DataFrame:
    """Distinct sub-tokens that stand in words: `token` and its row of the embedding. UNK has no meaning of its own."""
    return (
        tokens.filter(~pl.col("is_special") & ~pl.col("is_unknown") & pl.col("word_index").is_not_null())
        .group_by("token")
        .agg(pl.col("token_id").min())
        .sort("token")
        .collect()
    )
