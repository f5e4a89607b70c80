"""Kinds of concepts counted at the thresholds, by hand."""

from __future__ import annotations

import pytest

NAME = {"model": "m", "clustering": "mixed"}
LEXICAL = {"num_types": 10, "affix_types": 8, "affix_p": 0.001, "affix": "ing", "affix_kind": "suffix"}


@pytest.fixture
def counted(connect):
    """counted([concepts]): kind -> (judged, found) of one clustering of two languages."""

    def build(concepts, query="concept_kind_counts", languages=("en", "de")):
        database = connect(
            clusterings=[{**NAME, "scope": "mixed:en+de", "languages": list(languages)}],
            concept_kinds=[
                {**NAME, "concept": number, "num_tokens": 10, "language_tokens": 10, **concept}
                for number, concept in enumerate(concepts)
            ],
        )
        rows = database.sql(f"select kind, judged, found, share from {query}").fetchall()
        assert all(share == (found / judged if judged else None) for _, judged, found, share in rows)
        return {kind: (judged, found) for kind, judged, found, _ in rows}

    return build


def test_lexical_concepts_share_an_affix_beyond_chance(counted):
    concepts = [
        LEXICAL,
        {**LEXICAL, "affix_types": 7},
        {**LEXICAL, "affix_p": 0.02},
        {"num_types": 2},
        {"num_types": 5},
    ]
    assert counted(concepts)["lexical"] == (4, 1)
    assert counted(concepts, "concept_kinds_at(least_share := 0.7, alpha := 0.05)")["lexical"] == (4, 3)


def test_tags_prevail(counted):
    noun, person = {"num_pos_tagged": 10, "pos": "NOUN"}, {"num_entity_tagged": 10}
    found = counted(
        [
            {**noun, "pos_tokens": 8},
            {**noun, "pos_tokens": 7},
            {**noun, "num_pos_tagged": 2, "pos_tokens": 2},
            {**person, "entity": "PER", "entity_tokens": 9},
            {**person, "entity": "O", "entity_tokens": 10},
        ]
    )
    assert found["part_of_speech"] == (2, 1)
    assert found["named_entity"] == (2, 1)
    assert found["lexical"] == (0, 0)


def test_multilingual_concepts_have_no_prevailing_language(counted):
    concepts = [{"language_tokens": tokens} for tokens in (10, 9, 8, 5)]
    assert counted(concepts)["multilingual"] == (4, 2)
    assert "multilingual" not in counted(concepts, languages=("en",))
