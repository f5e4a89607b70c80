"""Lines to columns: TAB-separated rows as they stand, the two quoting conventions, and CSV records.

TSV is split at TABs, nothing else: a quote is a character like any other. Some files nevertheless keep
CSV-style quoting per field (PAWS-X as XTREME ships it: outer quotes, inner ones doubled), others of the same corpus hold
raw quotes. `detect_quoting` tells them apart from the whole file; `unquote` undoes the former.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from xlwh.corpora.lines import Broken, Lines

Quoting = Literal["none", "csv"]

_RECORD_LINES = 1000
"""Most lines that a CSV record may span: an unclosed quote must not swallow the file."""

EMPTY_LINE = "empty line"


class Row(NamedTuple):
    """One input record: its fields, or why it has none."""

    number: int
    """Position after the header, from 0."""
    fields: list[str]
    reason: str
    """Why it is refused; empty where it is not."""
    raw: str | bytes


def usual_width(lines: Lines, accepted: Sequence[int]) -> int:
    """The most frequent number of columns among those accepted; the first one where none occurs."""
    counts = Counter(text.count("\t") + 1 for text in lines.texts if text is not None)
    return max(accepted, key=lambda width: (counts[width], -accepted.index(width)))


def tsv_rows(lines: Lines, first: int, width: int | None, delimiter: str = "\t") -> Iterator[Row]:
    """Rows of `width` (any, if None) fields from line `first` on, one a line; others come with the reason."""
    for number, line in lines.rest(first):
        if isinstance(line, Broken):
            yield Row(number, [], line.reason, line.raw)
            continue
        fields = line.split(delimiter)
        yield Row(number, fields, _width_flaw(fields, width), line)


def csv_rows(lines: Lines, first: int, width: int | None, delimiter: str) -> Iterator[Row]:
    """Records of `width` (any, if None) fields by RFC 4180: a quoted field may hold delimiters and line ends.

    A record with a broken line is refused as one, so that those behind it keep their numbers. A line whose
    quote is not closed within 1000 lines is refused alone; one that another stray quote closes takes the lines
    between along, and row numbers shift: join such files by an id. Line ends inside a field become LF.
    """
    index, number = first, 0
    while index < len(lines.texts):
        last = _record_end(lines, index)
        if last is None:
            text = lines.texts[index]
            yield Row(number, [], "a quote is not closed", lines.broken[index].raw if text is None else text)
            last = index
        else:
            yield _csv_row(lines, number, index, last, width, delimiter)
        index, number = last + 1, number + 1


def _csv_row(lines: Lines, number: int, start: int, last: int, width: int | None, delimiter: str) -> Row:
    flaw = next((lines.broken[i] for i in range(start, last + 1) if i in lines.broken), None)
    if flaw is not None:
        return Row(number, [], flaw.reason, b"\n".join(lines.raw(i) for i in range(start, last + 1)))
    raw = "\n".join(text for text in lines.texts[start : last + 1] if text is not None)
    try:
        parsed = list(csv.reader([raw], delimiter=delimiter, strict=True))
    except csv.Error as error:
        return Row(number, [], f"not CSV: {error}", raw)
    fields = parsed[0] if len(parsed) == 1 else []
    return Row(number, fields, _width_flaw(fields, width), raw)


def _record_end(lines: Lines, start: int) -> int | None:
    """Index of the line where the record that starts at `start` ends: where its quotes come in pairs."""
    odd = False
    for index in range(start, min(start + _RECORD_LINES, len(lines.texts))):
        text = lines.texts[index]
        # In UTF-8, damaged or not, this byte is a quote and nothing else.
        quotes = lines.broken[index].raw.count(b'"') if text is None else text.count('"')
        odd ^= quotes % 2 == 1
        if not odd:
            return index
    return None


def _width_flaw(fields: list[str], width: int | None) -> str:
    if not any(fields):
        return EMPTY_LINE
    if width is None or len(fields) == width:
        return ""
    return f"{len(fields)} column{'s' * (len(fields) != 1)} instead of {width}"


def unquote(field: str) -> str | None:
    """A field without its CSV quoting; None where it starts with a quote but is not quoted properly."""
    if not field.startswith('"'):
        return field
    inner = field[1:-1]
    if len(field) < 2 or not field.endswith('"') or '"' in inner.replace('""', ""):
        return None
    return inner.replace('""', '"')


def detect_quoting(fields: Iterable[str]) -> Quoting:
    """`csv` where most of the fields with a quote are properly quoted, else `none`.

    A majority and not all of them, so that one damaged row does not turn the reading of all others around.
    """
    quoted = proper = 0
    for field in fields:
        if '"' in field:
            quoted += 1
            proper += field.startswith('"') and unquote(field) is not None
    return "csv" if 2 * proper > quoted else "none"
