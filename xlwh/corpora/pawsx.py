"""PAWS-X: paraphrase pairs, labels 0 and 1 as the data writes them.

- XTREME: TSV without header, `sentence1, sentence2[, label]`.
- original and other copies: with a header that names `sentence1`, `sentence2` and perhaps `id` and `label`.

Examples are joined by row number in both (the header does not count): the XTREME form carries no ids, and
row i of the original files is row i of the XTREME ones. `id = "column"` takes the file's own ids instead,
for releases where rows are missing in some language; such files then join each other, not the XTREME form.

Quoting: the XTREME and original files keep CSV-style quoting per field, other copies hold raw quotes. The
default looks at the whole file: `csv` if most fields with a quote are quoted properly, else `none`. A file
in which nearly every quote happens to wrap a whole field would be misread: set `quoting` then.

Labels may lack in a test set only.

Untranslated rows, where a side is only "NS", are refused: their labels are not those of the other languages.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xlwh.corpora.base import Collector, Reader, Reading, row_id, unknown_label
from xlwh.corpora.choice import ELSEWHERE, Choice, column_named, find_table
from xlwh.corpora.columns import detect_quoting, tsv_rows, unquote, usual_width
from xlwh.corpora.files import Document
from xlwh.corpora.lines import read_lines
from xlwh.corpora.request import CLUSTER, Request, TableOptions
from xlwh.corpora.sniff import NO_TABLE, is_header, refuse_other_format
from xlwh.errors import CorpusError, StudyError

LABELS = ("0", "1")

_FILES = (
    "{split}-{language}.tsv",
    "{language}/{split}_2k.tsv",
    "{language}/translated_{split}.tsv",
    "{language}/{split}.tsv",
)
_UNTRANSLATED = "NS"


class PawsxOptions(TableOptions):
    """Options of the reader `pawsx`."""

    quoting: Literal["auto", "csv", "none"] = Field(
        "auto",
        description="csv: fields are quoted CSV-style; none: quotes are text; auto: by the whole file.",
    )
    id: Literal["row", "column"] = Field(
        "row", description="What joins the languages: the row number, or the file's column `id`."
    )
    cluster: str | None = Field(None, description=CLUSTER)


class Pawsx(Reader):
    """Sentence pairs with a paraphrase label."""

    name = "pawsx"
    description = "PAWS-X: TSV as XTREME or the original release lays it out, either quoting"
    version = 2
    option_model = PawsxOptions
    parallel = True

    def locate(self, request: Request) -> tuple[Document, ...]:
        return (find_table(request, request.options(PawsxOptions), _FILES),)

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        (document,) = documents
        options = request.options(PawsxOptions)
        lines = read_lines(document)
        collector = Collector(request, "sentence_pair", documents)
        header = (lines.texts[0] or "").split("\t")
        refuse_other_format(document, lines, *NO_TABLE)
        named = is_header(header) or header[:2] == ["id", "sentence1"] or lines.ends_like_a_header()
        if named:
            if not {"sentence1", "sentence2"} <= set(header):
                shown = ", ".join(header) if lines.texts[0] else lines.broken[0].reason
                raise CorpusError(f"{document.path}: header without sentence1 and sentence2: {shown}")
            width, names = len(header), header
        else:
            width = usual_width(lines, (3, 2))
            names = ["sentence1", "sentence2", "label"][:width]
        if named and "label" not in names and not set(names) <= {"id", "sentence1", "sentence2"}:
            raise CorpusError(f"{document.path}: header without `label`: {', '.join(names)}")
        if "label" not in names and not collector.is_test:
            raise CorpusError(
                f"{document.path}: {len(names)} columns, none of them labels. Only a test set comes without; name the split "
                "so, or read pairs without labels by the reader `text_classification`."
            )
        if not named and options.where:
            raise StudyError(
                f"`datasets.{request.key}.options.where`: {document.name} has no columns to choose rows by; drop it"
            )
        shared = column_named(request, document, names, options.cluster)
        choice = Choice(request, options, ("id", "sentence1", "sentence2", "label", options.cluster))
        choice.require(document, names)
        if options.id == "column" and "id" not in names:
            raise CorpusError(
                f'{document.path}: has no column of ids; drop `id = "column"` from '
                f"`datasets.{request.key}.options`"
            )
        left, right = names.index("sentence1"), names.index("sentence2")
        gold = names.index("label") if "label" in names else None
        rows = list(tsv_rows(lines, 1 if named else 0, width))
        quoting = options.quoting
        if quoting == "auto":
            quoting = detect_quoting(row.fields[i] for row in rows if not row.reason for i in (left, right))
        collector.notes.update(layout="original" if named else "xtreme", quoting=quoting)
        for row in rows:
            if row.reason:
                choice.unplaced(row.reason)
                collector.reject(document, row.number, row.reason, row.raw)
                continue
            if choice.row(dict(zip(names, row.fields, strict=True))) == ELSEWHERE:
                collector.elsewhere += 1
                continue
            first, second = row.fields[left], row.fields[right]
            label = None if gold is None else row.fields[gold]
            one, two = (unquote(first), unquote(second)) if quoting == "csv" else (first, second)
            if one is None or two is None:
                collector.reject(document, row.number, "CSV quoting is broken", row.raw)
            elif _UNTRANSLATED in (one, two):
                collector.reject(document, row.number, "untranslated: a side is only `NS`", row.raw)
            elif label is not None and label not in LABELS:
                collector.reject(document, row.number, unknown_label(label), row.raw)
            else:
                example_id = row_id(choice.ours - 1 if choice.by_language else row.number)
                if options.id == "column":
                    example_id = row.fields[names.index("id")]
                collector.accept(
                    document,
                    row.number,
                    row.raw,
                    example_id,
                    one,
                    two,
                    label=label,
                    shared=None if shared is None else row.fields[shared],
                )
        choice.finish([document], numbered=options.id == "row")
        return collector.reading()


READER: Reader = Pawsx()
