"""Which examples share a text: what a reader finds, and what the study names."""

from __future__ import annotations

import json

import pytest

from xlwh.errors import CorpusError, StudyError

from .conftest import Read

WHERE = {"language": "en"}
QUESTIONS = json.dumps({
    "data": [
        {"title": "t", "paragraphs": [
            {"context": context, "qas": [{"id": i, "question": f"What {i}?", "answers": []} for i in ids]}
            for context, ids in (("one text", "ab"), ("two texts", "c"), ("one text", "d"))
        ]}
    ]
})  # fmt: skip
TREEBANK = "".join(
    f"{comment}# sent_id = {name}\n1\tcat\t_\tNOUN\t_\t_\t_\t_\t_\t_\n\n"
    for comment, name in (("", "a"), ("# newdoc id = x\n", "b"), ("", "c"), ("# newdoc\n", "d"), ("", "e"))
)
NLI = "p\th0\tneutral\nq\th1\tneutral\np\th2\tentailment\np\t \tneutral\n"
PAPER = "id\tsentence1\tsentence2\tlabel\tpage\n1\ta one\tb\t0\tx\n2\ta two\tb\t1\ty\n3\ta two\tc\t1\tx\n"
ORIGINAL = "\n".join(
    "\t".join(row)
    for row in (
        ("language", "gold_label", "sentence1", "sentence2", "pairID", "promptID"),
        ("en", "neutral", "p", "h", "1", "7"),
        ("de", "neutral", "P", "H", "1", "7"),
        ("en", "neutral", "r", "h", "2", "7"),
        ("en", "neutral", "p", "i", "3", "8"),
    )
)
TEXTS = "text\ty\tdoc\nA b\tyes\td1\nC d\tno\td2\nE f\tyes\td1\nA b\tno\td3\n"
CASES = {
    "hypotheses of a premise": ("xnli", "dev-en.tsv", NLI, {}, ["00000", "00001", "00000"]),
    "questions on a paragraph": ("xquad", "xquad.en.json", QUESTIONS, {}, ["a", "a", "c", "a"]),
    "sentences of a document": ("conllu", "en_x-ud-dev.conllu", TREEBANK, {}, ["a", "b", "b", "d", "d"]),
    "tags without documents": ("udpos", "dev-en.tsv", "The\tDET\n\nThe\tDET\n", {}, ["00000", "00001"]),
    "paraphrases of a sentence": ("pawsx", "dev-en.tsv", PAPER, {}, ["00000", "00001", "00001"]),
    "pairs of a named column": ("pawsx", "dev-en.tsv", PAPER, {"cluster": "page"}, ["00000", "00001", "00000"]),
    "original layout": ("xnli", "xnli.dev.tsv", ORIGINAL, {}, ["1", "2", "1"]),
    "original, a named column": ("xnli", "xnli.dev.tsv", ORIGINAL, {"cluster": "promptID"}, ["1", "1", "3"]),
    "single texts": (
        "text_classification", "dev-en.tsv", TEXTS, {"text": "text", "label": "y"}, ["00000", "00001", "00002", "00003"],
    ),
    "texts of a named column": (
        "text_classification", "dev-en.tsv", TEXTS, {"text": "text", "label": "y", "cluster": "doc"},
        ["00000", "00001", "00000", "00003"],
    ),
    "texts of a column by its place": (
        "text_classification", "dev-en.tsv", TEXTS, {"text": 0, "label": 1, "cluster": 2, "header": True},
        ["00000", "00001", "00000", "00003"],
    ),
    "rows of a hub folder": (
        "hub", "dev-en.jsonl", '{"t": "A b", "d": 1}\n{"t": "C d", "d": 2}\n{"t": "E f", "d": 1}\n',
        {"text": "t", "cluster": "d", "file": "dev-{language}.jsonl"}, ["0", "1", "0"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_examples_that_share_a_text_are_one_cluster(read: Read, name: str) -> None:
    reader, file, content, options, expected = CASES[name]
    found = read({file: content}, languages=["en", "de"], reader=reader, options=options).examples
    assert [x.lstrip("0") or "0" for x in found["cluster"]] == [x.lstrip("0") or "0" for x in expected]
    assert set(found["cluster"]) <= set(found["example_id"])


@pytest.mark.parametrize("name", ["xnli", "pawsx", "text_classification"])
def test_a_column_that_is_not_there_is_refused(read: Read, name: str) -> None:
    content = {"xnli": ORIGINAL, "pawsx": PAPER, "text_classification": TEXTS}[name]
    file = "xnli.dev.tsv" if name == "xnli" else "dev-en.tsv"
    options = {"cluster": "chapter"} | ({"text": "text"} if name == "text_classification" else {})
    with pytest.raises(CorpusError, match="no column `chapter`"):
        read({file: content}, reader=name, options=options)


def test_a_file_without_named_columns_has_none_to_name(read: Read) -> None:
    with pytest.raises(StudyError, match=r"options\.cluster"):
        read({"dev-en.tsv": NLI}, reader="xnli", options={"cluster": "premise"})
