"""Parallel text for translation and word alignment: `text` is the source language, `text_pair` the target.

The language of a partition is the target; the option `source` names the other side. Five layouts:

- lines: two line-parallel files, plain or gzip (Multi30k, LASER's Tatoeba): `file` with the placeholder
  {side}, which is the source code for one file and the target code for the other. Joined by line.
- tsv: `source TAB target[ TAB anything]` (Anki, zip too). Joined by line. Also two line-parallel TSV files, with
  {side} in `file`: then each side is a column of its own file.
- tmx: Translation Memory eXchange, XML (TICO-19, zip too). Joined by `tuid`, where units have one.
- sgm: two files of `<seg id="1"> text </seg>` in `<doc docid="...">`, as the test sets of IWSLT and WMT are (`.xml`, `.sgm`):
  `file` with {side}. Joined by document and segment.
- json: an array or JSON lines of objects keyed by language code. Joined by the field `id`, if there is one.

No quoting, no trimming: spaces at the ends of lines are kept. Of the inline elements of TMX, the native codes (`bpt`,
`ept`, `ph`, `it`, `ut`) are no text and are left out, and highlighted text (`hi`) is text.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal
from xml.sax.saxutils import unescape

from pydantic import Field

from xlwh.corpora.base import Collector, Reader, Reading, row_id
from xlwh.corpora.choice import ELSEWHERE, Choice
from xlwh.corpora.columns import Row, tsv_rows, usual_width
from xlwh.corpora.content import ARCHIVES, PACKINGS
from xlwh.corpora.files import Document, find, require_own_file, search
from xlwh.corpora.lines import Broken, Lines, read_lines, require_same_length
from xlwh.corpora.mapping import Columns, emit
from xlwh.corpora.records import Format, read_records
from xlwh.corpora.request import Request, TableOptions
from xlwh.corpora.sniff import NO_TABLE, is_header, refuse_header, refuse_other_format
from xlwh.errors import CorpusError, StudyError

Layout = Literal["lines", "tsv", "tmx", "json", "sgm"]

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
_CODES = frozenset(["bpt", "ept", "ph", "it", "ut"])
"""Inline elements of TMX whose content is code: `<bpt>&lt;b&gt;</bpt>`."""
_CLASSES = frozenset(["0", "1", "2", "entailment", "neutral", "contradiction", "contradictory"])
_OF_TWO = ("lines", "sgm")
_SEGMENTS = re.compile(
    r"""<doc\b[^>]*\bdocid=["']?(?P<doc>[^"'\s>]*)|<seg\b[^>]*\bid=["']?(?P<seg>[^"'\s>]+)["']?[^>]*>(?P<text>.*?)</seg>""",
    re.DOTALL | re.IGNORECASE,
)
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


class ParallelOptions(TableOptions):
    """Options of the reader `parallel`."""

    file: str | None = Field(
        None,
        min_length=1,
        description="File below `path`; {split}, {source}, {language} and {side} are filled in.",
    )
    source: str = Field("en", min_length=1, description="Language of `text`; the partition's is the target.")
    layout: Layout | None = Field(None, description="lines, tsv, tmx, json or sgm; default: by the files.")
    source_column: int = Field(0, ge=0, description="tsv: column of the source text, from 0.")
    target_column: int = Field(1, ge=0, description="tsv: column of the target text, from 0.")
    id: str = Field("id", description="json: field of the id.")
    header: bool | None = Field(
        None,
        description="tsv: the first line names the columns; default: it does not, and one that seems to is refused.",
    )


class Parallel(Reader):
    """Sentences and their translations."""

    name = "parallel"
    description = (
        "Translations: line pairs, TSV (Anki), TMX, JSON or SGML, also gzip and zip; text -> text_pair"
    )
    version = 2
    option_model = ParallelOptions
    parallel = True

    def source_side(self, request: Request) -> str:
        return request.options(ParallelOptions).source

    def fills(self, request: Request) -> Sequence[Mapping[str, str]]:
        """Of the source's file and of the target's."""
        options = request.options(ParallelOptions)
        source = options.names.get(options.source, options.source)
        target = options.names.get(request.language, request.language)
        return [{"source": source, "side": side} for side in (source, target)]

    def inapplicable(self, request: Request) -> str:
        source = self.source_side(request)
        return f"`{source}` is the source side of every pair" if request.language == source else ""

    def locate(self, request: Request) -> tuple[Document, ...]:
        options = request.options(ParallelOptions)
        if reason := self.inapplicable(request):
            raise StudyError(
                f"`datasets.{request.key}.languages`: {reason}; it has no pairs of its own. Drop it there, or "
                f"set `datasets.{request.key}.options.source`."
            )
        sides = self.fills(request)
        if "{side}" in (options.file or "") or "{side}" in request.pattern:
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
        two = len(documents) == 2
        layout: Layout = options.layout or (_two_layout(documents) if two else _layout(documents[0]))
        if (layout in _OF_TWO and not two) or (two and layout not in (*_OF_TWO, "tsv")):
            raise StudyError(
                f"`datasets.{request.key}.options.layout`: `lines` and `sgm` take two files, `tmx` and `json` one, `tsv` "
                "either: put {side} into `file` for two"
            )
        collector = Collector(request, "translation", documents)
        collector.notes["layout"] = layout
        choice = Choice(request, options)
        if choice.set and (layout == "tmx" or two):
            raise StudyError(
                f"`datasets.{request.key}.options.where`: the layout `{layout}` of {len(documents)} files has no columns "
                "to choose rows by; drop it"
            )
        if layout == "lines":
            _lines(documents[0], documents[1], collector)
        elif layout == "sgm":
            _sgm(documents[0], documents[1], collector)
        elif two:
            _two_tsv(documents[0], documents[1], options, collector)
        elif layout == "tsv":
            if not choice.by_language:
                # The source has no pairs of its own.
                targets = tuple(each for each in request.languages if each != options.source)
                require_own_file(replace(request, languages=targets), documents[0], table=True)
            _tsv(documents[0], options, collector, choice)
        else:
            source = options.names.get(options.source, options.source)
            target = options.names.get(request.language, request.language)
            if layout == "tmx":
                _tmx(documents[0], source, target, collector)
            else:
                _json(documents[0], source, target, options.id, collector, choice)
        return collector.reading()


def _unpacked(document: Document) -> str:
    name = document.name.lower()
    for packed in (*PACKINGS, *ARCHIVES):
        name = name.removesuffix(packed)
    return name


def _two_layout(documents: Sequence[Document]) -> Layout:
    return (
        "sgm" if all(_unpacked(each).endswith((".sgm", ".sgml", ".xml")) for each in documents) else "lines"
    )


def _layout(document: Document) -> Layout:
    name = _unpacked(document)
    if name.endswith(".tmx"):
        return "tmx"
    return "json" if name.endswith((".json", ".jsonl", ".ndjson")) else "tsv"


def _lines(first: Document, second: Document, collector: Collector) -> None:
    sources, targets = read_lines(first), read_lines(second)
    for document, lines in ((first, sources), (second, targets)):
        refuse_other_format(document, lines, *NO_TABLE, "table", "probabilities")
    require_same_length(first, sources, second, targets)
    _refuse_names(first, sources.texts[0], second, targets.texts[0])
    for (row, source), (_, target) in zip(sources.rest(0), targets.rest(0), strict=True):
        if isinstance(source, Broken):
            collector.reject(first, row, source.reason, source.raw)
        elif isinstance(target, Broken):
            collector.reject(second, row, target.reason, target.raw)
        else:
            collector.accept(second, row, f"{source}\t{target}", row_id(row), source, target)


def _sgm(first: Document, second: Document, collector: Collector) -> None:
    sources, targets = _segments(first), _segments(second)
    for row, (place, source) in enumerate(sources.items()):
        target = targets.get(place)
        if target is None:
            collector.reject(first, row, "no such segment on the other side", source)
        else:
            collector.accept(second, row, f"{source}\t{target}", ":".join(place), source, target)
    for row, (place, target) in enumerate(targets.items()):
        if place not in sources:
            collector.reject(second, row, "no such segment on the other side", target)


def _segments(document: Document) -> dict[tuple[str, str], str]:
    """(document, segment) -> its text. Such files are no XML: ampersands stand in them as they are."""
    found: dict[tuple[str, str], str] = {}
    lines, name = read_lines(document), ""
    if lines.broken:
        index, broken = min(lines.broken.items())
        raise CorpusError(f"{document.path}: line {index + 1}: {broken.reason}")
    text = "\n".join(line or "" for line in lines.texts)
    for part in _SEGMENTS.finditer(text):
        if part["doc"] is not None:
            name = part["doc"]
            continue
        place = name, part["seg"]
        if place in found:
            raise CorpusError(f"{document.path}: segment {part['seg']} of document `{name}` is there twice.")
        found[place] = unescape(" ".join(part["text"].split()))
    if not found:
        raise CorpusError(f'{document.path}: no <seg id="..."> in it; another `layout`?')
    return found


def _refuse_names(first: Document, source: str | None, second: Document, target: str | None) -> None:
    """Refuse a first line that names the columns: (source, target), (text, text), (English, German)."""
    names = [(source or "").strip(), (target or "").strip()]
    if is_header(names) or names[0] == names[1] == "text":
        raise CorpusError(
            f"{first.path}, {second.path}: line 1 names columns ({', '.join(names)}), it is no pair; delete it in both."
        )


def _tsv(document: Document, options: ParallelOptions, collector: Collector, choice: Choice) -> None:
    lines = _table(document)
    least = max(options.source_column, options.target_column) + 1
    # Newer Anki files have a third column with the attribution.
    width = usual_width(lines, tuple(range(least, least + 8)))
    start = 1 if options.header else 0
    names = _names(lines, width) if options.header else [str(i) for i in range(width)]
    choice.require(document, names)
    rows = list(tsv_rows(lines, start, width))
    if options.header is None:
        refuse_header(document, [row.fields for row in rows[:200] if not row.reason])
    used = (options.source_column, options.target_column)
    _refuse_labels(
        document, rows, [i for i in range(width) if i not in used and names[i] not in options.where]
    )
    for row in rows:
        if row.reason:
            choice.unplaced(row.reason)
            collector.reject(document, row.number, row.reason, row.raw)
            continue
        if choice.row(dict(zip(names, row.fields, strict=True))) == ELSEWHERE:
            collector.elsewhere += 1
            continue
        source, target = row.fields[options.source_column], row.fields[options.target_column]
        number = choice.ours - 1 if choice.by_language else row.number
        collector.accept(document, row.number, row.raw, row_id(number), source, target)
    choice.finish([document], numbered=True)


def _table(document: Document) -> Lines:
    lines = read_lines(document)
    refuse_other_format(document, lines, *NO_TABLE, "probabilities")
    return lines


def _names(lines: Lines, width: int) -> list[str]:
    """Names of the columns by the first line, by position where it names fewer or one twice."""
    names = (lines.texts[0] or "").split("\t")
    return names if len(set(names)) == width else [str(i) for i in range(width)]


def _refuse_labels(document: Document, rows: Sequence[Row], others: Sequence[int]) -> None:
    """Refuse a table whose other columns hold the classes of sentence pairs: those are no translations."""
    for column in others:
        values = {row.fields[column] for row in rows if not row.reason}
        if values and values <= _CLASSES:
            raise CorpusError(
                f"{document.path}: column {column} holds classes ({', '.join(sorted(values))}): these are labelled sentence "
                "pairs (readers `xnli`, `pawsx`), no translations."
            )


def _two_tsv(first: Document, second: Document, options: ParallelOptions, collector: Collector) -> None:
    sources, targets = _table(first), _table(second)
    require_same_length(first, sources, second, targets)
    columns = options.source_column, options.target_column
    start = 1 if options.header else 0
    pairs = tuple(zip((first, second), (sources, targets), columns, strict=True))
    rows = []
    for document, lines, column in pairs:
        found = list(tsv_rows(lines, start, usual_width(lines, tuple(range(column + 1, column + 9)))))
        if options.header is None:
            refuse_header(document, [row.fields for row in found[:200] if not row.reason])
        rows.append(found)
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
                    segments.setdefault(language.lower(), _text(segment))
            yield element.get("tuid", ""), segments
    except (ET.ParseError, ValueError, LookupError) as error:
        raise CorpusError(f"{document.path}: not TMX: {error}") from None


def _tag(element: ET.Element) -> str:
    return element.tag.rsplit("}", 1)[-1] if isinstance(element.tag, str) else ""


def _text(segment: ET.Element) -> str:
    """The text of a segment without the native codes of the tool that it comes from."""
    parts = [segment.text or ""]
    for child in segment:
        if _tag(child) not in _CODES:
            parts.append(_text(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _segment(segments: Mapping[str, str], language: str) -> str | None:
    """The text in a language; `en` also finds `en-GB` where there is only that."""
    language = language.lower()
    if language in segments:
        return segments[language]
    variants = [text for code, text in segments.items() if code.split("-")[0] == language]
    return variants[0] if len(variants) == 1 else None


def _json(
    document: Document, source: str, target: str, id_field: str, collector: Collector, choice: Choice
) -> None:
    plain = Columns(text=source, text_pair=target)
    named = Columns(text=source, text_pair=target, id=id_field)
    numbered = False
    format_: Format = (
        "jsonl" if any(end in document.name.lower() for end in (".jsonl", ".ndjson")) else "json"
    )
    for record in read_records(document, format_, False, "none").rows:
        if record.reason:
            choice.unplaced(record.reason)
            collector.reject(document, record.number, record.reason, record.raw)
            continue
        verdict = choice.row(record.values)
        if verdict == ELSEWHERE:
            collector.elsewhere += 1
            continue
        if verdict:
            collector.reject(document, record.number, verdict, record.raw)
            continue
        columns = named if id_field in record.values else plain
        numbered |= columns is plain
        number = choice.ours - 1 if choice.by_language else record.number
        emit(collector, document, record, row_id(number), columns, {})
    choice.finish([document], numbered)


READER: Reader = Parallel()
