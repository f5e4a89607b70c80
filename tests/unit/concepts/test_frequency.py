"""The frequency policy: counts, the seeded reservoir, and that neither depends on how a corpus is cut."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest

from xlwh.concepts.frequency import Policy, choose, occurrences
from xlwh.corpora import spans
from xlwh.store import schema

SENTENCES = [("the", "cat", "the", "mat"), ("the", "dog"), (), ("a", "cat", "The")] * 5


def rows(
    sentences: list[tuple[str, ...]], seed: int = 0, first: int = 0, language: str = "en"
) -> pl.DataFrame:
    examples = [
        {
            "dataset": "d",
            "language": language,
            "example_id": f"s{first + number}",
            "text": " ".join(words),
            "words": words,
            "word_spans": [{"start": start, "end": end} for start, end in spans.joined(words)],
        }
        for number, words in enumerate(sentences)
    ]
    return occurrences(pl.DataFrame(examples, schema=schema("examples")), seed)


def test_occurrences_are_the_words_in_order() -> None:
    found = rows(SENTENCES[:4])
    assert found["word"].to_list() == [word for sentence in SENTENCES[:4] for word in sentence]
    assert found["example"].to_list() == [0, 0, 0, 0, 1, 1, 3, 3, 3]
    assert found["word_index"].to_list() == [0, 1, 2, 3, 0, 1, 0, 1, 2]
    assert found["key"].n_unique() == found.height


def test_rare_types_are_left_out_and_case_is_kept() -> None:
    found = rows(SENTENCES)
    choice = choose([found], Policy(min_count=10, max_occurrences=None, seed=0))
    assert dict(choice.limits.select("word", "count").rows()) == {"cat": 10, "the": 15}
    assert (choice.num_types, choice.num_tokens, choice.num_kept_types) == (6, 45, 2)
    kept = choice.of(found)
    assert kept.columns == ["example", "word_index", "word"]
    assert Counter(kept["word"]) == {"the": 15, "cat": 10}
    assert kept["example"].is_sorted()


def test_the_same_occurrences_are_kept_wherever_the_corpus_is_cut() -> None:
    policy = Policy(min_count=1, max_occurrences=4, seed=3)
    whole = rows(SENTENCES, seed=3)
    parts = [rows(SENTENCES[start : start + 3], seed=3, first=start) for start in range(0, 20, 3)]
    together = choose([whole], policy).of(whole)
    choice = choose(reversed(parts), policy)
    apart = pl.concat(
        choice.of(part).with_columns(pl.col("example") + 3 * number) for number, part in enumerate(parts)
    )
    assert together.equals(apart)
    assert Counter(together["word"]) == {"the": 4, "cat": 4, "mat": 4, "dog": 4, "a": 4, "The": 4}


def test_the_seed_and_the_language_draw_differently() -> None:
    def kept(seed: int, language: str = "en") -> list[int]:
        found = rows([("x",)] * 400, seed=seed, language=language)
        return choose([found], Policy(1, 20, seed)).of(found)["example"].to_list()

    assert kept(0) == kept(0)
    assert kept(0) != kept(1)
    assert kept(0) != kept(0, "de")


def test_every_occurrence_is_as_likely_to_be_kept() -> None:
    counts = np.zeros(50)
    for seed in range(400):
        found = rows([("x",) * 5] * 10, seed=seed)
        kept = choose([found], Policy(1, 10, seed)).of(found)
        counts[(kept["example"] * 5 + kept["word_index"]).to_numpy()] += 1
    assert counts.sum() == 4000
    # 400 draws with a share of a fifth: 80 expected, standard deviation 8.
    assert counts.min() > 80 - 4.5 * 8
    assert counts.max() < 80 + 4.5 * 8


@pytest.mark.parametrize("keep", [None, 3])
def test_an_empty_corpus_keeps_nothing(keep: int | None) -> None:
    choice = choose([rows([])], Policy(1, keep, 0))
    assert choice.num_kept_types == choice.num_tokens == 0
    assert choice.of(rows([("x",)])).height == 0
