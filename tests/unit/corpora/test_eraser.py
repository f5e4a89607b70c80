"""ERASER's format: documents as files or lines, evidences as words, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from xlwh.errors import CorpusError

DOCUMENT = "the film is long\nand very very dull ."


def annotation(name: str, *spans: tuple[int, int], doc: str = "d1", **more: Any) -> str:
    evidences = [[{"docid": doc, "start_token": start, "end_token": end, "text": ""}] for start, end in spans]
    item = {"annotation_id": name, "classification": "NEG", "docids": None, "evidences": evidences}
    return json.dumps({**item, "query": "Is it good?", **more}) + "\n"


@pytest.mark.parametrize("layout", ["folder", "lines"])
def test_words_of_the_evidences_are_the_rationale(read: Callable[..., Any], layout: str) -> None:
    documents = (
        {"docs/d1": DOCUMENT}
        if layout == "folder"
        else {"docs.jsonl": json.dumps({"docid": "d1", "document": DOCUMENT}) + "\n"}
    )
    reading = read({"val.jsonl": annotation("a", (3, 4), (5, 8)), **documents}, reader="eraser", split="dev")
    (row,) = reading.examples.to_dicts()
    assert row["words"] == DOCUMENT.split()
    assert row["text"] == " ".join(DOCUMENT.split())
    marked = [
        word for word, mark in zip(row["words"], row["word_labels"], strict=True) if mark == "rationale"
    ]
    assert marked == ["long", "very", "very", "dull"]
    assert (row["example_id"], row["label"], row["task"]) == ("a", "NEG", "sequence_classification")
    assert row["text_pair"] is None


def test_the_query_can_be_the_second_text(read: Callable[..., Any]) -> None:
    files = {"val.jsonl": annotation("a", (0, 1)), "docs/d1": DOCUMENT}
    reading = read(files, reader="eraser", split="dev", options={"query": True})
    (row,) = reading.examples.to_dicts()
    assert (row["task"], row["text_pair"]) == ("sentence_pair", "Is it good?")


def test_what_cannot_be_placed_is_refused(read: Callable[..., Any]) -> None:
    lines = [
        annotation("fine", (0, 2)),
        annotation("without evidence", docids=["d1"]),
        annotation("outside", (7, 10)),
        annotation("elsewhere", (0, 1), doc="d2"),
        annotation("two", (0, 1), docids=["d3"]),
        annotation("fine", (0, 1)),
        "[]\n",
        annotation("odd", evidences="none"),
    ]
    reading = read({"val.jsonl": "".join(lines), "docs/d1": DOCUMENT}, reader="eraser", split="dev")
    assert reading.examples["example_id"].to_list() == ["fine", "without evidence"]
    assert set(reading.examples["word_labels"][1]) == {"O"}
    assert reading.rejected["reason"].to_list() == [
        "an evidence lies outside its document",
        "no document `d2`",
        "2 documents, where one is read",
        "the id occurs a second time",
        "not a JSON object",
        "evidences are not lists of lists",
    ]


def test_missing_documents_are_an_error(read: Callable[..., Any]) -> None:
    with pytest.raises(CorpusError, match=r"no `docs\.jsonl` and no folder `docs`"):
        read({"val.jsonl": annotation("a", (0, 1))}, reader="eraser", split="dev")
