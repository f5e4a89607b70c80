"""XNLI and its relatives: natural language inference in every layout it is published in.

- XTREME: TSV without header, `premise, hypothesis[, label]`; the test set has no labels. Joined by row.
- XNLI-MT and XNLIvar: the same with a header `premise, hypo[thesis], label`. Joined by row; the header does
  not count, so these join the XTREME files.
- original (`xnli.dev.tsv`, esXNLI, MultiNLI): 19 or so columns with a header, all languages in one file, one
  column `language`. Joined by `pairID`.

No quoting in any of them: quotes are text. Labels may lack in a test set only. XNLI's JSON lines are read by the reader
`text_classification` with `where = { language = "{language}" }`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from xlwh.corpora.base import Collector, Reader, Reading, row_id, unknown_label
from xlwh.corpora.choice import ELSEWHERE, Choice, column_named
from xlwh.corpora.columns import tsv_rows, usual_width
from xlwh.corpora.files import Document, find, require_own_file
from xlwh.corpora.lines import Lines, read_lines
from xlwh.corpora.request import CLUSTER, Request, TableOptions
from xlwh.corpora.sniff import NO_TABLE, is_header, refuse_other_format
from xlwh.errors import CorpusError, StudyError

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
_PREMISE = ("premise", "sentence1", "sentence_1", "text_a")
_HYPOTHESIS = ("hypothesis", "hypo", "sentence2", "sentence_2", "text_b")
_LABEL = ("label", "gold_label")


class XnliOptions(TableOptions):
    """Options of the reader `xnli`."""

    labels: Mapping[str, str] = Field(
        default=LABELS,
        description="Label in the file -> class label; default: the words, `contradictory`, and 0, 1, 2 for "
        "entailment, neutral, contradiction.",
    )
    cluster: str | None = Field(None, description=CLUSTER)


class Xnli(Reader):
    """Sentence pairs with an inference label."""

    name = "xnli"
    description = "XNLI, esXNLI, MultiNLI: TSV as XTREME, XNLI-MT or the original 19 columns lay it out"
    version = 2
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
            for name in ("where", "cluster"):
                if getattr(request.options(XnliOptions), name):
                    raise StudyError(
                        f"`datasets.{request.key}.options.{name}`: {document.name} has no other columns than premise, "
                        "hypothesis and label; drop it"
                    )
            refuse_other_format(document, lines, *NO_TABLE)
            named = _is_header(header) or lines.ends_like_a_header()
            if lines.texts[0] is None and named:
                raise CorpusError(f"{document.path}: line 1 is a damaged header: {lines.broken[0].reason}")
            collector.notes["layout"] = "header" if named else "xtreme"
            _simple(document, lines, header if named else None, labels, collector)
        return collector.reading()


def _is_header(fields: list[str]) -> bool:
    return is_header(fields) or [field.lower() for field in fields[:2]] in [
        ["premise", "hypo"],
        ["premise", "hypothesis"],
    ]


def _simple(
    document: Document,
    lines: Lines,
    header: list[str] | None,
    labels: Mapping[str, str],
    collector: Collector,
) -> None:
    """Premise, hypothesis and, where given, label, by the names of a header or in this order."""
    first = 0 if header is None else 1
    if header is not None and len(header) not in (2, 3):
        raise CorpusError(
            f"{document.path}: the header has {len(header)} columns; expected premise, hypothesis and perhaps label"
        )
    width = len(header) if header is not None else usual_width(lines, (3, 2))
    premise, hypothesis, gold = _places(document, header)
    if width == 2 and not collector.is_test:
        raise CorpusError(
            f"{document.path}: two columns, so no labels. Only a test set comes without; name the split so, or read pairs "
            "without labels by the reader `text_classification`."
        )
    for row in tsv_rows(lines, first, width):
        if row.reason:
            collector.reject(document, row.number, row.reason, row.raw)
            continue
        label = None
        if width == 3:
            label = labels.get(row.fields[gold])
            if label is None:
                collector.reject(document, row.number, unknown_label(row.fields[gold]), row.raw)
                continue
        one, two = row.fields[premise], row.fields[hypothesis]
        collector.accept(document, row.number, row.raw, row_id(row.number), one, two, label=label)


def _places(document: Document, header: list[str] | None) -> tuple[int, int, int]:
    """Columns of premise, hypothesis and label: by name where all of them are known, else in this order."""
    plain = (0, 1, 2)
    if header is None:
        return plain
    names = [name.strip().lower() for name in header]
    found = [
        next((names.index(name) for name in known if name in names), None)
        for known in (_PREMISE, _HYPOTHESIS, _LABEL)[: len(header)]
    ]
    if None in found:
        if is_header(header) or any(place not in (None, i) for i, place in enumerate(found)):
            raise CorpusError(
                f"{document.path}: the header names {', '.join(header)}; expected premise, hypothesis and perhaps label"
            )
        return plain
    premise, hypothesis, *gold = (place for place in found if place is not None)
    return premise, hypothesis, gold[0] if gold else 2


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
    options = request.options(XnliOptions)
    wanted = options.names.get(request.language, request.language)
    choice = Choice(request, options, ("language", *_ORIGINAL, options.cluster))
    choice.require(document, header)
    shared = column_named(request, document, header, options.cluster)
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
        if choice.row(dict(zip(header, row.fields, strict=True))) == ELSEWHERE:
            collector.elsewhere += 1
            continue
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
            shared=None if shared is None else row.fields[shared],
        )
    choice.finish([document], numbered=False)
    if others and not ours:
        raise CorpusError(
            f"{document.path}: no rows in language `{wanted}`; the file has: {', '.join(sorted(others)[:40])}. "
            f"Change `datasets.{request.key}.languages` or `datasets.{request.key}.options.names`."
        )


READER: Reader = Xnli()
