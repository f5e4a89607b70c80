"""The label rule, on pairs judged by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from xlwh.demo import lexicon
from xlwh.demo.meaning import Clause, NounPhrase, Quantity, label

WORDS = lexicon.load()


def phrase(text: str) -> NounPhrase:
    """`the old man` -> NounPhrase; hypernym nouns and quantities by their keys."""
    quantity, *adjective, noun = text.split()
    chosen: Quantity = quantity  # type: ignore[assignment]
    return NounPhrase(chosen, noun, adjective[0] if adjective else None)


def clause(subject: str, verb: str, thing: str | None = None, **rest: Any) -> Clause:
    return Clause(phrase(subject), verb, phrase(thing) if thing else None, **rest)


CASES = [
    # hypernyms and hyponyms
    (clause("the dog", "sleep"), clause("a animal", "sleep"), "entailment"),
    (clause("the animal", "sleep"), clause("the dog", "sleep"), "neutral"),
    (clause("the dog", "sleep"), clause("the cat", "sleep"), "contradiction"),
    (clause("the boy", "eat", "a banana"), clause("the child", "eat", "the fruit"), "entailment"),
    (clause("the doctor", "run"), clause("the woman", "run"), "neutral"),
    (clause("the doctor", "run"), clause("the teacher", "run"), "contradiction"),
    # detail
    (clause("the old man", "run", place="park"), clause("the man", "run"), "entailment"),
    (clause("the man", "run"), clause("the man", "run", place="park"), "neutral"),
    (clause("the man", "run", place="park"), clause("the man", "run", place="outside"), "entailment"),
    (clause("the man", "run", place="kitchen"), clause("the man", "run", place="outside"), "contradiction"),
    (clause("the man", "run", time="morning"), clause("the man", "run", time="night"), "contradiction"),
    (clause("the man", "run", time="morning"), clause("the man", "run", time="sunday"), "neutral"),
    (clause("the old man", "run"), clause("the young man", "run"), "contradiction"),
    # verbs
    (clause("the man", "push", "the car"), clause("the man", "pull", "the car"), "contradiction"),
    (clause("the man", "push", "the car"), clause("the man", "wash", "the car"), "neutral"),
    (clause("the man", "push", "the car"), clause("the man", "pull", "the bus"), None),
    # roles and voice
    (clause("the dog", "watch", "the cat"), clause("the cat", "watch", "the dog"), "contradiction"),
    (
        clause("the dog", "watch", "the cat"),
        clause("the dog", "watch", "the cat", passive=True),
        "entailment",
    ),
    # number
    (clause("two dog", "run"), clause("three dog", "run"), "contradiction"),
    (clause("two dog", "run"), clause("some dog", "run"), "entailment"),
    (clause("some dog", "run"), clause("two dog", "run"), "neutral"),
    (clause("a dog", "run"), clause("two dog", "run"), "contradiction"),
    # negation
    (clause("the dog", "run"), clause("the dog", "run", negated=True), "contradiction"),
    (clause("the dog", "sleep"), clause("the dog", "run", negated=True), "entailment"),
    (clause("the dog", "run"), clause("the dog", "run", place="park", negated=True), "neutral"),
    (
        clause("the dog", "run", negated=True),
        clause("the dog", "run", place="park", negated=True),
        "entailment",
    ),
    (clause("the dog", "run", place="park", negated=True), clause("the dog", "run"), "neutral"),
    (clause("the dog", "run", negated=True), clause("the dog", "run", place="park"), "contradiction"),
    # all, some, no
    (clause("all animal", "run"), clause("all dog", "run"), "entailment"),
    (clause("all dog", "run"), clause("all animal", "run"), "neutral"),
    (clause("all dog", "run"), clause("some dog", "run"), "entailment"),
    (clause("some dog", "run"), clause("all dog", "run"), "neutral"),
    (clause("no animal", "run"), clause("no dog", "run", place="park"), "entailment"),
    (clause("no dog", "run"), clause("no animal", "run"), "neutral"),
    (clause("no dog", "run"), clause("some dog", "run"), "contradiction"),
    (clause("no dog", "run", place="park"), clause("two dog", "run"), "neutral"),
    (clause("all dog", "run"), clause("no dog", "run"), "contradiction"),
    (clause("all dog", "sleep"), clause("no dog", "run"), "entailment"),
    (clause("all dog", "sleep"), clause("some animal", "run"), "neutral"),
    (clause("some dog", "sleep"), clause("all animal", "run"), "contradiction"),
]


@pytest.mark.parametrize(("premise", "hypothesis", "expected"), CASES)
def test_label(premise: Clause, hypothesis: Clause, expected: str | None) -> None:
    assert label(WORDS, premise, hypothesis) == expected


def test_form_changes_no_label() -> None:
    for premise, hypothesis, expected in CASES:
        other = replace(premise, verb_first=not premise.verb_first, front="place")
        assert label(WORDS, other, hypothesis) == expected


def test_a_clause_entails_itself() -> None:
    for premise, hypothesis, _ in CASES:
        for item in (premise, hypothesis):
            assert label(WORDS, item, item) == "entailment"
