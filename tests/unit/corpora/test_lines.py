from __future__ import annotations

from pathlib import Path

import pytest

from xlwh.corpora.files import Document
from xlwh.corpora.lines import HAS_NUL, NOT_UTF8, read_lines, split_lines
from xlwh.errors import CorpusError


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"", []),
        (b"\xef\xbb\xbf", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\n\n", ["a", ""]),
        (b"a\r\nb\nc\r\n", ["a", "b", "c"]),
        (b"a\r\r\nb\rc", ["a\r", "b\rc"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", ["a", "\ufeffb"]),
        ("a\x1cb\x85c\u2028d\x0be\x0cf\n".encode(), ["a\x1cb\x85c\u2028d\x0be\x0cf"]),
    ],
)
def test_only_lf_ends_a_line(data: bytes, texts: list[str]) -> None:
    lines = split_lines(data)
    assert lines.texts == texts
    assert not lines.broken


def test_a_bad_line_leaves_its_neighbours_alone() -> None:
    lines = split_lines(b"good\r\ncaf\xe9\r\nn\0l\r\n\xe2\x82\nend")
    assert lines.texts == ["good", None, None, None, "end"]
    assert {i: (b.reason, b.raw) for i, b in lines.broken.items()} == {
        1: (NOT_UTF8, b"caf\xe9"),
        2: (HAS_NUL, b"n\0l"),
        3: (NOT_UTF8, b"\xe2\x82"),
    }


def test_surrogates_encoded_as_utf8_are_no_text() -> None:
    assert split_lines(b"\xed\xa0\x80").texts == [None]


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", "text".encode("utf-16")])
def test_files_without_lines_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "f.tsv"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=r"f\.tsv"):
        read_lines(Document(path, "f.tsv"))
