from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from xlwh.errors import CorpusError

from .conftest import Read

CONTEXT = "𝒜 fine é text."


def squad(*questions: Any, context: Any = CONTEXT) -> str:
    return json.dumps(
        {"data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(questions)}]}]}
    )


def question(id: Any, start: Any = 2, text: Any = "fine", **more: Any) -> dict[str, Any]:
    return {"id": id, "question": f"What {id}? ", "answers": [{"text": text, "answer_start": start}], **more}


def test_questions_join_by_id_with_verified_answers(read: Read) -> None:
    text = squad(
        question("a"),
        question("b", start=3),
        question("a"),
        {"id": "c", "question": "Impossible?", "answers": [], "is_impossible": True},
        {"id": "d", "question": "Withheld?"},
        {"question": "No id?"},
        question("e", start="2"),
        "no object",
        question("f", text=""),
        question(7),
    )
    reading = read({"xquad.en.json": text}, reader="xquad")
    assert reading.examples.select("example_id", "text", "row_number").rows() == [
        ("a", "What a? ", 0),
        ("c", "Impossible?", 3),
        ("d", "Withheld?", 4),
        ("7", "What 7? ", 9),
    ]
    assert reading.examples["answers"].to_list() == [
        [{"text": "fine", "start": 2}],
        [],
        None,
        [{"text": "fine", "start": 2}],
    ]
    assert reading.examples["text_pair"].unique().to_list() == [CONTEXT]
    assert reading.examples.schema["answers"] == pl.List(pl.Struct({"text": pl.String, "start": pl.Int32}))
    assert reading.rejected.select("row_number", "reason").rows() == [
        (1, "the answer is not found at its answer_start"),
        (2, "the id occurs a second time"),
        (5, "a question without `id` and `question`"),
        (6, "answers are not of SQuAD's form"),
        (7, "a question that is no object"),
        (8, "the answer is not found at its answer_start"),
    ]
    assert '"answer_start": 3' in reading.rejected["raw"][0]


def test_broken_parts_cost_only_themselves(read: Read) -> None:
    good = json.loads(squad(question("a")))["data"][0]
    data = {"data": [5, {"paragraphs": [{"context": 1, "qas": []}, *good["paragraphs"]]}]}
    reading = read({"xquad.en.json": json.dumps(data)}, reader="xquad")
    assert reading.examples.select("example_id", "row_number").rows() == [("a", 2)]
    assert reading.records == 3


def test_strings_that_json_can_spell_and_utf8_cannot(read: Read) -> None:
    data = squad(question("a", more="x"), question("b")).replace("What a?", "What \\ud800?")
    reading = read({"xquad.en.json": data}, reader="xquad")
    assert reading.reasons() == {"lone surrogate in the text": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("{}", "no list `data`"),
        ("[]", "no list `data`"),
        ('{"data": 3}', "no list `data`"),
        ('{"data": []}', "no records"),
        ('{"data": [', "not JSON"),
        (b'{"data": "\xff"}', "not UTF-8 at byte 10"),
        ("[" * 200_000, "nested too deeply"),
        ('{"data": ' + "9" * 10_000 + "}", "not JSON"),
    ],
)
def test_what_is_no_squad_file(read: Read, content: str | bytes, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read({"xquad.en.json": content}, reader="xquad")
