"""Vectors of the words of a study's corpora in the shared space that consistency is measured in.

A space of `.vec` files is shared by the models: its slot holds the words that any of them sees in the language, and
is identified by the file and those words. A space of input embeddings belongs to one model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import polars as pl

from xlwh.consistency.words import alignment_of, embedded, from_embeddings, from_file, vocabulary
from xlwh.steps.job import Frames, Job
from xlwh.steps.models.evaluated import CLASSIFICATION, QUESTION_ANSWERING, evaluated
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Whole, Work
from xlwh.store import Entry, Slot
from xlwh.store.reading import StoredFile, scan
from xlwh.study import Study

PAIRED = (*CLASSIFICATION, QUESTION_ANSWERING, None)
"""Tasks whose texts are compared between languages; None: a dataset without examples."""


@dataclass(frozen=True)
class _OfFile:
    """Words that are looked up in a file."""

    words: str
    """Hash of the words."""
    alignment: str
    min_coverage: float


class _WordVectors(Whole):
    version = "3"
    libraries = ("transformers", "tokenizers", "scipy")

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """One job."""
        model, language, study = partition.model, partition.language, partition.study
        if reason := reason_not_covered(study, language, model):
            raise NotApplicable(reason)
        datasets = [corpus.dataset for corpus in evaluated(partition) if corpus.task in PAIRED]
        if not datasets:
            raise NotApplicable(f"`{model}` is evaluated on no classes or questions in `{language}`.")
        tokens = tuple(partition.required(Slot("tokens", (model, language), dataset)) for dataset in datasets)
        assert study.consistency is not None
        name, slots = study.consistency.space, {"word_vectors": slot_of(study, model, language)}
        space = study.spaces[name]
        if space.kind == "vec":
            seen, path = _seen(partition, tokens), study.data_path(space.files[language])
            of_file = _OfFile(_hash_of_words(seen), alignment_of(space, language), space.min_coverage)
            file = partition.digest(path, f"`spaces.{name}.files`")
            yield Job(slots, of_file, files=(file,), name=name, tools=(path, seen))
            return
        how = embedded(space, language, study.consistency.unit)
        paths = {each: study.data_path(space.dictionaries[each]) for each in how.dictionaries}
        files = tuple(
            f"{each} {partition.digest(path, f'`spaces.{name}.dictionaries`')}"
            for each, path in paths.items()
        )
        use = partition.use(model, "max_length", "dtype")
        yield Job(slots, how, tokens, use, files, name=name, tools=paths)

    def make(self, work: Work, job: Job) -> Frames:
        """Rows of `word_vectors`; CorpusError where too few words have a vector."""
        params, (space, language) = job.params, job.slots["word_vectors"].keys
        if isinstance(params, _OfFile):
            path, seen = job.tools
            rows, facts = from_file(_scan(seen), path, language, job.name, params.min_coverage)
        else:
            tokens, loaded = work.scan(job, "tokens"), work.load(job, "tokens")
            rows, facts = from_embeddings(tokens, loaded, params, job.tools, language, job.name)
        work.told |= facts | {"alignment": params.alignment}
        keys = {"space": space, "language": language, "alignment": params.alignment}
        return {"word_vectors": rows.with_columns(**{name: pl.lit(key) for name, key in keys.items()})}


STEP = _WordVectors()


def slot_of(study: Study, model: str, language: str) -> Slot:
    """Where the vectors of a language lie that consistency of a model uses.

    The space's key is the study's name of it for `.vec` files, `<model>.<name>` for the model's own embeddings of
    words, `<model>.<name>.tokens` for those of sub-tokens.
    """
    assert study.consistency is not None
    key = study.consistency.space
    if study.spaces[key].kind != "vec":
        key = f"{model}.{key}.tokens" if study.consistency.unit == "token" else f"{model}.{key}"
    return Slot("word_vectors", (key, language))


def reason_not_covered(study: Study, language: str, model: str) -> str | None:
    """Why a language of a model has no place in the space of the study's consistency; None if it has one."""
    if study.consistency is None:
        return "The study has no [consistency] section."
    if study.consistency.models is not None and model not in study.consistency.models:
        return f"The study does not measure the consistency of `{model}`."
    if not set(study.consistency.methods) & set(study.attribution_methods(model)):
        return f"The study uses no attribution method of `consistency.methods` on `{model}`."
    space = study.spaces[study.consistency.space]
    if space.kind == "vec" and language not in space.files:
        return f"The space `{study.consistency.space}` has no vector file for `{language}`."
    return None


def _seen(partition: Partition, tokens: Iterable[Entry]) -> tuple[StoredFile, ...]:
    """Files of the words of every model of the study, as far as they are there and up to date; these `tokens` too."""
    study, language = partition.study, partition.language
    others = (
        partition.current(Slot("tokens", (model, language), dataset))
        for model in study.models
        for dataset in study.evaluations(model, language)
    )
    files = {partition.file(entry) for entry in (*tokens, *others) if entry is not None}
    # In an order of their own: then the words of a language are hashed once for all models.
    return tuple(sorted(files, key=lambda each: each.file))


@lru_cache(maxsize=4096)
def _hash_of_words(files: tuple[StoredFile, ...]) -> str:
    """Hash of the distinct words of some files of `tokens`: files of a warehouse never change."""
    return hashlib.blake2b("\n".join(vocabulary(_scan(files))).encode(), digest_size=16).hexdigest()


def _scan(files: tuple[StoredFile, ...]) -> pl.LazyFrame:
    return scan(files[0].root, (each.entry for each in files))
