"""Two directional alignments made one: grow-diag-final-and.

Source: Koehn, Axelrod, Birch Mayne, Callison-Burch, Osborne and Talbot (2005), "Edinburgh System Description"; the
order in which points are looked at is that of Moses' `symal`, row by row over target then source positions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.concepts.bitext import Bitext, Directions

Point = tuple[int, int]
"""(target position, source position)."""

_NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def symmetrised(bitext: Bitext, directions: Directions) -> pl.DataFrame:
    """Links of every sentence pair: `pair`, `source_position`, `target_position`, sorted by pair and target."""
    pairs: list[int] = []
    sources: list[int] = []
    targets: list[int] = []
    for pair, forward, backward in _sentences(bitext, directions):
        links = grow_diag_final_and(forward, backward)
        pairs.extend([pair] * len(links))
        targets.extend(target for target, _ in links)
        sources.extend(source for _, source in links)
    schema = {"pair": pl.Int64, "source_position": pl.Int32, "target_position": pl.Int32}
    return pl.DataFrame(
        {"pair": pairs, "source_position": sources, "target_position": targets}, schema=schema
    )


def _sentences(bitext: Bitext, directions: Directions) -> Iterator[tuple[int, list[Point], list[Point]]]:
    """Number of the pair, and the points of both directions."""
    source_starts, target_starts = bitext.source_starts.tolist(), bitext.target_starts.tolist()
    forward, backward = directions.source_of_target, directions.target_of_source
    for pair in range(bitext.pairs):
        of_target = _picked(forward, target_starts[pair], target_starts[pair + 1])
        of_source = _picked(backward, source_starts[pair], source_starts[pair + 1])
        yield (
            pair,
            [(target, source) for target, source in enumerate(of_target) if source >= 0],
            [(target, source) for source, target in enumerate(of_source) if target >= 0],
        )


def _picked(choices: NDArray[np.int32], start: int, end: int) -> list[int]:
    return choices[start:end].tolist()  # type: ignore[no-any-return]


def grow_diag_final_and(forward: list[Point], backward: list[Point]) -> list[Point]:
    """The symmetrised points, sorted: the intersection, grown along neighbours inside the union while one of the two
    words is still free, then points of either direction whose words are both free."""
    union = set(forward)
    both = union.intersection(backward)
    union.update(backward)
    if len(both) == len(union):
        return sorted(both)
    links = set(both)
    targets = {target for target, _ in links}
    sources = {source for _, source in links}
    ordered = sorted(union)
    grown = True
    while grown:
        grown = False
        for point in ordered:
            if point not in links:
                continue
            for down, right in _NEIGHBOURS:
                target, source = new = (point[0] + down, point[1] + right)
                if new in union and new not in links and (target not in targets or source not in sources):
                    links.add(new)
                    targets.add(target)
                    sources.add(source)
                    grown = True
    for direction in (forward, backward):
        for target, source in direction:
            if target not in targets and source not in sources:
                links.add((target, source))
                targets.add(target)
                sources.add(source)
    return sorted(links)
