"""Records with named fields: JSON, JSON lines, Parquet, CSV and TSV, one way for all.

A record is a mapping from field name to value, or the reason why it could not be read. Without a header the
fields of CSV and TSV are named by their position: "0", "1", ...
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from xlwh.corpora.columns import Quoting, Row, csv_rows, tsv_rows
from xlwh.corpora.files import Document
from xlwh.corpora.lines import Broken, read_lines
from xlwh.errors import CorpusError

Format = Literal["tsv", "csv", "json", "jsonl", "parquet"]
SUFFIXES: Mapping[str, Format] = {
    ".tsv": "tsv",
    ".txt": "tsv",
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_MOST_COLUMNS = 10_000


class Record(NamedTuple):
    """One input record."""

    number: int
    values: Mapping[str, object]
    reason: str
    """Why it is refused; empty where it is not."""
    raw: object


class Undecodable(NamedTuple):
    """A value of a Parquet file that is declared a string but is not UTF-8."""

    raw: bytes


@dataclass(frozen=True)
class Records:
    """The records of one file, and the fields that all of them have (none known for JSON)."""

    fields: tuple[str, ...] | None
    rows: Iterable[Record]
    features: Mapping[str, Any]
    """Feature types as Hugging Face `datasets` stores them in Parquet; empty elsewhere."""


def format_of(document: Document) -> Format:
    """The format by the file's suffix, .gz and .zip aside; `CorpusError` names the suffixes known."""
    name = document.name.lower()
    for packed in (".gz", ".zip"):
        name = name.removesuffix(packed)
    for suffix, format_ in SUFFIXES.items():
        if name.endswith(suffix):
            return format_
    raise CorpusError(
        f"{document.path}: no format is known by its suffix ({', '.join(SUFFIXES)}); set the option `format`"
    )


def read_records(document: Document, format_: Format, header: bool, quoting: Quoting) -> Records:
    """The records of a file; `header` and `quoting` are for CSV and TSV."""
    if format_ == "json":
        return Records(None, _json_records(document), {})
    if format_ == "jsonl":
        return Records(None, _jsonl_records(document), {})
    if format_ == "parquet":
        return _parquet(document)
    return _delimited(document, format_, header, quoting)


def load_json(document: Document) -> Any:
    """A whole JSON file; `CorpusError` where it is not UTF-8 or not JSON."""
    data = document.read()
    if not data.strip():
        raise CorpusError(f"{document.path}: the file is empty")
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CorpusError(f"{document.path}: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise CorpusError(f"{document.path}: nested too deeply to be data") from None
    except ValueError as error:
        # Also the refusal of Python to read integers of thousands of digits.
        raise CorpusError(f"{document.path}: not JSON: {error}") from None


def _json_records(document: Document) -> Iterator[Record]:
    content = load_json(document)
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
    if not isinstance(content, list):
        raise CorpusError(f"{document.path}: neither a JSON array nor an object with an array `data`")
    for number, item in enumerate(content):
        if isinstance(item, dict):
            yield Record(number, item, "", item)
        else:
            yield Record(number, {}, "not a JSON object", item)


def _jsonl_records(document: Document) -> Iterator[Record]:
    for number, line in read_lines(document).rest(0):
        if isinstance(line, Broken):
            yield Record(number, {}, line.reason, line.raw)
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            yield Record(number, {}, "not JSON" if line.strip() else "empty line", line)
            continue
        if isinstance(item, dict):
            yield Record(number, item, "", line)
        else:
            yield Record(number, {}, "not a JSON object", line)


def _delimited(document: Document, format_: Format, header: bool, quoting: Quoting) -> Records:
    lines = read_lines(document)
    delimiter = "," if format_ == "csv" else "\t"
    quoted = quoting == "csv"

    def rows(first: int, width: int | None) -> Iterator[Row]:
        if quoted:
            return csv_rows(lines, first, width, delimiter)
        return tsv_rows(lines, first, width, delimiter)

    if header:
        top = next(iter(rows(0, None)))
        flaw = top.reason
        if not flaw and len(set(top.fields)) != len(top.fields):
            flaw = "a name occurs twice"
        if not flaw and "\n" in str(top.raw):
            flaw = "a name spans lines"
        if flaw:
            raise CorpusError(f"{document.path}: line 1 is no header: {flaw}")
        fields, first = tuple(top.fields), 1
    else:
        counts = Counter(len(row.fields) for row in rows(0, None) if not row.reason)
        width = counts.most_common(1)[0][0] if counts else 1
        if width > _MOST_COLUMNS:
            raise CorpusError(f"{document.path}: {width} columns are no table")
        fields, first = tuple(str(i) for i in range(width)), 0
    records = (
        Record(
            row.number, {} if row.reason else dict(zip(fields, row.fields, strict=True)), row.reason, row.raw
        )
        for row in rows(first, len(fields))
    )
    return Records(fields, records, {})


def _parquet(document: Document) -> Records:
    # pyarrow, not Polars: a damaged file is an exception there, a panic here.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(document.read()))
        table.validate()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorpusError(f"{document.path}: not a readable Parquet file: {error}") from None
    return Records(tuple(table.column_names), arrow_records(table), arrow_features(table.schema))


def arrow_features(schema: Any) -> Mapping[str, Any]:
    """Feature types that `datasets` left in a schema's metadata; empty where it did not."""
    stored = (schema.metadata or {}).get(b"huggingface")
    if stored is None:
        return {}
    try:
        features = json.loads(stored)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def arrow_records(table: Any, first: int = 0) -> Iterator[Record]:
    """Rows of a pyarrow table, numbered from `first`; a row with a value that is not UTF-8 is refused."""
    names = table.column_names
    columns = [_values(table.column(i)) for i in range(len(names))]
    for number, row in enumerate(zip(*columns, strict=True), start=first):
        values = dict(zip(names, row, strict=True))
        bad = next((value.raw for value in row if isinstance(value, Undecodable)), None)
        yield Record(number, values, "" if bad is None else "not UTF-8", values if bad is None else bad)


def _values(column: Any) -> list[object]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> object:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return Undecodable(bytes(error.object))
