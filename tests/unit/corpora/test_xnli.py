from __future__ import annotations

import pytest

from xlwh.errors import CorpusError

from .conftest import Read

ORIGINAL = ["language", "gold_label", "sentence1", "sentence2", "pairID"]


def original(*rows: str) -> str:
    return "\n".join(["\t".join(ORIGINAL), *rows]) + "\n"


def test_a_row_keeps_its_number_when_others_are_refused(read: Read) -> None:
    text = "p0\th0\tneutral\np1\th1\tmaybe\n\np3\th3\np4\t \tneutral\nq\tr\ts\tt\np6\th6\tcontradictory"
    reading = read({"dev-en.tsv": text}, reader="xnli")
    assert reading.examples.select("example_id", "label", "row_number").rows() == [
        ("00000", "neutral", 0),
        ("00006", "contradiction", 6),
    ]
    assert reading.rejected.select("row_number", "reason", "raw").rows() == [
        (1, "unknown label `maybe`", "p1\th1\tmaybe"),
        (2, "empty line", ""),
        (3, "2 columns instead of 3", "p3\th3"),
        (4, "empty second text", "p4\t \tneutral"),
        (5, "4 columns instead of 3", "q\tr\ts\tt"),
    ]
    assert reading.records == 7


def test_text_is_stored_as_found(read: Read) -> None:
    reading = read({"dev-en.tsv": ' "a\u0008 \u200b\te\u0301\ufeff \u2028b\tneutral\r\n'}, reader="xnli")
    assert reading.examples.select("text", "text_pair", "label").rows() == [
        (' "a\u0008 \u200b', "e\u0301\ufeff \u2028b", "neutral")
    ]


def test_withheld_labels_are_null(read: Read) -> None:
    reading = read({"test-en.tsv": "a\tb\nc\td\te\nf\tg\n"}, reader="xnli", split="test")
    assert reading.examples["label"].to_list() == [None, None]
    assert reading.examples["split"].unique().to_list() == ["test"]
    assert reading.rejected["reason"].to_list() == ["3 columns instead of 2"]


@pytest.mark.parametrize("header", ["premise\thypo\tlabel", "\ufeffpremise\thypothesis\tlabel\r"])
def test_a_header_does_not_count(read: Read, header: str) -> None:
    reading = read({"dev-en.tsv": f"{header}\na\tb\t0\nc\td\t1\ne\tf\t2\ng\th\t3\n"}, reader="xnli")
    assert reading.examples.select("example_id", "label").rows() == [
        ("00000", "entailment"),
        ("00001", "neutral"),
        ("00002", "contradiction"),
    ]
    assert reading.rejected["reason"].to_list() == ["unknown label `3`"]


def test_own_labels(read: Read) -> None:
    options = {"labels": {"yes": "entailment"}}
    reading = read({"dev-en.tsv": "a\tb\tyes\nc\td\tneutral\n"}, reader="xnli", options=options)
    assert reading.examples["label"].to_list() == ["entailment"]
    assert reading.rejected["reason"].to_list() == ["unknown label `neutral`"]


def test_original_layout_joins_on_pair_id_and_splits_languages(read: Read) -> None:
    rows = original(
        "es\tneutral\tuno\tdos\t7",
        "en\tneutral\tone\ttwo\t7",
        "en\tentailment\t\ttwo\t8",
        "en\t-\tone\ttwo\t9",
        "en\tneutral\tagain\ttwo\t7",
        "broken",
        "en\tcontradiction\tthree\tfour\t10",
    )
    english = read({"xnli.dev.tsv": rows}, "en", ["en", "es"], reader="xnli")
    assert english.examples.select("example_id", "text", "row_number").rows() == [
        ("7", "one", 1),
        ("10", "three", 6),
    ]
    assert english.reasons() == {
        "empty text": 1,
        "unknown label `-`": 1,
        "the id occurs a second time": 1,
        "1 column instead of 5": 1,
    }
    assert (english.records, english.elsewhere) == (6, 1)
    spanish = read({"xnli.dev.tsv": rows}, "es", ["en", "es"], reader="xnli")
    assert spanish.examples["example_id"].to_list() == ["7"]
    # A row that cannot be split may be of any language.
    assert (spanish.records, spanish.elsewhere) == (2, 5)


def test_original_layout_without_the_language(read: Read) -> None:
    with pytest.raises(
        CorpusError, match=r"no rows in language `sw`; the file has: en.*datasets\.d\.languages"
    ):
        read({"xnli.dev.tsv": original("en\tneutral\ta\tb\t1", "broken")}, "sw", reader="xnli")


def test_a_header_of_another_width_is_refused(read: Read) -> None:
    with pytest.raises(CorpusError, match="header has 4 columns"):
        read({"dev-en.tsv": "premise\thypothesis\tlabel\tgenre\na\tb\tneutral\tx\n"}, reader="xnli")


def test_a_damaged_header_does_not_shift_the_rows(read: Read) -> None:
    reading = read({"dev-en.tsv": "premize\thypoo\tlabel\na\tb\tneutral\n"}, reader="xnli")
    assert (reading.records, reading.examples["example_id"].to_list()) == (1, ["00000"])
    with pytest.raises(CorpusError, match="line 1 is a damaged header: not UTF-8"):
        read({"dev-en.tsv": b"premise\thyp\xff\tlabel\na\tb\tneutral\n"}, reader="xnli")
