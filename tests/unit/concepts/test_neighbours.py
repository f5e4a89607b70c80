"""Nearest neighbours against every cosine computed and sorted."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from xlwh.concepts.neighbours import CosineIndex, WordIndex
from xlwh.errors import MissingDataError


def brute_force(vectors, row, among):
    centred = vectors - vectors.mean(axis=0)
    cosines = [
        float(np.dot(one, centred[row]) / np.linalg.norm(one) / np.linalg.norm(centred[row]))
        for one in centred
    ]
    found = [other for other in np.argsort(-np.array(cosines)) if other != row and among[other]]
    return found, [cosines[other] for other in found]


@pytest.mark.parametrize("share", [1.0, 0.5, 0.03])
def test_neighbours_are_those_of_brute_force(share):
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((400, 24)) + 5  # a large common direction
    among = rng.random(400) < share
    index = CosineIndex(vectors)
    for row in (0, 17, 399):
        rows, cosines = index.near(row, 9, among)
        expected, values = brute_force(vectors, row, among)
        assert rows.tolist() == expected[:9]
        assert cosines == pytest.approx(values[:9], abs=1e-5)


def test_no_more_than_there_are_and_never_itself():
    vectors = np.eye(4, dtype=np.float32)
    vectors[3] = vectors[0]  # a copy of row 0 is a neighbour of it, row 0 is not
    index = CosineIndex(vectors)
    assert index.near(0, 99)[0][0] == 3
    assert sorted(index.near(0, 99)[0].tolist()) == [1, 2, 3]
    assert index.near(0, 99, np.array([True, False, False, False]))[0].tolist() == []
    assert index.near(1, 0)[0].tolist() == []


def test_the_mean_is_near_nothing():
    rows, cosines = CosineIndex(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])).near(2, 2)
    assert sorted(rows.tolist()) == [0, 1]
    assert cosines.tolist() == [0.0, 0.0]


def test_words_of_each_language():
    rng = np.random.default_rng(0)
    types = pl.DataFrame(
        {
            "language": ["de"] * 30 + ["en"] * 40,
            "word": [f"w{number}" for number in range(70)],
            "occurrences": range(1, 71),
        }
    )
    vectors = rng.standard_normal((70, 8)).astype(np.float32)
    index = WordIndex(types, vectors)
    found = index.near("w35", "en", 4)
    assert found["language"].to_list() == ["de"] * 4 + ["en"] * 4
    for language, span in (("de", range(30)), ("en", range(30, 70))):
        expected, _ = brute_force(vectors, 35, np.isin(np.arange(70), span))
        own = found.filter(language=language)
        assert own["word"].to_list() == [f"w{number}" for number in expected[:4]]
        assert own["occurrences"].to_list() == [number + 1 for number in expected[:4]]
    assert index.near("w35", "en", 4, ("de", "de"))["language"].to_list() == ["de"] * 4
    assert index.near("w35", "en", 4, ("fr",)).is_empty()
    with pytest.raises(MissingDataError, match="Similar: w35"):
        index.near("w35x", "en", 4)
