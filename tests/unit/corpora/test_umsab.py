from __future__ import annotations

import pytest

from xlwh.errors import CorpusError

from .conftest import Read

TEXT, LABELS = "german/val_text.txt", "german/val_labels.txt"


def test_text_and_labels_are_two_files(read: Read) -> None:
    texts = b"gut\twirklich \nna ja\n \nschlecht\ncaf\xe9\nletzte"
    reading = read({TEXT: texts, LABELS: b"2\n1\n0\n7\n1\n\xff"}, "de", reader="umsab")
    assert reading.examples.select("example_id", "text", "label").rows() == [
        ("00000", "gut\twirklich ", "positive"),
        ("00001", "na ja", "neutral"),
    ]
    assert reading.rejected.select("source_file", "row_number", "reason").rows() == [
        (TEXT, 2, "empty text"),
        (LABELS, 3, "unknown label `7`"),
        (TEXT, 4, "not UTF-8"),
        (LABELS, 5, "label: not UTF-8"),
    ]
    assert reading.files == (TEXT, LABELS)


def test_lines_that_do_not_pair_up(read: Read) -> None:
    with pytest.raises(CorpusError, match=r"has 2 lines, .*val_labels\.txt has 3"):
        read({TEXT: "a\nb\n", LABELS: "0\n1\n2"}, "de", reader="umsab")


def test_another_naming(read: Read) -> None:
    options = {"file": "{language}.{split}.{part}", "names": {}, "splits": {}, "labels": {"p": "positive"}}
    files = {"de.dev.text": "gut", "de.dev.labels": "p"}
    assert read(files, "de", reader="umsab", options=options).examples["label"].to_list() == ["positive"]
