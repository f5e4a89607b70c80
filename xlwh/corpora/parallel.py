"""Parallel text for translation and word alignment: `text` is the source language, `text_pair` the target.

The language of a partition is the target; the option `source` names the other side. Four layouts:

- lines: two line-parallel files, plain or gzip (Multi30k, LASER's Tatoeba): `file` with the placeholder
  {side}, which is the source code for one file and the target code for the other. Joined by line.
- tsv: `source TAB target[ TAB anything]` (Anki, zip too). Joined by line. Also two line-parallel TSV files, with
  {side} in `file`: then each side is a column of its own file.
- tmx: Translation Memory eXchange, XML (TICO-19, zip too). Joined by `tuid`, where units have one.
- json: an array or JSON lines of objects keyed by language code. Joined by the field `id`, if there is one.

No quoting, no trimming: spaces at the ends of lines are kept.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from xlwh.corpora.base import Collector, FileOptions, Reader, Reading, Request, row_id
from xlwh.corpora.columns import tsv_rows, usual_width
from xlwh.corpora.files import Document, find, require_own_file, search
from xlwh.corpora.lines import Broken, read_lines, require_same_length
from xlwh.corpora.mapping import Columns, emit
from xlwh.corpora.records import read_records
from xlwh.errors import CorpusError, StudyError

Layout = Literal["lines", "tsv", "tmx", "json"]

_LINE_FILES = (
    "{split}.{side}",
    "{split}.{source}-{language}.{side}",
    "tatoeba.{language}-{source}.{side}",
)
_SINGLE_FILES = (
    "all.{source}-{language}.tmx",
    "{source}-{language}.tmx",
    "{split}.{source}-{language}.tsv",
    "{split}-{source}-{language}.tsv",
    "{split}.json",
    "{split}.jsonl",
)
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


class ParallelOptions(FileOptions):
    """Options of the reader `parallel`."""

    file: str | None = Field(
        None,
        min_length=1,
        description="File below `path`; {split}, {source}, {language} and {side} are filled in.",
    )
    source: str = Field("en", min_length=1, description="Language of `text`; the partition's is the target.")
    layout: Layout | None = Field(None, description="lines, tsv, tmx or json; default: by the files.")
    source_column: int = Field(0, ge=0, description="tsv: column of the source text, from 0.")
    target_column: int = Field(1, ge=0, description="tsv: column of the target text, from 0.")
    id: str = Field("id", description="json: field of the id.")


class Parallel(Reader):
    """Sentences and their translations."""

    name = "parallel"
    description = "Translations: line pairs, TSV (Anki), TMX or JSON, also gzip and zip; text -> text_pair"
    version = 1
    option_model = ParallelOptions
    parallel = True

    def inapplicable(self, request: Request) -> str:
        source = request.options(ParallelOptions).source
        return f"`{source}` is the source side of every pair" if request.language == source else ""

    def locate(self, request: Request) -> tuple[Document, ...]:
        options = request.options(ParallelOptions)
        if reason := self.inapplicable(request):
            raise StudyError(
                f"`datasets.{request.key}.languages`: {reason}; it has no pairs of its own. Drop it there, or "
                f"set `datasets.{request.key}.options.source`."
            )
        source = options.names.get(options.source, options.source)
        target = options.names.get(request.language, request.language)
        sides = [{"source": source, "side": side} for side in (source, target)]
        if "{side}" in (options.file or "") or "{side}" in str(request.path):
            return tuple(find(request, options, _LINE_FILES, fill) for fill in sides)
        if options.file is None and options.layout in (None, "lines"):
            first, second = (search(request, options, _LINE_FILES, fill) for fill in sides)
            if first is not None and second is not None and first != second:
                return first, second
            if options.layout == "lines" or (first is None) != (second is None):
                # One side is missing: `find` says which.
                return tuple(find(request, options, _LINE_FILES, fill) for fill in sides)
        document = search(request, options, _SINGLE_FILES, sides[0])
        if document is None:
            document = find(request, options, (*_LINE_FILES, *_SINGLE_FILES), sides[1])
        return (document,)

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        options = request.options(ParallelOptions)
        layout: Layout = options.layout or ("lines" if len(documents) == 2 else _layout(documents[0]))
        two = len(documents) == 2
        if (layout == "lines" and not two) or (two and layout not in ("lines", "tsv")):
            raise StudyError(
                f"`datasets.{request.key}.options.layout`: `lines` takes two files, `tmx` and `json` one, `tsv` either: "
                "put {side} into `file` for two"
            )
        collector = Collector(request, "translation", documents)
        collector.notes["layout"] = layout
        if layout == "lines":
            _lines(documents[0], documents[1], collector)
        elif two:
            _two_tsv(documents[0], documents[1], options, collector)
        elif layout == "tsv":
            require_own_file(request, documents[0])
            _tsv(documents[0], options, collector)
        else:
            source = options.names.get(options.source, options.source)
            target = options.names.get(request.language, request.language)
            if layout == "tmx":
                _tmx(documents[0], source, target, collector)
            else:
                _json(documents[0], source, target, options.id, collector)
        return collector.reading()


def _layout(document: Document) -> Layout:
    name = document.name.lower().removesuffix(".gz").removesuffix(".zip")
    if name.endswith(".tmx"):
        return "tmx"
    return "json" if name.endswith((".json", ".jsonl")) else "tsv"


def _lines(first: Document, second: Document, collector: Collector) -> None:
    sources, targets = read_lines(first), read_lines(second)
    require_same_length(first, sources, second, targets)
    for (row, source), (_, target) in zip(sources.rest(0), targets.rest(0), strict=True):
        if isinstance(source, Broken):
            collector.reject(first, row, source.reason, source.raw)
        elif isinstance(target, Broken):
            collector.reject(second, row, target.reason, target.raw)
        else:
            collector.accept(second, row, f"{source}\t{target}", row_id(row), source, target)


def _tsv(document: Document, options: ParallelOptions, collector: Collector) -> None:
    lines = read_lines(document)
    least = max(options.source_column, options.target_column) + 1
    # Newer Anki files have a third column with the attribution.
    width = usual_width(lines, tuple(range(least, least + 8)))
    for row in tsv_rows(lines, 0, width):
        if row.reason:
            collector.reject(document, row.number, row.reason, row.raw)
            continue
        source, target = row.fields[options.source_column], row.fields[options.target_column]
        collector.accept(document, row.number, row.raw, row_id(row.number), source, target)


def _two_tsv(first: Document, second: Document, options: ParallelOptions, collector: Collector) -> None:
    sources, targets = read_lines(first), read_lines(second)
    require_same_length(first, sources, second, targets)
    columns = options.source_column, options.target_column
    rows = (
        tsv_rows(lines, 0, usual_width(lines, tuple(range(column + 1, column + 9))))
        for lines, column in zip((sources, targets), columns, strict=True)
    )
    for source, target in zip(*rows, strict=True):
        if source.reason:
            collector.reject(first, source.number, source.reason, source.raw)
        elif target.reason:
            collector.reject(second, target.number, target.reason, target.raw)
        else:
            texts = source.fields[columns[0]], target.fields[columns[1]]
            collector.accept(
                second, target.number, f"{source.raw}\t{target.raw}", row_id(target.number), *texts
            )


def _tmx(document: Document, source: str, target: str, collector: Collector) -> None:
    for row, (unit_id, segments) in enumerate(_units(document)):
        texts = [_segment(segments, language) for language in (source, target)]
        if texts[0] is None or texts[1] is None:
            missing = source if texts[0] is None else target
            collector.reject(document, row, f"no segment in `{missing}`", dict(segments))
        else:
            collector.accept(document, row, dict(segments), unit_id or row_id(row), texts[0], texts[1])


def _units(document: Document) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Translation units: the id (empty without one) and the text of each language, lower-cased code first.

    Expat loads nothing from outside and refuses entities that expand without bound.
    """
    try:
        # At once: in pieces, expat starts over at every piece of a token that spans many.
        for element in ET.fromstring(document.read()).iter():
            if _tag(element) != "tu":
                continue
            segments: dict[str, str] = {}
            for variant in element:
                if _tag(variant) != "tuv":
                    continue
                language = variant.get(_XML_LANG) or variant.get("lang") or ""
                segment = next((child for child in variant if _tag(child) == "seg"), None)
                if segment is not None:
                    segments.setdefault(language.lower(), "".join(segment.itertext()))
            yield element.get("tuid", ""), segments
    except (ET.ParseError, ValueError, LookupError) as error:
        raise CorpusError(f"{document.path}: not TMX: {error}") from None


def _tag(element: ET.Element) -> str:
    return element.tag.rsplit("}", 1)[-1] if isinstance(element.tag, str) else ""


def _segment(segments: Mapping[str, str], language: str) -> str | None:
    """The text in a language; `en` also finds `en-GB` where there is only that."""
    language = language.lower()
    if language in segments:
        return segments[language]
    variants = [text for code, text in segments.items() if code.split("-")[0] == language]
    return variants[0] if len(variants) == 1 else None


def _json(document: Document, source: str, target: str, id_field: str, collector: Collector) -> None:
    name = document.name.lower()
    rows = read_records(document, "jsonl" if ".jsonl" in name else "json", False, "none").rows
    plain = Columns(text=source, text_pair=target)
    named = Columns(text=source, text_pair=target, id=id_field)
    for record in rows:
        columns = named if id_field in record.values else plain
        emit(collector, document, record, row_id(record.number), columns, {})


READER: Reader = Parallel()
