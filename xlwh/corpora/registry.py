"""The readers by name, and reading a dataset of a study with the one it names.

Adding a reader is one module of this package that defines `READER`, and its name in `_MODULES`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import polars as pl

from xlwh.corpora.base import Reader, Reading, sample
from xlwh.corpora.files import Document, members
from xlwh.corpora.request import Request
from xlwh.errors import CorpusError, StudyError
from xlwh.study import Study

_UNSET = ("member", "where", "cluster")
"""Options that are left out of a fingerprint where they are not set, since they were added later."""

_SKIP_VERSION = 2
"""Raised when `skip_examples` leaves out other rows."""

_FEW = 400
"""Lines that are looked at before anything is read."""
_LARGE = 1 << 28
"""Bytes; larger files are not read as a whole to look at them."""

_MODULES = (
    "conllu",
    "eraser",
    "hub",
    "panx",
    "parallel",
    "pawsx",
    "text_classification",
    "udpos",
    "umsab",
    "xnli",
    "xquad",
)


@dataclass(frozen=True)
class OptionInfo:
    """One option of a reader."""

    name: str
    description: str
    required: bool
    default: str
    """As JSON; empty where the option is required."""


@dataclass(frozen=True)
class ReaderInfo:
    """A reader, its line of description and the options it accepts."""

    name: str
    description: str
    options: tuple[OptionInfo, ...]


@dataclass(frozen=True)
class Corpus:
    """One (dataset, split, language) whose files were found but not read."""

    reader: Reader
    request: Request
    documents: tuple[Document, ...]
    max_examples: int | None
    seed: int

    def parameters(self) -> dict[str, object]:
        """What the rows depend on besides the files: for a fingerprint."""
        dataset = self.request.dataset
        chosen = self.max_examples is not None or dataset.skip_examples is not None
        # Left out where it is not set, so that what was read before stays fresh.
        skipped = (
            {}
            if dataset.skip_examples is None
            else {"skip_examples": dataset.skip_examples, "skip_version": _SKIP_VERSION}
        )
        options = self.request.options(self.reader.option_model).model_dump(mode="json")
        options = {name: value for name, value in options.items() if value or name not in _UNSET}
        strict = {"max_rejected": dataset.max_rejected} if dataset.max_rejected < 0.5 else {}
        return {
            "reader": self.reader.name,
            "reader_version": self.reader.version,
            "options": options,
            "dataset": self.request.key,
            "split": dataset.split,
            "language": self.request.language,
            "max_examples": self.max_examples,
            # The seed matters only where there is something to choose.
            "seed": self.seed if chosen else None,
            **skipped,
            **strict,
        }

    def identity(self) -> list[str]:
        """What identifies the data: name and SHA-256 of every file, or hub id and revision."""
        return self.reader.identity(self.request, self.documents)

    def read(self) -> Reading:
        """Read the files, and keep the accepted rows that the study asks for; `CorpusError` where that is impossible."""
        reading = self.reader.parse(self.request, self.documents)
        kept, skipped = reading.examples, self.request.dataset.skip_examples
        if skipped is not None:
            # Copies of what is left out are left out with it: they would be trained on and evaluated.
            texts = pl.struct("text", "text_pair")
            left_out = sample(kept, skipped, self.seed)
            kept = kept.filter(~texts.is_in(left_out.select(texts.alias("text"))["text"].implode()))
        kept = sample(kept, self.max_examples, self.seed)
        return replace(reading, examples=kept, left_out=reading.examples.height - kept.height)

    def glance(self) -> Glance:
        """What the beginnings of the files say of them; errors as of `read`.

        An error is only raised where the whole files have it too: what is at the beginning of a file (rows of another
        language, say) need not be what it is like.
        """
        few = tuple(replace(document, lines=_FEW) for document in self.documents)
        held, size = sum(len(document.read()) for document in few), self._size()
        try:
            reading, share = self.reader.parse(self.request, few), min(1.0, held / max(1, size))
        except (CorpusError, StudyError):
            if size > _LARGE:
                return Glance(None, None, is_whole=False)
            reading, share = self.reader.parse(self.request, self.documents), 1.0
        return Glance(reading.examples, round(reading.examples.height / share), is_whole=share == 1.0)

    def kept(self, rows: int) -> int:
        """About how many of the rows of the files the study keeps."""
        left = max(0, rows - (self.request.dataset.skip_examples or 0))
        return left if self.max_examples is None else min(left, self.max_examples)

    def _size(self) -> int:
        """Bytes of the files, packed as they are; of an archive, its part by the number of its members."""
        total = 0
        for document in self.documents:
            share = len(members(document.path) or ()) if document.inside else 1
            total += document.path.stat().st_size // max(1, share)
        return total


@dataclass(frozen=True)
class Glance:
    """What was seen of one (dataset, split, language) at the beginning of its files."""

    examples: pl.DataFrame | None
    """Accepted rows; None where nothing could be said of the whole."""
    rows: int | None
    """About how many there are in the files."""
    is_whole: bool


def locate(study: Study, dataset_key: str, language: str) -> Corpus:
    """Find the files of one language of a dataset; `StudyError` or `CorpusError` says what to change."""
    request = request_of(study, dataset_key, language)
    reader = reader_named(request.dataset.reader, dataset_key)
    return Corpus(
        reader=reader,
        request=request,
        documents=reader.locate(request),
        max_examples=request.dataset.max_examples,
        seed=study.seed,
    )


def read(study: Study, dataset_key: str, language: str) -> Reading:
    """Read one language of a dataset: accepted rows, refused rows, and the counts of both."""
    return locate(study, dataset_key, language).read()


def read_all(study: Study, dataset_key: str, language: str) -> Reading:
    """As `read`, but every row of the files, whatever the study keeps of them."""
    corpus = locate(study, dataset_key, language)
    return corpus.reader.parse(corpus.request, corpus.documents)


def is_of_translations(study: Study, dataset_key: str) -> bool:
    """Whether the dataset's format is one of translations, so that its languages have to be translations of one another."""
    return reader_named(study.datasets[dataset_key].reader, dataset_key).parallel


def source_side(study: Study, dataset_key: str) -> str | None:
    """The language that the rows of a dataset are translated from, if each holds a text and its translation."""
    request = request_of(study, dataset_key, study.dataset_languages(dataset_key)[0])
    return reader_named(request.dataset.reader, dataset_key).source_side(request)


def inapplicable(study: Study, dataset_key: str, language: str) -> str:
    """Why a dataset has no rows in a language by the study or by its nature; empty where it has."""
    if dataset_key in study.datasets:
        languages = study.dataset_languages(dataset_key)
        if language not in languages:
            return f"dataset `{dataset_key}` is read in {', '.join(languages)}, not in `{language}`"
    request = request_of(study, dataset_key, language)
    return reader_named(request.dataset.reader, dataset_key).inapplicable(request)


def check(study: Study) -> None:
    """Refuse a study that names unknown readers or options; `StudyError` lists all of them at once."""
    flaws = []
    for key, dataset in study.datasets.items():
        try:
            reader = reader_named(dataset.reader, key)
            request_of(study, key, study.dataset_languages(key)[0]).options(reader.option_model)
        except StudyError as error:
            flaws.append(str(error))
    if flaws:
        raise StudyError("\n".join(flaws))


def reader_named(name: str, dataset_key: str) -> Reader:
    """A reader; `StudyError` lists those that exist."""
    found = _readers().get(name)
    if found is None:
        raise StudyError(
            f"`datasets.{dataset_key}.reader`: no reader `{name}`; there are: {', '.join(_readers())}"
        )
    return found


def readers() -> list[ReaderInfo]:
    """Every reader with the options that it accepts, by name."""
    return [
        ReaderInfo(reader.name, reader.description, tuple(_option_infos(reader)))
        for reader in _readers().values()
    ]


def _option_infos(reader: Reader) -> list[OptionInfo]:
    infos = []
    for name, option in reader.option_model.model_fields.items():
        required = option.is_required()
        default = option.get_default(call_default_factory=True, validated_data={})
        shown = "" if required else json.dumps(default, ensure_ascii=False)
        infos.append(OptionInfo(name, option.description or "", required, shown))
    return infos


@lru_cache(maxsize=1)
def _readers() -> Mapping[str, Reader]:
    found: dict[str, Reader] = {}
    for module in _MODULES:
        reader: Reader = importlib.import_module(f"xlwh.corpora.{module}").READER
        found[reader.name] = reader
    return found


def request_of(study: Study, dataset_key: str, language: str) -> Request:
    dataset = study.datasets.get(dataset_key)
    if dataset is None:
        raise StudyError(
            f"No dataset `{dataset_key}` in study `{study.name}`; there are: {', '.join(study.datasets)}"
        )
    languages = study.dataset_languages(dataset_key)
    if language not in languages:
        raise StudyError(
            f"Dataset `{dataset_key}` is not read in `{language}` but in: {', '.join(languages)}. Change "
            f"`datasets.{dataset_key}.languages`, or the study's `languages`."
        )
    path: Path | None = None if dataset.path is None else study.data_path(dataset.path)
    return Request(dataset_key, dataset, path, study.data_path("."), language, languages)
