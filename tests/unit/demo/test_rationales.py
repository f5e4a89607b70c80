"""Gold rationales: the words that decide a label, by hand and in the committed files."""

from __future__ import annotations

import json

import pytest

from xlwh.demo import grammar, lexicon, rationales
from xlwh.demo.grammar import DATA
from xlwh.demo.lexicon import Lexicon
from xlwh.demo.meaning import Clause, NounPhrase, label
from xlwh.demo.sampling import Item


@pytest.fixture(scope="module")
def words() -> Lexicon:
    return lexicon.load()


def found(words: Lexicon, premise: Clause, hypothesis: Clause) -> tuple[str | None, list[str]]:
    verdict = label(words, premise, hypothesis)
    assert verdict is not None
    said, places = rationales.deciding_words(Item(premise, hypothesis, verdict, ""), words)
    return verdict, [said[place].form for place in places]


def test_the_word_that_makes_the_label(words: Lexicon) -> None:
    noun, other = "boy", "dog"
    premise = Clause(NounPhrase("the", noun), "sleep")
    assert found(words, premise, Clause(NounPhrase("the", other), "sleep")) == (
        "contradiction",
        ["boy"],
    )
    assert found(words, premise, Clause(NounPhrase("the", noun), "sleep", negated=True)) == (
        "contradiction",
        [],
    )
    negated = Clause(NounPhrase("the", noun), "sleep", negated=True)
    assert found(words, negated, premise) == ("contradiction", ["not"])


def test_detail_decides_nothing(words: Lexicon) -> None:
    """The premise says where, and of what age; only the noun contradicts."""
    premise = Clause(NounPhrase("the", "boy", "old"), "sleep", place="garden")
    hypothesis = Clause(NounPhrase("the", "dog"), "sleep")
    assert found(words, premise, hypothesis) == ("contradiction", ["boy"])
    assert found(words, premise, Clause(NounPhrase("the", "boy"), "sleep")) == ("entailment", [])


def test_the_committed_files_are_rows_of_dev(words: Lexicon) -> None:
    folder = DATA / "rationales"
    annotations = [json.loads(line) for line in (folder / "val.jsonl").read_text().splitlines()]
    documents = {
        row["docid"]: row["document"]
        for row in map(json.loads, (folder / "docs.jsonl").read_text().splitlines())
    }
    dev = [line.split("\t") for line in (DATA / "dev-en.tsv").read_text().splitlines()]
    assert len(annotations) == len(documents) == grammar.RATIONALES
    for row in annotations:
        premise, hypothesis, gold = dev[int(row["annotation_id"])]
        assert (documents[row["annotation_id"]], row["query"], row["classification"]) == (
            premise,
            hypothesis,
            gold,
        )
        (evidences,) = row["evidences"]
        assert evidences
        for evidence in evidences:
            assert premise.split()[evidence["start_token"] : evidence["end_token"]] == [evidence["text"]]
    assert {row["classification"] for row in annotations} == {"neutral", "contradiction"}
