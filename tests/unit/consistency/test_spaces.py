"""Alignment of embeddings: planted rotations, means, and what the report says of them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import ortho_group

from xlwh.consistency.pairs import vectors
from xlwh.consistency.spaces import Rotation, agree, align, mean_of_pieces, pivot_mean, procrustes, unit
from xlwh.corpora.dictionaries import Dictionary
from xlwh.errors import CorpusError


@pytest.fixture
def generator():
    return np.random.default_rng(7)


def test_procrustes_recovers_a_planted_rotation(generator):
    planted = ortho_group.rvs(16, random_state=3)
    pivot = unit(generator.normal(size=(400, 16)))
    matrix = procrustes(pivot @ planted.T, pivot)
    np.testing.assert_allclose(matrix, planted, atol=1e-6)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(16), atol=1e-12)


def test_directions_without_pairs_stay_as_they_are(generator):
    """Three pairs in ten dimensions fix three directions only; the others are not turned at random."""
    pivot = np.zeros((3, 10))
    pivot[:, :3] = np.eye(3)
    np.testing.assert_allclose(procrustes(pivot, pivot), np.eye(10), atol=1e-9)
    swapped = pivot[[1, 0, 2]]
    matrix = procrustes(swapped, pivot)
    np.testing.assert_allclose(matrix[3:, 3:], np.eye(7), atol=1e-6)
    np.testing.assert_allclose(swapped @ matrix, pivot, atol=1e-6)


def test_unit_keeps_zeros():
    assert unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0, 0]]


def test_mean_of_pieces_by_hand():
    embedding = np.array([[1, 0], [0, 1], [4, 4]], dtype=np.float32)
    vectors, covered = mean_of_pieces(embedding, np.array([0, 1, 2, 2]), np.array([0, 0, 2, 3]), 5)
    assert vectors.tolist() == [[0.5, 0.5], [0, 0], [4, 4], [4, 4], [0, 0]]
    assert covered.tolist() == [True, False, True, True, False]


def test_mean_of_no_pieces():
    vectors, covered = mean_of_pieces(np.ones((3, 2), np.float32), np.zeros(0, int), np.zeros(0, int), 2)
    assert vectors.tolist() == [[0, 0], [0, 0]]
    assert not covered.any()


class _Language:
    """Words `<name>0`, `<name>1`, ... with given vectors."""

    def __init__(self, name, vectors):
        self.vectors = {f"{name}{i}": vector for i, vector in enumerate(vectors)}

    def __call__(self, words):
        size = len(next(iter(self.vectors.values())))
        covered = np.array([word in self.vectors for word in words])
        return np.array([self.vectors.get(word, np.zeros(size)) for word in words]), covered


def _planted(generator, count=600, size=12, noise=0.02):
    """A foreign language that is the pivot language turned, moved and stretched, and its dictionary."""
    pivot = unit(generator.normal(size=(count, size)))
    turned = pivot @ ortho_group.rvs(size, random_state=1) + noise * generator.normal(size=(count, size))
    moved = unit(turned + 0.1 * generator.normal(size=size)) * generator.uniform(0.5, 3, size=(count, 1))
    dictionary = Dictionary(tuple((f"p{i}", f"f{i}") for i in range(count)), count, 0)
    return _Language("p", pivot), _Language("f", moved), dictionary


def test_alignment_brings_translations_together(generator):
    pivot, foreign, dictionary = _planted(generator)
    mean = pivot_mean(dictionary, pivot)
    rotation, report = align(dictionary, pivot, foreign, mean)
    assert (report.pairs, report.used, report.identical) == (600, 600, 0)
    assert 30 < report.held_out < 100
    assert report.precision_before < 0.1
    assert report.precision_after > 0.95
    words = [f"f{i}" for i in range(50)]
    aligned = unit(rotation.apply(foreign(words)[0]))
    there = unit(Rotation(mean, None).apply(pivot([f"p{i}" for i in range(50)])[0]))
    assert (aligned * there).sum(axis=1).min() > 0.9


def test_pairs_without_vectors_are_left_out_and_counted(generator):
    pivot, foreign, dictionary = _planted(generator)
    more = Dictionary((*dictionary.pairs, ("p1", "unknown"), ("unknown", "f1"), ("p2", "f3")), 603, 0)
    _, report = align(more, pivot, foreign, pivot_mean(dictionary, pivot))
    assert (report.pairs, report.used) == (603, 601)


def test_no_usable_pair_is_an_error(generator):
    pivot, foreign, dictionary = _planted(generator, count=5)
    with pytest.raises(CorpusError, match=r"None of the dictionary's 1 pairs"):
        align(Dictionary((("x", "y"),), 1, 0), pivot, foreign, pivot_mean(dictionary, pivot))


def test_equal_words_are_not_looked_up(generator):
    pivot, foreign, dictionary = _planted(generator)
    same = _Language("p", list(foreign.vectors.values()))
    pairs = Dictionary(tuple((p, p) for p, _ in dictionary.pairs), 600, 0)
    _, report = align(pairs, pivot, same, pivot_mean(pairs, pivot))
    assert report.identical == 600
    assert report.held_out == 0
    assert report.precision_after is None


def test_held_out_words_do_not_depend_on_the_order(generator):
    pivot, foreign, dictionary = _planted(generator)
    mean = pivot_mean(dictionary, pivot)
    shuffled = Dictionary(tuple(generator.permutation(dictionary.pairs).tolist()), 600, 0)
    reversed_pairs = tuple((str(p), str(f)) for p, f in shuffled.pairs)
    first = align(dictionary, pivot, foreign, mean)[1]
    second = align(Dictionary(reversed_pairs, 600, 0), pivot, foreign, mean)[1]
    assert first == second


def _space(words, matrix):
    return vectors(pl.DataFrame({"word": words, "vector": matrix.tolist()}))


def test_files_that_nobody_aligned_are_told_by_the_words_they_share(generator):
    """Names and numbers are spelt alike: near each other in aligned files, anywhere in others."""
    shared = [f"Name{i}" for i in range(60)]
    common = generator.normal(size=(60, 50))
    source = _space([*shared, "house"], np.vstack([common, generator.normal(size=(1, 50))]))
    noisy = common + generator.normal(size=common.shape)
    turned = noisy @ ortho_group.rvs(50, random_state=1)
    german = generator.normal(size=(1, 50))
    assert agree(source, _space([*shared, "haus"], np.vstack([noisy, german]))) is True
    assert agree(source, _space([*shared, "haus"], np.vstack([turned, german]))) is False
    # A direction that all vectors share, as raw embeddings have one, is no agreement.
    assert agree(_space(shared, common + 3), _space(shared, turned + 3)) is False
    assert agree(source, _space(shared[:19], noisy[:19])) is None
    assert agree(source, _space(["haus"], german)) is None
