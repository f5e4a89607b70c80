"""Any labelled text in TSV, CSV, JSON, JSON lines or Parquet, by the names of its columns.

SST-2, for example: `options = { text = 0, label = 1 }`. Examples are joined by row number, or by
the column `id`. TSV is read without quoting and CSV with it (RFC 4180), unless `quoting` says otherwise.
`where` chooses rows by the values of columns: `where = { language = "{language}", split = "{split}" }`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from xlwh.corpora.base import Collector, Reader, Reading
from xlwh.corpora.choice import Choice, find_table
from xlwh.corpora.columns import Quoting
from xlwh.corpora.files import Document
from xlwh.corpora.mapping import Columns, emit_all, require_columns
from xlwh.corpora.records import SUFFIXES, Format, format_of, read_records
from xlwh.corpora.request import CLUSTER, Request, TableOptions

_STEMS = ("{split}-{language}", "{split}.{language}", "{language}/{split}", "{split}")
_FILES = tuple(stem + suffix for stem in _STEMS for suffix in SUFFIXES)


class TextOptions(TableOptions):
    """Options of the reader `text_classification`."""

    text: str | int = Field(description="Column of the text: a name, or a position from 0 without a header.")
    text_pair: str | int | None = Field(None, description="Column of the second text, for sentence pairs.")
    label: str | int | None = Field(None, description="Column of the label; default: no labels.")
    id: str | int | None = Field(None, description="Column of the id; default: the row number.")
    cluster: str | int | None = Field(None, description=CLUSTER)
    labels: Mapping[str, str] = Field(
        default_factory=dict, description="Label in the file -> class label; default: as they stand."
    )
    header: bool | None = Field(
        None,
        description="CSV and TSV: the first line names the columns; default: unless `text` is a position.",
    )
    format: Format | None = Field(None, description="Default: by the file's suffix.")
    quoting: Literal["none", "csv"] | None = Field(
        None, description="none or csv (RFC 4180); default: csv for CSV, none for TSV."
    )


class TextClassification(Reader):
    """Sentences or sentence pairs with a label."""

    name = "text_classification"
    description = (
        "Labelled text or text pairs in TSV, CSV, JSON, JSONL or Parquet, by column names (SST-2 ...)"
    )
    version = 2
    option_model = TextOptions

    def locate(self, request: Request) -> tuple[Document, ...]:
        return (find_table(request, request.options(TextOptions), _FILES),)

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        (document,) = documents
        options = request.options(TextOptions)
        format_ = options.format or format_of(document)
        quoting: Quoting = options.quoting or ("csv" if format_ == "csv" else "none")
        headed = options.header
        if headed is None and isinstance(options.text, str):
            headed = True
        records = read_records(document, format_, headed, quoting)
        header = records.fields if headed and format_ in ("csv", "tsv") else None
        columns = Columns(
            text=_column(options.text, header),
            text_pair=None if options.text_pair is None else _column(options.text_pair, header),
            label=None if options.label is None else _column(options.label, header),
            id=None if options.id is None else _column(options.id, header),
            cluster=None if options.cluster is None else _column(options.cluster, header),
            labels=options.labels,
        )
        require_columns(document.path, records, columns, request.key)
        collector = Collector(request, columns.task(), documents)
        collector.notes["format"] = records.format
        choice = Choice(request, options, columns.names())
        emit_all(collector, document, records, columns, choice)
        choice.finish(documents, numbered=columns.id is None)
        return collector.reading()


def _column(column: str | int, header: tuple[str, ...] | None) -> str:
    """Name of a column; a position counts through the header where there is one."""
    if isinstance(column, int) and header is not None and 0 <= column < len(header):
        return header[column]
    return str(column)


READER: Reader = TextClassification()
