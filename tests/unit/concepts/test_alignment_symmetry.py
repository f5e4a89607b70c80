"""grow-diag-final-and by hand, and against a transcription of its definition that scans the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest

from xlwh.concepts.alignment import Directions, encode
from xlwh.concepts.alignment_symmetry import grow_diag_final_and, symmetrised


def scan(forward, backward, m, n):
    """As in the description of Moses: every cell of the matrix, every neighbour, until nothing is added."""
    neighbours = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    union = set(forward) | set(backward)
    links = set(forward) & set(backward)

    def free(t, s):
        return all(a != t for a, _ in links) or all(b != s for _, b in links)

    while True:
        before = len(links)
        for t in range(m):
            for s in range(n):
                if (t, s) in links:
                    for down, right in neighbours:
                        new = (t + down, s + right)
                        if new in union and new not in links and free(*new):
                            links.add(new)
        if len(links) == before:
            break
    for direction in (forward, backward):
        for t, s in direction:
            if all(a != t for a, _ in links) and all(b != s for _, b in links):
                links.add((t, s))
    return sorted(links)


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_a_scan_of_the_matrix(seed):
    generator = np.random.default_rng(seed)
    m, n = generator.integers(1, 9, 2)
    forward = [(t, int(s)) for t, s in enumerate(generator.integers(-1, n, m)) if s >= 0]
    backward = [(int(t), s) for s, t in enumerate(generator.integers(-1, m, n)) if t >= 0]
    assert grow_diag_final_and(forward, backward) == scan(forward, backward, m, n)


def test_by_hand():
    # (0,0) is in both; (1,1) grows from it; (3,0) has a word that is taken; (3,3) comes in at the end, both free.
    assert grow_diag_final_and([(0, 0), (1, 1), (3, 3)], [(0, 0), (1, 2)]) == [(0, 0), (1, 1), (1, 2), (3, 3)]
    assert grow_diag_final_and([(0, 0), (3, 0)], [(0, 0)]) == [(0, 0)]
    assert grow_diag_final_and([], []) == []


def test_frame_of_links():
    bitext = encode([["a", "b"], [], ["c"]], [["x", "y"], ["z"], ["w"]])
    directions = Directions(
        np.array([0, 1, -1, 0], dtype=np.int32), np.array([0, 1, 0], dtype=np.int32), (1.0, 1.0)
    )
    frame = symmetrised(bitext, directions)
    assert frame.rows() == [(0, 0, 0), (0, 1, 1), (2, 0, 0)]
    assert frame.columns == ["pair", "source_position", "target_position"]
