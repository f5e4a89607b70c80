"""Labels of concepts: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from xlwh.concepts.labels import read
from xlwh.errors import CorpusError

HEADER = "model,clustering,concept,label,author\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_are_read_and_rows_without_one_passed_over(tmp_path: Path) -> None:
    text = HEADER + 'm,c,3," animals, wild ",me\nm,c,4,,me\nm,c,5,x,\n'
    rows = read(written(tmp_path, text)).select("concept", "label", "author").rows()
    assert rows == [(3, "animals, wild", "me"), (5, "x", "unknown")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,label\n", "the header lacks clustering, concept"),
        (HEADER + "m,c,three,x,me\n", "line 2: `concept` is 'three', not a number"),
        (HEADER + f"m,c,{'9' * 5_000},x,me\n", "line 2: `concept` is '999"),
        (HEADER + "m,c,3000000000,x,me\n", "line 2: `concept` is '3000000000'"),
        (HEADER + "m,c,3,x,me\nm,c,3,y,me\n", "two labels of one author"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read(written(tmp_path, text))
    with pytest.raises(CorpusError, match="cannot be read"):
        read(tmp_path / "missing.csv")
