"""Matches by rank against a triple loop over concepts and words; the baselines keep what they should."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from xlwh.concepts import alignment_matches
from xlwh.concepts.alignment_matches import (
    Types,
    languages,
    matches,
    translations_of,
    types_of,
)
from xlwh.draws import stream


def world(seed: int, concepts: int = 8, vocabulary: int = 40, occurrences: int = 120):
    generator = np.random.default_rng(seed)
    sides = [
        pl.DataFrame(
            {
                "concept": generator.integers(0, concepts, occurrences).astype(np.int32),
                "word": [f"{side}{n}" for n in generator.integers(0, vocabulary, occurrences)],
            }
        )
        for side in "st"
    ]
    lexicon = pl.DataFrame(
        [
            {"source_word": f"s{n}", "target_word": f"t{word}", "rank": rank, "file_rank": file_rank + 1}
            for n in range(vocabulary + 5)
            for order in [generator.permutation(6)]
            for rank, (word, file_rank) in enumerate(
                zip(generator.permutation(vocabulary + 5)[:6], order, strict=True), start=1
            )
        ]
    )
    return sides, lexicon


def loop(sides, lexicon, depth):
    """(source concept, target concept) -> matched words by depth, for both orders."""
    inside = [
        {
            concept: set(part["word"])
            for (concept,), part in side.partition_by("concept", as_dict=True).items()
        }
        for side in sides
    ]
    found = {}
    for s, source in inside[0].items():
        for t, target in inside[1].items():
            counts = [
                [
                    sum(
                        any(
                            row["target_word"] in target
                            for row in lexicon.filter(
                                (pl.col("source_word") == word) & (pl.col(order) <= n)
                            ).iter_rows(named=True)
                        )
                        for word in source
                    )
                    for n in range(1, depth + 1)
                ]
                for order in ("rank", "file_rank")
            ]
            if max(map(max, counts)):
                found[s, t] = (len(source), len(target), *counts)
    return found


@pytest.mark.parametrize(("depth", "floor"), [(6, 0.0), (3, 0.0), (6, 0.6)])
def test_agrees_with_a_loop(depth, floor, monkeypatch):
    monkeypatch.setattr(alignment_matches, "CELLS_AT_ONCE", 16)
    sides, lexicon = world(0, concepts=5, vocabulary=25, occurrences=60)
    types = [types_of(side, 5) for side in sides]
    translations = translations_of(lexicon, *types, depth)
    found = matches(*types, translations, floor=floor, draws=1, seed=(0,)).filter(
        pl.col("baseline") == "none"
    )
    got = {tuple(row[2:4]): tuple(row[4:]) for row in found.rows()}
    expected = {
        pair: row
        for pair, row in loop(sides, lexicon, depth).items()
        if max(max(row[2]), max(row[3])) / row[0] >= floor
    }
    assert got == expected
    assert found["draw"].unique().to_list() == [0]


def test_random_labels_keep_sizes_and_words():
    sides, _ = world(1)
    types = types_of(sides[0], 9)
    shuffled = types.shuffled(stream(0))
    assert shuffled.sizes.tolist() == types.sizes.tolist()
    assert types.sizes[8] == 0
    for side in (types, shuffled):
        assert len(set(zip(side.concepts, side.words, strict=True))) == len(side.words)
    assert np.bincount(shuffled.words).tolist() == np.bincount(types.words).tolist()
    assert shuffled.words.tolist() != types.words.tolist()


def test_words_in_every_concept_cannot_be_shuffled_apart():
    types = Types(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), ["a", "b"], 2)
    assert types.shuffled(stream(0)).sizes.max() <= 2


def test_baselines_are_the_same_whatever_else_is_drawn():
    sides, lexicon = world(2)
    types = [types_of(side, 8) for side in sides]
    translations = translations_of(lexicon, *types, 6)
    few, many = (
        matches(*types, translations, floor=0.0, draws=draws, seed=("a", 1)).filter(pl.col("draw") == 2)
        for draws in (2, 4)
    )
    assert few.equals(many)
    other = matches(*types, translations, floor=0.0, draws=2, seed=("b", 1)).filter(pl.col("draw") == 2)
    assert not few.equals(other)


def test_a_shuffled_lexicon_covers_the_same_words():
    """One word a concept, one translation a word: the same number of concepts match, others."""
    sides = [pl.DataFrame({"concept": range(20), "word": [f"{side}{n}" for n in range(20)]}) for side in "st"]
    lexicon = pl.DataFrame(
        [{"source_word": f"s{n}", "target_word": f"t{n}", "rank": 1, "file_rank": 1} for n in range(15)]
    )
    types = [types_of(side, 20) for side in sides]
    found = matches(*types, translations_of(lexicon, *types, 5), floor=0.5, draws=1, seed=(0,))
    pairs = {
        name: part.select("source_concept", "target_concept").rows()
        for (name,), part in found.partition_by("baseline", as_dict=True).items()
    }
    assert pairs["none"] == [(n, n) for n in range(15)]
    shuffled = pairs["shuffled_lexicon"]
    assert sorted(s for s, _ in shuffled) == sorted(t for _, t in shuffled) == list(range(15))
    assert shuffled != pairs["none"]


def test_languages_of_concepts_and_their_chance():
    members = pl.DataFrame(
        {
            "concept": [0, 0, 0, 1, 1],
            "language": ["en", "en", "de", "de", "de"],
            "word": ["a", "a", "a", "b", "c"],
        }
    )
    found = languages(members, draws=3, seed=(0,))
    assert found.filter(pl.col("baseline") == "none").rows() == [
        ("none", 0, 0, "de", 1, 1),
        ("none", 0, 0, "en", 2, 1),
        ("none", 0, 1, "de", 2, 2),
    ]
    for (_,), part in found.filter(pl.col("draw") > 0).partition_by("draw", as_dict=True).items():
        assert part.group_by("concept").agg(pl.col("num_tokens").sum()).sort("concept").rows() == [
            (0, 3),
            (1, 2),
        ]
        assert part.group_by("language").agg(pl.col("num_tokens").sum()).sort("language").rows() == [
            ("de", 3),
            ("en", 2),
        ]
    assert found.equals(languages(members.sample(fraction=1, shuffle=True, seed=1), draws=3, seed=(0,)))
