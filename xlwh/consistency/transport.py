"""The score of one parallel pair: exact optimal transport between two weighted sets of words.

C(s, t) = max sum f_ij sim(i, j) subject to sum_j f_ij <= w_si, sum_i f_ij <= w_tj, f >= 0. The marginals are
inequalities, so mass need not travel over a negative similarity, and with weights that sum to 1 on both sides
C(s, t) = 1 - EMD(w_s, w_t, 1 - max(sim, 0)) exactly. Balanced transport on 1 - sim would score too low.

Source: "Do multi-lingual pre-trained language models reveal consistent token attributions in different
languages?" (CCTA). Only NumPy and, when something is solved, POT are imported: worker processes start from here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xlwh.draws import GOLDEN_GAMMA, splitmix64
from xlwh.errors import XlwhError

Float = NDArray[np.float64]
Normalization = Literal["abs", "relu", "min_max", "softmax"]

_MAX_PIVOTS = 10_000_000
"""Of the network simplex; sentences take hundreds."""
_OPTIMAL = 1
"""POT's code for a solved problem."""


@dataclass(frozen=True)
class Problem:
    """One pair of texts and every weighting of it that is to be scored."""

    similarity: NDArray[np.floating[Any]]
    """`[n_s, n_t]`, cosines; negative ones count as 0."""
    source_weights: Float
    """`[k, n_s]`, each row summing to 1."""
    target_weights: Float
    """`[k, n_t]`, each row summing to 1."""
    seeds: NDArray[np.uint64]
    """`[k]`, of the shuffled null."""
    identical: bool = False
    """The two sides are the same text: the score and the uniform null are 1 by identity."""


def weights(attributions: Float, normalization: Normalization) -> tuple[Float, bool]:
    """Weights `[n]` >= 0 that sum to 1, and whether they are degenerate: uniform because all came out as zero.

    `abs` |a|, `relu` max(a, 0) and `min_max` (a - min) / (max - min) are divided by their sum; `softmax` is
    exp(a) / sum exp(a).
    """
    a = np.asarray(attributions, dtype=np.float64)
    if normalization == "abs":
        raw = np.abs(a)
    elif normalization == "relu":
        raw = np.maximum(a, 0.0)
    elif normalization == "min_max":
        raw = a - a.min()
    else:
        raw = np.exp(a - a.max())
    largest = raw.max()
    if largest == 0.0:
        return np.full(len(a), 1.0 / len(a)), True
    # Scaled first: sums of subnormal numbers lose the precision that the marginals need.
    scaled = raw / largest
    return scaled / scaled.sum(), False


def permutations(seed: int | np.uint64, draws: int, n: int) -> NDArray[np.intp]:
    """`[draws, n]` permutations: the order of SplitMix64's values at (seed, draw, index).

    Each draw depends on its own number alone.
    """
    streams = splitmix64(np.uint64(seed) + np.arange(1, draws + 1, dtype=np.uint64) * GOLDEN_GAMMA)
    return np.argsort(
        splitmix64(streams[:, None] + np.arange(1, n + 1, dtype=np.uint64) * GOLDEN_GAMMA), axis=1
    )


def consistency(source_weights: Float, target_weights: Float, similarity: NDArray[np.floating[Any]]) -> float:
    """C(s, t) in [0, 1] of weights `[n_s]`, `[n_t]` and cosines `[n_s, n_t]`."""
    return _score(_solver(), source_weights, target_weights, _cost(similarity))


def plan(source_weights: Float, target_weights: Float, similarity: NDArray[np.floating[Any]]) -> Float:
    """The transport `[n_s, n_t]` behind the score: mass from each source to each target word, summing to 1.

    Mass that travels where the similarity is not positive is in it too; it adds nothing to the score.
    """
    scaled = target_weights * (source_weights.sum() / target_weights.sum())
    mass, _, _, _, code = _solver()(source_weights, scaled, _cost(similarity), _MAX_PIVOTS, 1)
    if code != _OPTIMAL:
        raise _unsolved(len(source_weights), len(target_weights), code)
    return np.asarray(mass, dtype=np.float64)


def solve(problem: Problem, draws: int) -> Float:
    """`[k, 4]`: score, score at uniform weights, mean and standard deviation over shuffles of the target's weights.

    The standard deviation is that of a sample (n - 1), 0 for a single draw. The cost matrix is made once, and so
    is the uniform null, which all weightings share.
    """
    emd = _solver()
    n_s, n_t = problem.similarity.shape
    cost = _cost(problem.similarity)
    result = np.ones((len(problem.seeds), 4))
    if not problem.identical:
        result[:, 1] = _score(emd, np.full(n_s, 1.0 / n_s), np.full(n_t, 1.0 / n_t), cost)
    for row, (w_s, w_t, seed) in enumerate(
        zip(problem.source_weights, problem.target_weights, problem.seeds, strict=True)
    ):
        if not problem.identical:
            result[row, 0] = _score(emd, w_s, w_t, cost)
        shuffled = w_t[permutations(seed, draws, n_t)]
        scores = np.array([_score(emd, w_s, w, cost) for w in shuffled])
        result[row, 2] = scores.mean()
        result[row, 3] = scores.std(ddof=1) if draws > 1 else 0.0
    return result


def solve_chunk(problems: Sequence[Problem], draws: int) -> Float:
    """`[sum of k, 4]`: the results of `solve`, one problem after the other."""
    return np.concatenate([solve(problem, draws) for problem in problems])


def _cost(similarity: NDArray[np.floating[Any]]) -> Float:
    # Cosines of rounded vectors may exceed 1 in the last bit, which would be a negative cost.
    return np.ascontiguousarray(1.0 - np.clip(similarity.astype(np.float64), 0.0, 1.0))


def _score(emd: Callable[..., Any], source: Float, target: Float, cost: Float) -> float:
    # The simplex wants marginals of equal sum, and a permutation changes a sum in its last bit.
    _, value, _, _, code = emd(source, target * (source.sum() / target.sum()), cost, _MAX_PIVOTS, 1)
    if code != _OPTIMAL:
        raise _unsolved(len(source), len(target), code)
    return min(1.0, max(0.0, 1.0 - float(value)))


def _unsolved(n_s: int, n_t: int, code: int) -> XlwhError:
    return XlwhError(f"Optimal transport between {n_s} and {n_t} words was not solved (POT code {code}).")


@cache
def _solver() -> Callable[..., Any]:
    """POT's network simplex on float64 arrays, without the checks and the duals of `ot.emd`: half the time."""
    # Before the import: POT otherwise loads torch, which costs seconds and makes forked workers hang.
    os.environ.setdefault("POT_BACKEND_DISABLE_PYTORCH", "1")
    from ot.lp.emd_wrap import emd_c

    solver: Callable[..., Any] = emd_c
    return solver
