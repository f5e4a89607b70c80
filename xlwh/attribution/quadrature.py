"""Adaptive integration of a vector-valued density along [0, 1] whose total is known on every interval.

Along the path of integrated gradients the attributions of the tokens add up to the directional derivative of
the model's output F, so over any panel [a, b] their exact sum is F(b) - F(a). The quadrature error of every
panel is therefore known, not estimated. `PathIntegral` uses that: it splits the panels that miss and stops when
the sum of absolute panel errors is within the tolerance.

Panels are dyadic and carry Simpson's rule on (a, (a+b)/2, b): halving a panel re-uses all three nodes, and every
node's F comes with its gradient, so no evaluation is wasted and no extra forward rows are needed. Two sibling
panels together hold the five nodes of Boole's rule; whichever of the two rules has the smaller known error is used.
Pure NumPy: this module knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xlwh.attribution.base import EPSILON, Attribution

Panel = tuple[int, int]
"""(level, index): the interval [index, index + 1] / 2**level."""

START_LEVEL = 2
MAX_LEVEL = 20
SPLIT_UNTIL = 0.85
"""Panels are split, largest error first, until the untouched ones hold at most this share of the allowance."""

_SIMPSON = np.array([1.0, 4.0, 1.0]) / 6.0
_BOOLE = np.array([7.0, 32.0, 12.0, 32.0, 7.0]) / 90.0


@dataclass(frozen=True)
class _Piece:
    """One or two sibling panels integrated by one rule: node positions, weights, and the known error."""

    panels: tuple[Panel, ...]
    nodes: tuple[float, ...]
    weights: NDArray[np.float64]
    error: float


class PathIntegral:
    """One example's integral, refined round by round by whoever evaluates the nodes.

    Use: while `requests()` is not empty, evaluate F and the token densities there and `supply` them; then `result()`.

    tolerance: sum of absolute panel errors allowed, relative to max(|F(1) - F(0)|, epsilon).
    max_rows: nodes after which refinement stops, whatever the error.
    """

    def __init__(self, tolerance: float, max_rows: int, epsilon: float = EPSILON) -> None:
        self._tolerance = tolerance
        self._max_rows = max_rows
        self._epsilon = epsilon
        self._f: dict[float, float] = {}
        self._density: dict[float, NDArray[np.float32]] = {}
        self._slope: dict[float, float] = {}
        self._known: dict[tuple[Panel, ...], _Piece] = {}
        self._panels: set[Panel] = {(START_LEVEL, i) for i in range(2**START_LEVEL)}
        self._pieces: list[_Piece] = []
        self._waiting: list[float] = [i / 2 ** (START_LEVEL + 1) for i in range(2 ** (START_LEVEL + 1) + 1)]

    def requests(self) -> Sequence[float]:
        """Positions in [0, 1] that are to be evaluated next; empty when the integral is finished."""
        return self._waiting

    def supply(self, values: Mapping[float, tuple[float, NDArray[np.float32]]]) -> None:
        """Give (F, densities [num_tokens]) for every requested position, and plan the next round."""
        for position in self._waiting:
            f, density = values[position]
            self._f[position] = f
            self._density[position] = density
            self._slope[position] = float(density.sum(dtype=np.float64))
        self._waiting = []
        self._pieces = self._best_pieces()
        allowance = self._tolerance * self._scale()
        remaining = sum(abs(piece.error) for piece in self._pieces)
        if remaining <= allowance:
            return
        for piece in sorted(self._pieces, key=lambda piece: -abs(piece.error)):
            if remaining <= SPLIT_UNTIL * allowance:
                break
            remaining -= abs(piece.error)
            worst = max(piece.panels, key=lambda panel: abs(self._simpson(panel).error))
            if worst[0] < MAX_LEVEL and len(self._f) + len(self._waiting) + 2 <= self._max_rows:
                self._split(worst)

    def result(self) -> Attribution:
        """The integral over all panels: attributions [num_tokens], whose sum is within the tolerance or flagged."""
        total = np.zeros(next(iter(self._density.values())).shape, dtype=np.float64)
        for piece in self._pieces:
            for node, weight in zip(piece.nodes, piece.weights, strict=True):
                total += weight * self._density[node]
        return Attribution(total, self._f[1.0], self._f[0.0], num_gradient_rows=len(self._f))

    def _scale(self) -> float:
        return max(abs(self._f[1.0] - self._f[0.0]), self._epsilon)

    def _split(self, panel: Panel) -> None:
        level, index = panel
        self._panels.remove(panel)
        for child in ((level + 1, 2 * index), (level + 1, 2 * index + 1)):
            self._panels.add(child)
            self._waiting.append((child[1] + 0.5) / 2 ** child[0])

    def _simpson(self, panel: Panel) -> _Piece:
        return self._piece((panel,), panel[0], panel[1], _SIMPSON)

    def _piece(self, panels: tuple[Panel, ...], level: int, index: int, rule: NDArray[np.float64]) -> _Piece:
        # Its nodes are evaluated once: it is the same in every round.
        if panels not in self._known:
            width = 1 / 2**level
            steps = len(rule) - 1
            nodes = tuple((index + k / steps) * width for k in range(steps + 1))
            weights = width * rule
            quadrature = float(sum(w * self._slope[x] for w, x in zip(weights, nodes, strict=True)))
            error = quadrature - (self._f[nodes[-1]] - self._f[nodes[0]])
            self._known[panels] = _Piece(panels, nodes, weights, error)
        return self._known[panels]

    def _best_pieces(self) -> list[_Piece]:
        pieces: list[_Piece] = []
        for level, index in sorted(self._panels):
            sibling = (level, index ^ 1)
            if sibling not in self._panels:
                pieces.append(self._simpson((level, index)))
            elif index % 2 == 0:
                halves = [self._simpson((level, index)), self._simpson(sibling)]
                both = self._piece(((level, index), sibling), level - 1, index // 2, _BOOLE)
                better = abs(both.error) < sum(abs(half.error) for half in halves)
                pieces.extend([both] if better else halves)
        return pieces


def gauss_legendre(steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights of Gauss-Legendre quadrature on [0, 1], each [steps]; the weights sum to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2
