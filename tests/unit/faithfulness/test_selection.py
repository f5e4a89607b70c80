"""What is kept of an input, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from xlwh.faithfulness.selection import (
    keep_probability,
    kept,
    kept_hash,
    order,
    rationale_size,
    reversed_probability,
)

FREE = np.array([False, True, True, True, True, False])
SCORES = np.array([9.0, 1.0, 3.0, 3.0, -2.0, 9.0])


@pytest.mark.parametrize(
    ("ratio", "size", "k"),
    [(0.01, 5, 1), (0.2, 35, 7), (0.2, 36, 8), (0.5, 5, 3), (1.0, 5, 5), (0.1, 0, 0), (0.1, 30, 3)],
)
def test_the_rationale_is_the_ceiling(ratio: float, size: int, k: int) -> None:
    assert rationale_size(ratio, size) == k


def test_ties_are_broken_by_position_and_special_tokens_are_out() -> None:
    assert order(SCORES, FREE).tolist() == [2, 3, 1, 4]


def test_the_two_sides_are_complements_among_the_attributable() -> None:
    ordered = order(SCORES, FREE)
    suff = kept(ordered, 1, FREE, "sufficiency")
    comp = kept(ordered, 1, FREE, "comprehensiveness")
    assert suff.tolist() == [True, False, True, False, False, True]
    assert comp.tolist() == [True, True, False, True, True, True]


def test_equal_sets_have_equal_hashes_whatever_stays_anyway() -> None:
    ordered = order(SCORES, FREE)
    one = kept(ordered, 4, FREE, "sufficiency")
    other = kept(ordered, 0, FREE, "comprehensiveness")
    assert kept_hash(one, FREE) == kept_hash(other, FREE) == kept_hash(one | ~FREE, FREE)
    assert kept_hash(one, FREE) != kept_hash(kept(ordered, 3, FREE, "sufficiency"), FREE)


def test_soft_probabilities_are_min_max_over_the_attributable() -> None:
    assert keep_probability(SCORES, FREE, "sufficiency").tolist() == [1, 0.6, 1, 1, 0, 1]
    comp = keep_probability(SCORES, FREE, "comprehensiveness")
    np.testing.assert_allclose(comp, [1, 0.4, 0, 0, 1, 1])
    assert keep_probability(np.ones(6), FREE, "sufficiency").tolist() == [1, 0.5, 0.5, 0.5, 0.5, 1]


def test_the_published_code_reverses_them_and_masks_special_tokens_too() -> None:
    scores = np.array([0.0, 1.0, 3.0, 3.0, 0.0, 0.0])
    # With -1 for the two special tokens, the scores -1, 1, 3, 3, 0, -1 are scaled by their range of 4.
    kept_by_comp = [0, 0.5, 1, 1, 0.25, 0]
    assert reversed_probability(scores, FREE, "comprehensiveness").tolist() == kept_by_comp
    assert reversed_probability(scores, FREE, "sufficiency").tolist() == [1 - q for q in kept_by_comp]
