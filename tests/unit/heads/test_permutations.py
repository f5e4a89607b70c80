"""Draws are functions of numbers, uniform, and shared by languages."""

from __future__ import annotations

import numpy as np
import pytest

from xlwh.heads.permutations import drawn_examples, permutations

NUMBERS = np.arange(4000)


def test_permutations_depend_on_their_number_alone():
    whole = permutations(7, NUMBERS[:100], 9)
    np.testing.assert_array_equal(permutations(7, NUMBERS[40:60], 9), whole[40:60])
    assert (np.sort(whole, axis=1) == np.arange(9)).all()
    assert not (permutations(8, NUMBERS[:100], 9) == whole).all()


def test_permutations_are_uniform_and_independent_of_their_neighbours():
    orders = permutations(0, np.arange(24_000), 4)
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 1000) ** 2 / 1000).sum() < 50  # chi-squared with 23 degrees: 50 is its 99.9 % quantile
    same = (orders[1:] == orders[:-1]).mean()
    assert same == pytest.approx(0.25, abs=0.01)


def test_antithetic_pairs_are_reverses():
    orders = permutations(3, NUMBERS[:50], 6, antithetic=True)
    np.testing.assert_array_equal(orders[1::2], orders[::2, ::-1])
    ids = [f"e{i}" for i in range(5)]
    drawn = drawn_examples(3, NUMBERS[:50], ids, antithetic=True)
    np.testing.assert_array_equal(drawn[1::2], drawn[::2])


def test_examples_are_drawn_in_proportion_to_their_weights():
    ids = ["a", "b", "c"]
    drawn = drawn_examples(1, NUMBERS, ids, np.array([1.0, 2.0, 5.0]))
    shares = np.bincount(drawn) / len(drawn)
    np.testing.assert_allclose(shares, [1 / 8, 2 / 8, 5 / 8], atol=0.03)
    even = np.bincount(drawn_examples(1, NUMBERS, ids)) / len(NUMBERS)
    np.testing.assert_allclose(even, 1 / 3, atol=0.03)


def test_a_language_that_lacks_examples_shares_the_others():
    ids = [f"{i}" for i in range(50)]
    some = ids[:5] + ids[10:]
    whole = np.array(ids)[drawn_examples(2, NUMBERS, ids)]
    part = np.array(some)[drawn_examples(2, NUMBERS, some)]
    kept = np.isin(whole, some)
    np.testing.assert_array_equal(part[kept], whole[kept])
    shuffled = ids[::-1]
    np.testing.assert_array_equal(np.array(shuffled)[drawn_examples(2, NUMBERS, shuffled)], whole)


def test_no_examples_are_an_error():
    with pytest.raises(ValueError, match="no examples"):
        drawn_examples(0, NUMBERS, [])
