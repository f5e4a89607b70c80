"""Entities of IOB tags: hand cases, and seqeval on random sequences, broken ones included."""

from __future__ import annotations

import random

import pytest

from xlwh.models.entities import entities, entity_f1, is_iob

seqeval = pytest.importorskip("seqeval.metrics")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O", set()),
        ("B-PER I-PER O B-LOC", {("PER", 0, 2), ("LOC", 3, 4)}),
        ("I-PER I-PER", {("PER", 0, 2)}),
        ("B-PER I-LOC I-LOC", {("PER", 0, 1), ("LOC", 1, 3)}),
        ("B-PER B-PER I-PER", {("PER", 0, 1), ("PER", 1, 3)}),
        ("O I-ORG O I-ORG", {("ORG", 1, 2), ("ORG", 3, 4)}),
    ],
)
def test_hand_cases(tags: str, expected: set[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == expected


def test_agrees_with_seqeval_on_anything() -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    generator = random.Random(4)
    tags = ["O", *(f"{p}-{k}" for p in "BI" for k in ("PER", "LOC"))]
    for _ in range(500):
        sentence = generator.choices(tags, k=generator.randint(1, 9))
        assert entities(sentence) == {(k, a, b + 1) for k, a, b in get_entities(sentence)}


def test_f1_agrees_with_seqeval() -> None:
    generator = random.Random(5)
    tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    gold = [generator.choices(tags, k=8) for _ in range(50)]
    predicted = [[generator.choice([tag, tag, "O", "B-LOC"]) for tag in row] for row in gold]
    pairs = [(entities(g), entities(p)) for g, p in zip(gold, predicted, strict=True)]
    ours = entity_f1(
        sum(len(g & p) for g, p in pairs), sum(len(g) for g, _ in pairs), sum(len(p) for _, p in pairs)
    )
    assert ours == pytest.approx(seqeval.f1_score(gold, predicted), abs=1e-12)
    assert entity_f1(0, 0, 0) == 0.0


def test_which_tags_make_entities() -> None:
    assert is_iob(["O", "B-PER", "I-PER"])
    assert not is_iob(["O"])
    assert not is_iob(["NOUN", "VERB", "O"])
