"""Any dataset of the Hugging Face hub, or a local folder of one, by the names of its columns.

- `hub` + `revision`: the files of that commit in the hub's cache, where `xlwh fetch` puts them. Which files are a
  configuration's split is said by the repository's card (`xlwh.corpora.hub_layout`). Nothing is fetched here.
- `path`, a folder made by `save_to_disk`: `datasets.load_from_disk` (extra `hub`).
- `path`, a folder of Parquet, JSON, JSON lines, CSV or TSV files, such as a clone of a hub repository.

All but saved datasets are read without the library `datasets`. Class names are taken from the Parquet metadata, else from
the card. No code of a dataset is ever run: folders are read file by file by their suffix, and `datasets` 4 and newer,
the only ones accepted, have no loading scripts. Column names may reach into nested fields and hold {language}:
`text_pair = "translation.{language}"`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from xlwh.corpora import content
from xlwh.corpora.base import Collector, Reader, Reading
from xlwh.corpora.choice import Choice, chooses_language
from xlwh.corpora.files import (
    Document,
    base_path,
    filled,
    members,
    require_own_file,
    search_all,
    shown_name,
)
from xlwh.corpora.hub_layout import CARD, STEMS, Layout, card_in, data_files, features
from xlwh.corpora.mapping import Columns, emit_all, require_columns
from xlwh.corpora.records import (
    SUFFIXES,
    Record,
    Records,
    arrow_records,
    format_of,
    read_records,
)
from xlwh.corpora.request import CLUSTER, Request, TableOptions
from xlwh.errors import CorpusError

_BATCH = 4096
_FILES = tuple(stem + suffix for stem in STEMS for suffix in SUFFIXES)
_SAVED = ("dataset_dict.json", "state.json")


class HubOptions(TableOptions):
    """Options of the reader `hub`."""

    splits: Mapping[str, str] = Field(
        default={"dev": "validation"},
        description="Split of the study -> the dataset's; default: dev is `validation`.",
    )
    config: str | None = Field(
        None,
        description="Configuration of the hub dataset, or its folder below `path`; {language} is filled in. Default: the "
        "only one, or the one that its card calls the default.",
    )
    text: str | None = Field(None, description="Column of the text; default with `words`: the words joined.")
    text_pair: str | None = Field(None, description="Column of the second text, context or translation.")
    join: str | None = Field(
        None, description="Put between the strings of a text column that holds lists; default: it is refused."
    )
    label: str | None = Field(None, description="Column of the label; class numbers become their names.")
    id: str | None = Field(None, description="Column of the id; default: the row number.")
    words: str | None = Field(
        None, description="Column of the tokens; with `text` they have to be that text, white space aside."
    )
    word_labels: str | None = Field(None, description="Column of one tag per token.")
    answers: str | None = Field(None, description="Column of the answers, as SQuAD has them.")
    cluster: str | None = Field(None, description=CLUSTER)
    labels: Mapping[str, str] = Field(
        default_factory=dict, description="Label in the data -> class label; default: as they stand."
    )
    task: (
        Literal[
            "sequence_classification",
            "sentence_pair",
            "token_classification",
            "question_answering",
            "translation",
        ]
        | None
    ) = Field(None, description="Default: by the columns; `translation` has to be said.")

    @model_validator(mode="after")
    def _some_text(self) -> HubOptions:
        if self.text is None and self.words is None:
            raise ValueError("give the column `text`, or `words`")
        return self


class Hub(Reader):
    """Rows of a Hugging Face dataset."""

    name = "hub"
    description = "Hugging Face datasets by hub id and revision, or a local folder of one, by column names"
    version = 3
    option_model = HubOptions

    def locate(self, request: Request) -> tuple[Document, ...]:
        options = request.options(HubOptions)
        if request.path is None:
            return _fetched(request, options)
        place = _folder(request, options)
        if _saved(place):
            # cache-*.arrow are left by whoever worked with the folder; they are no part of the data.
            files = sorted(
                p
                for p in place.rglob("*")
                if p.is_file() and p.suffix in (".arrow", ".json") and not p.name.startswith("cache-")
            )
            own = "{language}" in request.pattern or "{language}" in (options.config or "")
            return tuple(Document(p, shown_name(request, p), for_language=own) for p in files)
        documents = search_all(replace(request, path=place), options, _FILES)
        if not documents:
            raise CorpusError(
                f"Dataset `{request.key}`: no files of split `{request.split}` in {place}. "
                f"Set `datasets.{request.key}.options.file`, for example `data/{{split}}-*.parquet`."
            )
        return tuple(documents)

    def identity(self, request: Request, documents: tuple[Document, ...]) -> list[str]:
        if request.path is None:
            # A commit's files never change.
            return [f"hub:{document.name.removeprefix('hub/')}" for document in documents]
        return super().identity(request, documents)

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        options = request.options(HubOptions)
        columns = _columns(request, options)
        if request.path is None:
            sources = [_with_classes(request, options, *_load_file(document)) for document in documents]
        elif _saved(place := _folder(request, options)):
            sources = [_load_saved(request, options, place, documents)]
        else:
            sources = [_load_file(document) for document in documents]
        collector = Collector(request, options.task or columns.task(), [document for document, _ in sources])
        choice, count = Choice(request, options, columns.names()), 0
        for document, records in sources:
            _require_language(request, options, document)
            require_columns(document.name, records, columns, request.key)
            count = emit_all(collector, document, records, columns, choice, count)
        choice.finish([document for document, _ in sources], numbered=columns.id is None)
        return collector.reading()


def _columns(request: Request, options: HubOptions) -> Columns:
    def name(pattern: str | None) -> str | None:
        return None if pattern is None else filled(request, options, pattern)

    return Columns(
        text=name(options.text),
        text_pair=name(options.text_pair),
        label=name(options.label),
        id=name(options.id),
        words=name(options.words),
        word_labels=name(options.word_labels),
        answers=name(options.answers),
        cluster=name(options.cluster),
        labels=options.labels,
        join=options.join,
    )


def _require_language(request: Request, options: HubOptions, document: Document) -> None:
    """Refuse to read the same rows as several languages: a file, a configuration or a column tells them apart."""
    named = (options.config, options.text, options.text_pair, options.words)
    if chooses_language(options):
        return
    if not any(pattern is not None and "{language}" in pattern for pattern in named):
        require_own_file(request, document, table=True)


def _folder(request: Request, options: HubOptions) -> Path:
    place = base_path(request, options)
    if options.config is not None:
        below = place / filled(request, options, options.config)
        if not below.is_dir():
            raise CorpusError(
                f"Dataset `{request.key}`: no folder {below}, which `datasets.{request.key}.options.config` names. Change it, "
                f"or `datasets.{request.key}.options.names`."
            )
        return below
    return place


def _saved(place: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return any((place / name).is_file() for name in _SAVED)


def _load_file(document: Document) -> tuple[Document, Records]:
    format_ = format_of(document)
    return document, read_records(document, format_, True, "csv" if format_ == "csv" else "none")


def _datasets() -> Any:
    """The optional library; `CorpusError` says how to install it."""
    try:
        library = importlib.import_module("datasets")
    except ImportError:
        raise CorpusError(
            "This dataset needs the library `datasets`. Install it with: pip install 'xlwh[hub]'"
        ) from None
    if int(library.__version__.split(".")[0]) < 4:
        raise CorpusError(
            f"`datasets` {library.__version__} can run code that a dataset brings along; "
            "4 or newer is needed: pip install 'xlwh[hub]'"
        )
    return library


def needed(layout: Layout, request: Request) -> tuple[str, ...]:
    """Names of the files that a request reads of a repository; `CorpusError` says what there is instead."""
    options = request.options(HubOptions)
    return data_files(layout, request, options, _config(request, options))


def _config(request: Request, options: HubOptions) -> str | None:
    return None if options.config is None else filled(request, options, options.config)


def _fetched(request: Request, options: HubOptions) -> tuple[Document, ...]:
    """Files of a hub dataset in the hub's cache; `CorpusError` where some were not fetched."""
    from xlwh.place import hub_cache, listing, snapshot_folder

    dataset = request.dataset
    hub, revision = str(dataset.hub), str(dataset.revision)
    shown, folder = f"{hub}@{revision}", snapshot_folder("dataset", hub, revision)
    names = listing("dataset", hub, revision)
    lacking = [CARD] if names is not None and CARD in names and not (folder / CARD).is_file() else []
    if names is not None and not lacking:
        wanted = needed(Layout(tuple(names), card_in(folder)), request)
        lacking = [name for name in wanted if not (folder / name).is_file()]
    if names is None or lacking:
        # Before anything of it is there, all its languages say the same.
        is_begun = any(file.name != CARD and not file.is_dir() for file in folder.rglob("*"))
        named = f": {', '.join(lacking[:3])}{' and more' * (len(lacking) > 3)}" if lacking else ""
        part = named if is_begun else ""
        raise CorpusError(
            f"Dataset `{request.key}`: {shown} was not fetched into the hub cache {hub_cache()}{part}. "
            f"`datasets.{request.key}.hub` names it. Run: xlwh fetch"
        )
    own = any("{language}" in pattern for pattern in (options.file, options.config) if pattern is not None)
    return tuple(_document(request, folder / name, f"hub/{shown}/{name}", own) for name in wanted)


def _document(request: Request, path: Path, name: str, own: bool) -> Document:
    """A file, or the only data file of an archive."""
    inside = members(path)
    if inside is None:
        return Document(path, name, for_language=own)
    data = content.data_files(inside)
    if len(data) != 1:
        raise CorpusError(
            f"Dataset `{request.key}`: {name} is an archive of {len(data)} data files ({', '.join(data[:5])}), of which "
            "none is the one meant. Fetch it by hand and name it as `path`, and its member as `options.member`."
        )
    return Document(path, f"{name}/{data[0]}", (data[0],), own)


def _with_classes(
    request: Request, options: HubOptions, document: Document, records: Records
) -> tuple[Document, Records]:
    """Records with the class names of the card, where their file says none."""
    if records.features:
        return document, records
    from xlwh.place import snapshot_folder

    folder = snapshot_folder("dataset", str(request.dataset.hub), str(request.dataset.revision))
    return document, replace(records, features=features(card_in(folder), _config(request, options)))


def _load_saved(
    request: Request, options: HubOptions, place: Path, documents: tuple[Document, ...]
) -> tuple[Document, Records]:
    library = _datasets()
    split = _split(request, options)
    try:
        loaded = library.load_from_disk(str(place))
        if isinstance(loaded, library.DatasetDict):
            if split not in loaded:
                raise CorpusError(
                    f"{place}: no split `{split}`; there are: {', '.join(loaded)}. Change "
                    f"`datasets.{request.key}.split` or `datasets.{request.key}.options.splits`."
                )
            loaded = loaded[split]
    except CorpusError:
        raise
    # As above; a damaged Arrow file raises anything from OSError to KeyError.
    except Exception as error:
        raise CorpusError(
            f"{place}: not a readable saved dataset ({type(error).__name__}: {error})"
        ) from None
    first = documents[0]
    document = Document(place, shown_name(request, place), for_language=first.for_language)
    return document, _records(document, loaded)


def _split(request: Request, options: HubOptions) -> str:
    return options.splits.get(request.split, request.split)


def _records(document: Document, loaded: Any) -> Records:
    def rows() -> Iterator[Record]:
        start = 0
        for table in loaded.with_format("arrow").iter(batch_size=_BATCH):
            # Wrong offsets in a damaged file would be followed out of its memory.
            table.validate(full=True)
            yield from arrow_records(table, start)
            start += table.num_rows

    return Records(tuple(loaded.column_names), _guarded(document, rows()), loaded.features.to_dict(), "arrow")


def _guarded(document: Document, rows: Iterator[Record]) -> Iterator[Record]:
    # Arrow files are mapped into memory and only looked at here.
    try:
        yield from rows
    except Exception as error:
        raise CorpusError(f"{document.name}: damaged ({type(error).__name__}: {error})") from None


READER: Reader = Hub()
