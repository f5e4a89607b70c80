"""Reading word2vec text files: what is found, what is skipped and counted, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from xlwh.consistency.vectors import read_vectors, spellings
from xlwh.errors import CorpusError

ROWS = "the 1 0 0.5\nhouse 0 1 -2e-1\n. . . 1 1 1\nnew york 2 2 2\n"


@pytest.fixture
def write(tmp_path):
    def build(content: str | bytes, name: str = "x.vec") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return build


@pytest.mark.parametrize("header", ["", "4 3\n"])
@pytest.mark.parametrize("end", ["\n", " \n", "\r\n"])
def test_words_in_the_order_asked(write, header, end):
    found = read_vectors(write(header + ROWS.replace("\n", end)), ["house", "absent", "the"])
    assert found.words == found.matched == ["house", "the"]
    np.testing.assert_array_equal(found.vectors, np.float32([[0, 1, -0.2], [1, 0, 0.5]]))
    assert found.vectors.dtype == np.float32
    assert (found.report.asked, found.report.found, found.report.rows) == (3, 2, 4)
    assert found.report.declared_rows == (4 if header else None)
    assert found.report.wrong_length == found.report.duplicates == found.report.not_finite == 0


def test_words_with_blanks(write):
    found = read_vectors(write("4 3\n" + ROWS), ["new york", ". . .", "new"])
    assert found.words == ["new york", ". . ."]
    np.testing.assert_array_equal(found.vectors, np.float32([[2, 2, 2], [1, 1, 1]]))


def test_gzip_by_content_not_by_name(write):
    found = read_vectors(write(gzip.compress(ROWS.encode()), "x.vec"), ["the"])
    assert found.vectors.tolist() == [[1, 0, 0.5]]


def test_bad_rows_are_counted_and_skipped(write):
    content = (
        "short 1 2\nthe 1 0 0.5\nlong 1.5 2 3 4\nbad nan 1 1\nworse 1 x 1\nhuge 1e300 1 1\n"
        "the 9 9 9\n\nhouse 0 1 1\nunasked nan nan nan\n"
    ) + "filler 1 1 1\n" * 11
    asked = ["the", "house", "short", "long", "bad", "worse", "huge"]
    found = read_vectors(write("20 3\n" + content), asked)
    assert found.words == ["the", "house"]
    assert found.vectors[0].tolist() == [1, 0, 0.5], "the first of two rows is kept"
    report = found.report
    assert (report.rows, report.wrong_length, report.not_finite, report.duplicates) == (20, 2, 3, 1)


def test_falls_back_to_composed_and_lower_case(write):
    content = "4 2\nhouse 1 0\nThe 2 0\nthe 3 0\ncafé 4 0\n"
    decomposed = "Cafe\u0301"
    found = read_vectors(write(content), ["House", "The", "THE", decomposed])
    assert dict(zip(found.words, found.matched, strict=True)) == {
        "House": "house",
        "The": "The",
        "THE": "the",
        decomposed: "café",
    }
    assert found.vectors[:, 0].tolist() == [1, 2, 3, 4]
    assert spellings(decomposed)[:2] == (decomposed, "Café")


def test_a_repaired_duplicate_counts(write):
    """A row that could not be used does not hide a later good one."""
    found = read_vectors(write("a nan 1\na 1 2\nb 1 1\n"), ["a"])
    assert found.vectors.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "holds no vectors"),
        (b"3 300\n", "holds no vectors"),
        (b"just\nwords\n", "no vector"),
        (b"the 23135851162\nof 13151942776\n", "which is no vector"),
        (b"2 4\na 1 2\nb 1 2\n", "not a word followed by 4 numbers; most rows hold 2"),
        (b"2 2\na 1 2 3\nb 1 2 3\n", "not a word followed by 2 numbers; most rows hold 3"),
        (b"2 3\n" + bytes(range(256)) * 40, "not a word followed by 3 numbers"),
        (b"\x1f\x8b\x08\x00broken", "part of a download"),
        (gzip.compress(b"a 1 2\n" * 5000, mtime=0)[:-40], "part of a download"),
        (b"the\t0.1 0.2 0.3\nhouse\t0.1 0.2 0.3\n", "hold TABs"),
        (b"2\t3\nthe\t0.1\t0.2\t0.3\nhouse\t0.1\t0.2\t0.3\n", "hold TABs"),
        (b"3 2\na 1 2\nb 1 2\n", "promises 3 rows, it holds 2"),
        (b"1 2\na 1 2\nb 1 2\n", "promises 1 rows, it holds 2"),
        (b"a 1 2\nb 1 2\nc 1", "ends in the middle of row 3"),
        (b"a 1 2\nb 1 2\nc 1 2\nd x\n", "1 of 4 rows"),
        ("a 1 2\nb 1 2\n".encode("utf-16"), "UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><title>Sign in</title></html>", "Sign in"),
        (b"\xba\x16\x4f\x2f\x0c\x00\x00\x00", "binary fastText model"),
    ],
)
def test_unusable_files_are_refused(write, content, message):
    path = write(content)
    with pytest.raises(CorpusError, match=message) as error:
        read_vectors(path, ["a"])
    assert str(path) in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(CorpusError, match="No vector file"):
        read_vectors(tmp_path / "none.vec", ["a"])
    with pytest.raises(CorpusError, match="cannot be read"):
        read_vectors(tmp_path, ["a"])


def test_one_endless_line_does_not_fill_the_memory(write):
    content = b"a 1 2\n" + b"x" * 3_000_000 + b" 1 2\nb 3 4\n" + b"c 1 2\n" * 9
    found = read_vectors(write(content), ["a", "b"])
    assert found.words == ["a", "b"]
    assert (found.report.rows, found.report.wrong_length) == (12, 1)


def test_a_mark_of_utf8_is_no_part_of_the_header(write):
    found = read_vectors(write(b"\xef\xbb\xbf1 2\nthe 1 2\n"), ["the"])
    assert (found.report.declared_rows, found.words) == (1, ["the"])


def test_what_is_not_found_is_shown(write):
    found = read_vectors(write("2 2\n/c/en/the 1 2\n/c/de/haus 1 2\n"), ["the", "house"])
    assert found.vectors.shape == (0, 2)
    assert (found.report.found, found.examples, found.missing) == (
        0,
        ("/c/en/the", "/c/de/haus"),
        ("the", "house"),
    )


def test_vectors_of_zeros_have_no_direction_and_are_not_found(write):
    found = read_vectors(write("a 0 0 0\nb 1 0 0\n"), ["a", "b"])
    assert (found.words, found.report.not_finite, found.report.found) == (["b"], 1, 1)


@pytest.mark.parametrize("header", ["", "3 1\n"])
def test_one_number_a_word_is_no_vector(write, header):
    with pytest.raises(CorpusError, match=r"hold 1 number, which is no vector"):
        read_vectors(write(header + "a 1\nb 2\nc 3\n"), ["a"])
