"""XNLI and its relatives: natural language inference in every layout it is published in.

- XTREME: TSV without header, `premise, hypothesis[, label]`; the test set has no labels. Joined by row.
- XNLI-MT and XNLIvar: the same with a header `premise, hypo[thesis], label`. Joined by row; the header does
  not count, so these join the XTREME files.
- original (`xnli.dev.tsv`, esXNLI, MultiNLI): 19 or so columns with a header, all languages in one file, one
  column `language`. Joined by `pairID`.

No quoting in any of them: quotes are text.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from xlwh.corpora.base import Collector, FileOptions, Reader, Reading, Request, row_id
from xlwh.corpora.columns import tsv_rows, usual_width
from xlwh.corpora.files import Document, find, require_own_file
from xlwh.corpora.lines import Lines, read_lines
from xlwh.errors import CorpusError

# The integers are those of XNLIvar and of the Hugging Face copies.
LABELS = {
    "entailment": "entailment",
    "neutral": "neutral",
    "contradiction": "contradiction",
    "contradictory": "contradiction",
    "0": "entailment",
    "1": "neutral",
    "2": "contradiction",
}

_FILES = (
    "{split}-{language}.tsv",
    "multinli.{split}.{language}.tsv",
    "xnli.{split}.tsv",
)
_ORIGINAL = ("gold_label", "sentence1", "sentence2", "pairID")
_HEADERS = (["premise", "hypo"], ["premise", "hypothesis"])


class XnliOptions(FileOptions):
    """Options of the reader `xnli`."""

    labels: Mapping[str, str] = Field(
        default=LABELS,
        description="Label in the file -> class label; default: the words, `contradictory`, and 0, 1, 2 for "
        "entailment, neutral, contradiction.",
    )


class Xnli(Reader):
    """Sentence pairs with an inference label."""

    name = "xnli"
    description = "XNLI, esXNLI, MultiNLI: TSV as XTREME, XNLI-MT or the original 19 columns lay it out"
    version = 1
    option_model = XnliOptions
    parallel = True

    def locate(self, request: Request) -> tuple[Document, ...]:
        return (find(request, request.options(XnliOptions), _FILES),)

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        (document,) = documents
        labels = request.options(XnliOptions).labels
        lines = read_lines(document)
        collector = Collector(request, "sentence_pair", documents)
        header = (lines.texts[0] or "").split("\t")
        if all(name in header for name in _ORIGINAL):
            collector.notes["layout"] = "original"
            _original(request, document, lines, header, labels, collector)
        else:
            require_own_file(request, document)
            named = [name.lower() for name in header[:2]] in _HEADERS or lines.ends_like_a_header()
            if lines.texts[0] is None and named:
                raise CorpusError(f"{document.path}: line 1 is a damaged header: {lines.broken[0].reason}")
            collector.notes["layout"] = "header" if named else "xtreme"
            _simple(document, lines, len(header) if named else None, labels, collector)
        return collector.reading()


def _simple(
    document: Document, lines: Lines, width: int | None, labels: Mapping[str, str], collector: Collector
) -> None:
    """Premise, hypothesis and, where given, label; `width` is that of the header, None without one."""
    first = 0 if width is None else 1
    if width not in (None, 2, 3):
        raise CorpusError(
            f"{document.path}: the header has {width} columns; expected premise, hypothesis and perhaps label"
        )
    width = width or usual_width(lines, (3, 2))
    for row in tsv_rows(lines, first, width):
        if row.reason:
            collector.reject(document, row.number, row.reason, row.raw)
            continue
        label = None
        if width == 3:
            label = labels.get(row.fields[2])
            if label is None:
                collector.reject(document, row.number, unknown_label(row.fields[2]), row.raw)
                continue
        collector.accept(
            document, row.number, row.raw, row_id(row.number), row.fields[0], row.fields[1], label=label
        )


def _original(
    request: Request,
    document: Document,
    lines: Lines,
    header: list[str],
    labels: Mapping[str, str],
    collector: Collector,
) -> None:
    gold, premise, hypothesis, pair = (header.index(name) for name in _ORIGINAL)
    code = header.index("language") if "language" in header else None
    if code is None:
        require_own_file(request, document)
    wanted = request.options(XnliOptions).names.get(request.language, request.language)
    others: set[str] = set()
    ours = 0
    for row in tsv_rows(lines, 1, len(header)):
        # A row that cannot be split says nothing about its language for sure: it is refused in each of them.
        if row.reason:
            collector.reject(document, row.number, row.reason, row.raw)
            continue
        if code is not None and row.fields[code] != wanted:
            others.add(row.fields[code])
            collector.elsewhere += 1
            continue
        ours += 1
        label = labels.get(row.fields[gold])
        if label is None:
            collector.reject(document, row.number, unknown_label(row.fields[gold]), row.raw)
            continue
        collector.accept(
            document,
            row.number,
            row.raw,
            row.fields[pair],
            row.fields[premise],
            row.fields[hypothesis],
            label=label,
        )
    if others and not ours:
        raise CorpusError(
            f"{document.path}: no rows in language `{wanted}`; the file has: {', '.join(sorted(others)[:40])}. "
            f"Change `datasets.{request.key}.languages` or `datasets.{request.key}.options.names`."
        )


def unknown_label(label: str) -> str:
    """The reason of a row whose label is not one of those known, cut to a readable length."""
    return f"unknown label `{label[:40]}`" if label.strip() else "empty label"


READER: Reader = Xnli()
