from __future__ import annotations

import pytest

from xlwh.errors import CorpusError

from .conftest import Read

QUOTED = 'a\tb\t0\n"he said ""no"""\tb\t1\nNS\tb\t0\n"open\tb\t1\na\t"say ""it"""\t1\n'
RAW = 'he "said" no\tb\t1\nthe album "\tb\t0\n"whole"\tb\t1\n'


def test_csv_style_quoting_is_detected(read: Read) -> None:
    reading = read({"dev-en.tsv": QUOTED}, reader="pawsx")
    assert reading.notes == {"layout": "xtreme", "quoting": "csv"}
    assert reading.examples.select("example_id", "text", "text_pair", "label").rows() == [
        ("00000", "a", "b", "0"),
        ("00001", 'he said "no"', "b", "1"),
        ("00004", "a", 'say "it"', "1"),
    ]
    assert reading.rejected.select("row_number", "reason").rows() == [
        (2, "untranslated: a side is only `NS`"),
        (3, "CSV quoting is broken"),
    ]


def test_raw_quotes_are_detected(read: Read) -> None:
    reading = read({"dev-en.tsv": RAW}, reader="pawsx")
    assert reading.notes["quoting"] == "none"
    assert reading.examples["text"].to_list() == ['he "said" no', 'the album "', '"whole"']


@pytest.mark.parametrize(("quoting", "text"), [("csv", "whole"), ("none", '"whole"')])
def test_quoting_can_be_said(read: Read, quoting: str, text: str) -> None:
    reading = read({"dev-en.tsv": '"whole"\tb\t1\n'}, reader="pawsx", options={"quoting": quoting})
    assert reading.examples["text"].to_list() == [text]


def test_original_layout_joins_by_row_like_xtreme_or_by_its_ids(read: Read) -> None:
    text = "id\tsentence1\tsentence2\tlabel\n4\ta\tb\t1\n6\tNS\tb\t0\n9\tc\td\t2\n9\tc\td\t0\n9\te\tf\t1\n"
    by_row = read({"de/dev_2k.tsv": text}, "de", reader="pawsx")
    assert by_row.examples["example_id"].to_list() == ["00000", "00003", "00004"]
    by_id = read({"de/dev_2k.tsv": text}, "de", reader="pawsx", options={"id": "column"})
    assert by_id.examples["example_id"].to_list() == ["4", "9"]
    assert by_id.reasons() == {
        "untranslated: a side is only `NS`": 1,
        "unknown label `2`": 1,
        "the id occurs a second time": 1,
    }


def test_labels_may_be_withheld(read: Read) -> None:
    assert read({"test-en.tsv": "a\tb\nc\td\n"}, reader="pawsx", split="test").examples[
        "label"
    ].to_list() == [
        None,
        None,
    ]


def test_what_it_is_not(read: Read) -> None:
    with pytest.raises(CorpusError, match="no column of ids"):
        read({"dev-en.tsv": RAW}, reader="pawsx", options={"id": "column"})
    with pytest.raises(CorpusError, match="header without sentence1 and sentence2: id, text, label"):
        read({"x/dev-en.tsv": "id\ttext\tlabel\n1\ta\t0\n"}, reader="pawsx", path="x")
    with pytest.raises(CorpusError, match="header without sentence1 and sentence2: not UTF-8"):
        read({"x/dev-en.tsv": b"sentence\xff\tlabel\na\tb\t0\n"}, reader="pawsx", path="x")


def test_a_header_without_ids_is_no_row(read: Read) -> None:
    reading = read({"x.tsv": "sentence1\tsentence2\tlabel\na\tb\t0\n"}, reader="pawsx", path="x.tsv")
    assert reading.examples.select("example_id", "text").rows() == [("00000", "a")]
    assert reading.records == 1
