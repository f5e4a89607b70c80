from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlwh.corpora.base import Collector, printable, row_id, sample, verified_answers
from xlwh.corpora.files import Document
from xlwh.corpora.request import Request
from xlwh.study import Dataset

DOCUMENT = Document(Path("f"), "f")


@pytest.fixture
def collector() -> Collector:
    request = Request(
        "d", Dataset(reader="xnli", path=".", max_rejected=1), Path("."), Path("."), "en", ("en",)
    )
    return Collector(request, "sentence_pair", [DOCUMENT])


def ids(n: int) -> pl.DataFrame:
    return pl.DataFrame({"example_id": [row_id(i) for i in range(n)]})


def test_sample_is_the_same_for_ever() -> None:
    # printf "0\x1f00001" | sha256sum, and so on, sorted: computed outside of Python.
    assert sample(ids(20), 5, 0)["example_id"].to_list() == ["00001", "00004", "00009", "00011", "00016"]
    assert sample(ids(20), 5, 1)["example_id"].to_list() != sample(ids(20), 5, 0)["example_id"].to_list()


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 5), st.randoms())
def test_samples_are_nested_and_blind_to_order(n: int, a: int, b: int, seed: int, random: object) -> None:
    frame = ids(n)
    small, large = sorted((a, b))
    few, many = (set(sample(frame, k, seed)["example_id"]) for k in (small, large))
    assert few <= many
    assert len(few) == min(n, small)
    order = list(range(n))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert set(sample(frame[order], small, seed)["example_id"]) == few


def test_samples_agree_where_a_language_lacks_rows() -> None:
    """A row rejected in one language costs that row, not the others."""
    full = set(sample(ids(100), 20, 3)["example_id"])
    gone = next(iter(sorted(full)))
    less = set(sample(ids(100).filter(pl.col("example_id") != gone), 20, 3)["example_id"])
    assert full - less == {gone}


def test_sample_keeps_file_order_and_refuses_negative_sizes() -> None:
    kept = sample(ids(50), 10, 0)["example_id"].to_list()
    assert kept == sorted(kept)
    with pytest.raises(ValueError, match="-1"):
        sample(ids(3), -1, 0)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"caf\xe9 \0", "caf\\xe9 \\x00"),
        ("a\ud800b\0", "a\\ud800b\\x00"),
        ({"k": "ü"}, '{"k": "ü"}'),
        ("x" * 20_000, "x" * 10_000),
        (b"\xff" * 20_000, ("\\xff" * 2500)),
    ],
)
def test_printable(raw: object, text: str) -> None:
    assert printable(raw) == text


def test_the_collector_refuses_what_cannot_be_stored(collector: Collector) -> None:
    collector.accept(DOCUMENT, 0, "r", "a", "one", "two", label="x")
    collector.accept(DOCUMENT, 1, "r", "a", "one", "two", label="x")
    collector.accept(DOCUMENT, 2, "r", "b", " \u00a0", "two")
    collector.accept(DOCUMENT, 3, "r", "c", "one", "")
    collector.accept(DOCUMENT, 4, "r", "d", "o\0ne", "two")
    collector.accept(DOCUMENT, 5, "r", "e", "one", "\ud800")
    collector.accept(DOCUMENT, 6, "r", "", "one", "two")
    collector.accept(DOCUMENT, 7, "r", "f", "one two", words=["one", ""])
    collector.accept(DOCUMENT, 8, "r", "g", "one two", words=["one", "\udfff"])
    collector.accept(DOCUMENT, 9, "r", "h", "a b", words=["a", "b"], word_labels=["X", "Y"])
    reading = collector.reading()
    assert reading.examples["example_id"].to_list() == ["a", "h"]
    assert reading.examples["words"].to_list() == [None, ["a", "b"]]
    assert reading.rejected["row_number"].to_list() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert list(reading.reasons()) == [
        "the id occurs a second time",
        "empty text",
        "empty second text",
        "NUL character in the text",
        "lone surrogate in the second text",
        "empty id",
        "empty token",
        "lone surrogate in the tokens",
    ]


def test_answers_are_verified_in_code_points() -> None:
    context = "𝒜 é ab"  # one code point outside the BMP, which UTF-16 counts twice
    assert verified_answers(context, [{"text": "ab", "answer_start": 4}]) == (
        [{"text": "ab", "start": 4}],
        "",
    )
    assert verified_answers(context, {"text": ["ab"], "answer_start": [4]})[1] == ""
    assert verified_answers(context, [{"text": "ab", "answer_start": 5}])[1].startswith("the answer is not")
    assert verified_answers(context, [{"text": "b", "answer_start": -1}])[1].startswith("the answer is not")
    assert verified_answers(context, [])[0] == []
    assert verified_answers(context, None) == (None, "")
    for answers in ("ab", [1], [{"text": "ab"}], [{"text": "ab", "answer_start": True}], {"text": ["ab"]}):
        assert verified_answers(context, answers)[1] == "answers are not of SQuAD's form"
