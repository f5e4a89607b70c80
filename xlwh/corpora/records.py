"""Records with named fields: JSON, JSON lines, Parquet, CSV and TSV, one way for all.

A record is a mapping from field name to value, or the reason why it could not be read. Without a header the
fields of CSV and TSV are named by their position: "0", "1", ...
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

from xlwh.corpora.columns import Quoting, Row, csv_rows, tsv_rows
from xlwh.corpora.content import ARCHIVES, PACKINGS, too_large, unpack_limit
from xlwh.corpora.files import Document
from xlwh.corpora.lines import Broken, Lines, lines_of, refuse_utf16
from xlwh.corpora.sniff import NO_TABLE, is_header, is_json_object, refuse_header, refuse_other_format
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
_LOOKED_AT = 1000
_MOST_COLUMNS = 10_000
_PARQUET = b"PAR1"


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
    format: str
    """What the file turned out to be."""


def format_of(document: Document) -> Format:
    """The format by the file's suffix, .gz and the like aside; `CorpusError` names the suffixes known."""
    name = document.name.lower()
    for packed in (*PACKINGS, *ARCHIVES):
        name = name.removesuffix(packed)
    for suffix, format_ in SUFFIXES.items():
        if name.endswith(suffix):
            return format_
    raise CorpusError(
        f"{document.path}: no format is known by its suffix ({', '.join(SUFFIXES)}); set the option `format`"
    )


def read_records(document: Document, format_: Format, header: bool | None, quoting: Quoting) -> Records:
    """The records of a file; `header` and `quoting` are for CSV and TSV (None: no header, and none may be there).

    Whether JSON is one array or an object a line is told by the content, whatever the suffix says. `CorpusError` where
    the file is of another format than the one named.
    """
    data = document.read()
    if format_ == "parquet":
        return _parquet(document, data)
    if data.startswith(_PARQUET):
        raise CorpusError(
            f"{document.path}: is a Parquet file, not {format_}; set the option `format`, or rename it"
        )
    if format_ in ("json", "jsonl"):
        return _json(document, data, format_)
    return _delimited(document, data, format_, header, quoting)


def load_json(document: Document) -> Any:
    """A whole JSON file; `CorpusError` where it is not UTF-8 or not JSON."""
    data = document.read()
    refuse_utf16(document, data)
    return _whole_json(document, data)


class _RepeatedKeyError(ValueError):
    """An object that names a field twice, of which only one value would be left."""


def _parse(text: str) -> Any:
    """A JSON text; `ValueError` where it is none, or where an object has the same key twice."""
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        name = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _RepeatedKeyError(f"the key `{name[:40]}` occurs twice")
    return made


def _whole_json(document: Document, data: bytes) -> Any:
    if not data.strip():
        raise CorpusError(f"{document.path}: the file is empty")
    try:
        return _parse(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CorpusError(f"{document.path}: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise CorpusError(f"{document.path}: nested too deeply to be data") from None
    except ValueError as error:
        # Also the refusal of Python to read integers of thousands of digits.
        raise CorpusError(f"{document.path}: not JSON: {error}") from None


def _json(document: Document, data: bytes, format_: Format) -> Records:
    """Records of an array, of the array `data` of an object, or of an object a line: what the content is."""
    lines = lines_of(document, data)
    filled = [index for index, text in enumerate(lines.texts) if text is None or text.strip()]
    first = lines.texts[filled[0]] if filled else ""
    begins = (first or "").lstrip()[:1]
    # One object on the only line is a whole file of either form: the suffix says which.
    by_line = len(filled) > 1 and begins == "{" and is_json_object(first or "")
    if by_line or (format_ == "jsonl" and not (begins == "[" and _is_whole(data))):
        if begins == "{" and not by_line and _is_whole(data):
            # An object over several lines; or one with an array `data`, on one line.
            content = _whole_json(document, data)
            if len(filled) > 1 or isinstance(content.get("data"), list):
                return Records(None, _items(document, content), {}, "json")
        return Records(None, _line_records(lines), {}, "jsonl")
    return Records(None, _items(document, _whole_json(document, data)), {}, "json")


def _is_whole(data: bytes) -> bool:
    try:
        json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return True


def _items(document: Document, content: Any) -> Iterator[Record]:
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
    if not isinstance(content, list):
        raise CorpusError(f"{document.path}: neither a JSON array nor an object with an array `data`")
    for number, item in enumerate(content):
        if isinstance(item, dict):
            yield Record(number, item, "", item)
        else:
            yield Record(number, {}, "not a JSON object", item)


def _line_records(lines: Lines) -> Iterator[Record]:
    for number, line in lines.rest(0):
        if isinstance(line, Broken):
            yield Record(number, {}, line.reason, line.raw)
            continue
        try:
            item = _parse(line)
        except _RepeatedKeyError as error:
            yield Record(number, {}, str(error), line)
            continue
        except (ValueError, RecursionError):
            yield Record(number, {}, "not JSON" if line.strip() else "empty line", line)
            continue
        if isinstance(item, dict):
            yield Record(number, item, "", line)
        else:
            yield Record(number, {}, "not a JSON object", line)


def _delimited(
    document: Document, data: bytes, format_: Format, header: bool | None, quoting: Quoting
) -> Records:
    lines = lines_of(document, data)
    refuse_other_format(document, lines, *NO_TABLE)
    delimiter = "," if format_ == "csv" else "\t"
    quoted = quoting == "csv"

    def rows(first: int, width: int | None) -> Iterator[Row]:
        if quoted:
            return csv_rows(lines, first, width, delimiter)
        return tsv_rows(lines, first, width, delimiter)

    _require_delimiter(document, lines, delimiter)
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
        if header is None:
            refuse_header(document, [row.fields for row in islice(rows(0, None), 200) if not row.reason])
        counts = Counter(len(row.fields) for row in rows(0, None) if not row.reason)
        width = counts.most_common(1)[0][0] if counts else 1
        if width > _MOST_COLUMNS:
            raise CorpusError(f"{document.path}: {width} columns are no table")
        fields, first = tuple(str(i) for i in range(width)), 0

    def records() -> Iterator[Record]:
        for row in rows(first, len(fields)):
            reason = row.reason
            if not reason and header and tuple(row.fields) == fields:
                reason = "the header a second time"
            yield Record(
                row.number, {} if reason else dict(zip(fields, row.fields, strict=True)), reason, row.raw
            )

    return Records(fields, records(), {}, format_)


def _require_delimiter(document: Document, lines: Lines, delimiter: str) -> None:
    """Refuse a table that another character separates: it would be one column of text.

    Every line holds it equally often, or it separates the names of a header; a comma or semicolon in TSV only so.
    """
    texts = [text for text in lines.texts[:_LOOKED_AT] if text]
    if not texts or any(delimiter in text for text in texts):
        return
    for other in "\t;,|":
        counts = {text.count(other) for text in texts}
        even = delimiter == "," and other in "\t;" and len(counts) == 1 and 0 not in counts
        if other != delimiter and (even or is_header(texts[0].split(other))):
            shown = {"\t": "TABs", ";": "semicolons", ",": "commas", "|": "bars"}
            raise CorpusError(
                f"{document.path}: no {shown[delimiter]}, but {shown[other]} separate its columns ({texts[0][:60]!r}). "
                "CSV is read with commas and TSV with TABs: set the option `format`, or convert the file."
            )


def _parquet(document: Document, data: bytes) -> Records:
    # pyarrow, not Polars: a damaged file is an exception there, a panic here.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = _table(pq.ParquetFile(io.BytesIO(data)), document)
        table.validate()
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise CorpusError(f"{document.path}: not a readable Parquet file: {error}") from None
    return Records(tuple(table.column_names), arrow_records(table), arrow_features(table.schema), "parquet")


def _table(file: Any, document: Document) -> Any:
    """All rows of a Parquet file. Its pages may say in a few bytes what takes gigabytes: `CorpusError` for those."""
    import pyarrow as pa

    limit, total, batches = unpack_limit(), 0, []
    for batch in file.iter_batches(_ROWS_AT_ONCE):
        # A dictionary is in memory once, whatever batches say.
        total += sum((c.indices if pa.types.is_dictionary(c.type) else c).nbytes for c in batch.columns)
        if total > limit:
            raise too_large(document.path, limit)
        batches.append(batch)
    return pa.Table.from_batches(batches, file.schema_arrow)


_ROWS_AT_ONCE = 1024
"""Of a Parquet file: one row may hold a megabyte."""


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


def lookup(values: Mapping[str, object], name: str) -> object:
    """A field by its name or dotted path; None where it is missing."""
    if name in values:
        return values[name]
    found: object = values
    for part in name.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def class_names(feature: object) -> Sequence[str]:
    """Names of a ClassLabel feature as `datasets` serialises it; empty for any other."""
    if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel":
        names = feature.get("names")
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    return ()
