"""The score of one pair against SciPy's linear programs, and what follows from its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from xlwh.consistency.transport import Problem, consistency, permutations, solve, weights
from xlwh.draws import key_of

GOLDEN_ORDERS = [[4, 2, 1, 0, 3, 5], [5, 4, 2, 1, 0, 3]]


def _program(w_s, w_t, similarity):
    """max sum f sim, with sum_j f_ij <= w_si, sum_i f_ij <= w_tj and f >= 0, by HiGHS."""
    n, m = similarity.shape
    rows = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    solved = linprog(-similarity.ravel(), A_ub=rows, b_ub=np.concatenate([w_s, w_t]), method="highs")
    assert solved.success
    return -solved.fun


def _pair(seed, n, m, normalization="abs"):
    generator = np.random.default_rng(seed)
    source, target = generator.normal(size=(n, 5)), generator.normal(size=(m, 5))
    source /= np.linalg.norm(source, axis=1, keepdims=True)
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    w_s, _ = weights(generator.normal(size=n), normalization)
    w_t, _ = weights(generator.normal(size=m), normalization)
    return w_s, w_t, source @ target.T


@pytest.mark.parametrize("normalization", ["abs", "relu", "min_max", "softmax"])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 6), (5, 3), (12, 12), (23, 31)])
def test_agrees_with_the_linear_program(normalization, n, m):
    for seed in range(5):
        w_s, w_t, similarity = _pair(seed, n, m, normalization)
        assert consistency(w_s, w_t, similarity) == pytest.approx(_program(w_s, w_t, similarity), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12))
def test_symmetric_and_between_0_and_1(seed, n, m):
    w_s, w_t, similarity = _pair(seed, n, m)
    score = consistency(w_s, w_t, similarity)
    assert 0 <= score <= 1
    assert score == pytest.approx(consistency(w_t, w_s, similarity.T), abs=1e-12)


def test_same_words_and_weights_score_1():
    w, _, _ = _pair(1, 9, 4)
    vectors = np.random.default_rng(0).normal(size=(9, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert consistency(w, w, vectors @ vectors.T) == pytest.approx(1, abs=1e-12)


def test_orthogonal_words_score_0_and_opposite_ones_too():
    half = np.array([0.5, 0.5])
    assert consistency(half, half, np.zeros((2, 2))) == 0
    assert consistency(half, half, -np.ones((2, 2))) == 0


def test_mass_may_stay_at_home():
    """By hand: .5 of the mass matches by 1; the rest faces -1 and is not moved. Balanced transport would move it."""
    half = np.array([0.5, 0.5])
    similarity = np.array([[1.0, -1.0], [-1.0, -1.0]])
    assert consistency(half, half, similarity) == pytest.approx(0.5)
    balanced = max(0.5 * 1.0 + 0.5 * -1.0, 0.5 * -1.0 + 0.5 * -1.0)
    assert consistency(half, half, similarity) > balanced
    assert consistency(half, half, similarity) == pytest.approx(_program(half, half, similarity))


def test_plain_balanced_transport_is_too_low_with_negative_similarities():
    import ot

    lower = 0
    for seed in range(20):
        w_s, w_t, similarity = _pair(seed, 6, 7)
        balanced = 1 - ot.emd2(w_s, w_t, 1 - similarity)
        assert balanced <= consistency(w_s, w_t, similarity) + 1e-12
        lower += balanced < consistency(w_s, w_t, similarity) - 1e-6
    assert lower > 10


def test_weights_by_hand():
    attributions = np.array([3.0, -1.0, 0.0])
    assert weights(attributions, "abs")[0].tolist() == [0.75, 0.25, 0]
    assert weights(attributions, "relu")[0].tolist() == [1, 0, 0]
    assert weights(attributions, "min_max")[0] == pytest.approx([0.8, 0, 0.2])
    assert weights(attributions, "softmax")[0] == pytest.approx(np.exp([3, -1, 0]) / np.exp([3, -1, 0]).sum())
    assert not any(weights(attributions, kind)[1] for kind in ("abs", "relu", "min_max", "softmax"))


@pytest.mark.parametrize(
    ("attributions", "normalization", "degenerate"),
    [
        ([0.0, 0.0], "abs", True),
        ([-1.0, -2.0], "relu", True),
        ([5.0, 5.0], "min_max", True),
        ([7.0], "min_max", True),
        ([5.0, 5.0], "softmax", False),
        ([1e-320, 0.0], "abs", False),
    ],
)
def test_weights_without_mass_are_uniform_and_flagged(attributions, normalization, degenerate):
    w, flag = weights(np.array(attributions), normalization)
    assert flag is degenerate
    assert w.sum() == pytest.approx(1, abs=1e-12)
    if degenerate:
        assert np.ptp(w) == 0


def test_large_softmax_does_not_overflow():
    assert weights(np.array([1e4, 0.0]), "softmax")[0].tolist() == [1, 0]


def _problem(seed=0, identical=False):
    pairs = [_pair(seed + k, 6, 8) for k in range(3)]
    return Problem(
        similarity=pairs[0][2],
        source_weights=np.stack([p[0] for p in pairs]),
        target_weights=np.stack([p[1] for p in pairs]),
        seeds=np.array([key_of("a", k) for k in range(3)], dtype=np.uint64),
        identical=identical,
    )


def test_solve_gives_score_and_both_nulls():
    problem = _problem()
    result = solve(problem, draws=7)
    uniform = consistency(np.full(6, 1 / 6), np.full(8, 1 / 8), problem.similarity)
    for row in range(3):
        w_s, w_t = problem.source_weights[row], problem.target_weights[row]
        shuffled = [
            consistency(w_s, w_t[order], problem.similarity)
            for order in permutations(problem.seeds[row], 7, 8)
        ]
        expected = [
            consistency(w_s, w_t, problem.similarity),
            uniform,
            np.mean(shuffled),
            np.std(shuffled, ddof=1),
        ]
        assert result[row] == pytest.approx(expected, abs=1e-12)


def test_one_draw_has_no_spread():
    assert solve(_problem(), draws=1)[:, 3].tolist() == [0, 0, 0]


def test_identical_sides_score_1_exactly():
    problem = _problem()
    square = Problem(
        similarity=np.eye(6),
        source_weights=problem.source_weights,
        target_weights=problem.source_weights,
        seeds=problem.seeds,
        identical=True,
    )
    result = solve(square, draws=5)
    assert (result[:, :2] == 1).all()
    assert (result[:, 2] < 1).all()


def test_shuffles_depend_on_names_only():
    assert key_of("1", "lig") == key_of(1, "lig")
    assert len({key_of("1", "lig"), key_of("2", "lig"), key_of("1", "random"), key_of("1l", "ig")}) == 4
    orders = permutations(key_of("x"), 5, 9)
    assert (np.sort(orders, axis=1) == np.arange(9)).all()
    assert (permutations(key_of("x"), 3, 9) == orders[:3]).all(), (
        "a draw does not depend on how many there are"
    )
    assert len({tuple(order) for order in orders}) == 5
    assert permutations(2024, 2, 6).tolist() == GOLDEN_ORDERS, "stored scores must stay reproducible"


def test_shuffles_are_uniform():
    """All 24 orders of 4 come equally often: chi-squared with 23 degrees of freedom, 99.9 % quantile 49.7."""
    for seed in range(5):
        orders = permutations(key_of(seed), 6000, 4)
        _, counts = np.unique(orders, axis=0, return_counts=True)
        assert len(counts) == 24
        assert ((counts - 250) ** 2 / 250).sum() < 49.7
