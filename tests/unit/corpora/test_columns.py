from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlwh.corpora.columns import csv_rows, detect_quoting, tsv_rows, unquote, usual_width
from xlwh.corpora.lines import split_lines


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ('a "b" c', 'a "b" c'),
        ('"a ""b"" c"', 'a "b" c'),
        ('"a"', "a"),
        ('""', ""),
        ('"', None),
        ('"a', None),
        ('"a" b', None),
        ('"a"b"', None),
        ('"""', None),
    ],
)
def test_unquote(field: str, text: str | None) -> None:
    assert unquote(field) == text


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\t")))
def test_unquote_undoes_what_csv_writes(text: str) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter="\t", lineterminator="", quoting=csv.QUOTE_ALL).writerow([text])
    assert unquote(out.getvalue()) == text


def test_quoting_is_decided_by_the_majority() -> None:
    assert detect_quoting(["a", "b"]) == "none"
    assert detect_quoting(['"x ""y"""', '"z"', '"damaged']) == "csv"
    assert detect_quoting(['he said "y"', '"z" he said', '"whole"']) == "none"


def test_tsv_takes_quotes_as_text_and_tells_wrong_widths() -> None:
    lines = split_lines(b'"a\tb"\n\nx\ny\tz\tw\n\xff\t1\n')
    rows = list(tsv_rows(lines, 0, 2))
    assert [row.number for row in rows] == [0, 1, 2, 3, 4]
    assert rows[0].fields == ['"a', 'b"']
    assert [row.reason for row in rows] == [
        "",
        "empty line",
        "1 column instead of 2",
        "3 columns instead of 2",
        "not UTF-8",
    ]


def test_usual_width() -> None:
    lines = split_lines(b"a\tb\tc\na\tb\na\tb\tc\nx")
    assert usual_width(lines, (3, 2)) == 3
    assert usual_width(split_lines(b"a\tb"), (3, 2)) == 2
    assert usual_width(split_lines(b"a"), (3, 2)) == 3


def test_csv_records_may_span_lines_and_recover_after_an_open_quote() -> None:
    lines = split_lines(b'a,"b\r\nc, ""d"""\r\n\xff,"g\nj"\n"open,x\ne,f\nh,i\n')
    rows = list(csv_rows(lines, 0, 2, ","))
    assert [(row.number, row.fields, row.reason) for row in rows] == [
        (0, ["a", 'b\nc, "d"'], ""),
        (1, [], "not UTF-8"),
        (2, [], "a quote is not closed"),
        (3, ["e", "f"], ""),
        (4, ["h", "i"], ""),
    ]
    assert rows[1].raw == b'\xff,"g\nj"'


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0")),
            min_size=2,
            max_size=2,
        ).filter(any),
        min_size=1,
        max_size=8,
    )
)
def test_csv_reads_what_csv_wrote(table: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(table)
    data = out.getvalue().encode()
    if data.startswith(b"\xef\xbb\xbf"):  # a mark at the start is no text
        return
    rows = list(csv_rows(split_lines(data), 0, 2, ","))
    assert [row.fields for row in rows] == table
    assert not any(row.reason for row in rows)
