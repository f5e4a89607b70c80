"""From attributions of parallel texts and word vectors to the rows of `ccta_pairs`. No files, no models.

A unit is a word (its attribution is the sum over its sub-tokens) or, as an option, a sub-token. Special tokens and
pieces that belong to no word (lone blanks) are dropped before weights are normalised. Both segments of a pair input
are one distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.consistency.parallel import expected_seconds, solve_all, workers_for
from xlwh.consistency.transport import Float, Normalization, Problem, weights
from xlwh.draws import key_of
from xlwh.errors import CorpusError

Unit = Literal["word", "token"]

KEYS = ("split", "example_id", "target", "method")
"""What a pair is joined by; the order in which pairs are solved, so that an example's methods share its cosines."""

_NO_VECTOR = -1


@dataclass(frozen=True)
class Vectors:
    """Vectors of one language's units."""

    rows: pl.DataFrame
    """`unit` and its `row` in the matrix."""
    matrix: Float
    """`[units + 1, d]`, scaled to length 1, float64 as the cosines are. The last row is zero: the vector of a unit that has none."""

    @property
    def dimension(self) -> int:
        """Width of the space; 0 where no unit has a vector."""
        return int(self.matrix.shape[1])


@dataclass(frozen=True)
class _Side:
    """One language's units, sorted by pair and position, one pair after the other."""

    groups: pl.DataFrame
    """KEYS, `start`, `size`."""
    attributions: Float
    """`[units]`"""
    rows: NDArray[np.int64]
    """`[units]`, into the matrix of vectors; -1 for none."""


@dataclass(frozen=True)
class _Weighted:
    """One pair under one normalisation."""

    weights: tuple[Float, Float]
    coverage: tuple[float, float]
    """Share of either side's weight on units that have a vector."""
    degenerate: bool


def vectors(frame: pl.DataFrame) -> Vectors:
    """Vectors from rows of `word_vectors` of one space and language; vectors of zeros count as none."""
    width = frame["vector"].list.len().unique().to_list() if frame.height else [0]
    if len(width) != 1:
        raise CorpusError(
            f"Vectors of one space have different lengths: {', '.join(map(str, sorted(width)))}. "
            "Run: xlwh materialize word_vectors --force"
        )
    raw = frame["vector"].explode().to_numpy() if frame.height else np.zeros(0)
    raw = raw.reshape(frame.height, width[0]).astype(np.float64)
    lengths = np.linalg.norm(raw, axis=1)
    matrix = np.zeros((frame.height + 1, width[0]))
    matrix[:-1] = raw / np.where(lengths == 0.0, 1.0, lengths)[:, None]
    frame = frame.with_row_index("row").filter(pl.Series(lengths > 0.0))
    return Vectors(frame.select(pl.col("word").alias("unit"), pl.col("row").cast(pl.Int64)), matrix)


def unit_attributions(tokens: pl.LazyFrame, attributions: pl.LazyFrame, unit: Unit) -> pl.DataFrame:
    """Attribution of each unit of one dataset in one language: split, example_id, method, target, index, unit, attribution.

    `tokens` and `attributions` are rows of `tokens` and `token_attributions`.
    """
    chosen = (
        (pl.col("word_index"), pl.col("word")) if unit == "word" else (pl.col("position"), pl.col("token"))
    )
    place = ["split", "example_id", "position"]
    units = tokens.filter(~pl.col("is_special") & pl.col("word_index").is_not_null()).select(
        *place, chosen[0].alias("index"), chosen[1].alias("unit")
    )
    return (
        attributions.select(*place, "method", "target", pl.col("attribution").cast(pl.Float64))
        .join(units, on=place)
        .group_by("split", "example_id", "method", "target", "index")
        .agg(pl.col("unit").first(), pl.col("attribution").sum())
        .collect()
    )


def explained(units: pl.DataFrame, classes: pl.DataFrame) -> pl.DataFrame:
    """Only the attributions of the class that a pair compares, under the name that its row will bear.

    `classes` has split, example_id, `explained` (the class whose attributions count on this side) and `target`.
    """
    return (
        units.rename({"target": "explained"})
        .join(classes, on=["split", "example_id", "explained"])
        .drop("explained")
    )


def ccta_pairs(
    source: pl.DataFrame,
    target: pl.DataFrame,
    source_vectors: Vectors,
    target_vectors: Vectors,
    *,
    normalizations: Sequence[Normalization],
    draws: int,
    seed: object,
    identical: bool = False,
    workers: int | None = None,
) -> pl.DataFrame:
    """One row per pair and normalisation: KEYS and the measured columns of `ccta_pairs`.

    `source` and `target` have split, example_id, method, target, index, unit, attribution. Pairs are what both sides
    have. The shuffled null is seeded by (`seed`, split, example_id, method): the same shuffles for every
    normalisation and for every order of the batch. With `identical` sides every unit is similar to itself by 1,
    whether or not it has a vector, and to the others as the space says: score and uniform null are 1 exactly. `workers`
    is the number of processes; by default it follows from the amount of work.
    """
    widths = source_vectors.dimension, target_vectors.dimension
    if all(widths) and widths[0] != widths[1]:
        raise CorpusError(
            f"Vectors of the two languages have {widths[0]} and {widths[1]} dimensions; a shared "
            "space has one. Check the space's files in the study."
        )
    sides = _side(source, source_vectors), _side(target, target_vectors)
    pairs = (
        sides[0]
        .groups.join(sides[1].groups, on=KEYS, suffix="_target", nulls_equal=True)
        .sort(KEYS)
        .select(*KEYS, "start", "size", "start_target", "size_target")
    )
    sizes = pairs.select("size", "size_target").rows()
    bounds = list(pairs.select("start", "size", "start_target", "size_target").iter_rows())
    weighted = [_weigh(sides, bound, normalization) for bound in bounds for normalization in normalizations]
    if workers is None:
        workers = workers_for(expected_seconds(sizes, len(normalizations), draws))
    matrices = source_vectors.matrix, target_vectors.matrix
    seeds = [
        key_of(seed, split, example, method)
        for split, example, method in pairs.select("split", "example_id", "method").iter_rows()
    ]
    problems = _problems(sides, bounds, weighted, seeds, matrices, identical)
    solved = list(solve_all(problems, draws, workers))
    results = np.concatenate(solved) if solved else np.zeros((0, 4))
    repeated = pairs.select(
        pl.all().repeat_by(len(normalizations)).explode() if pairs.height else pl.all()
    ).select(*KEYS, source_units="size", target_units="size_target")
    return repeated.with_columns(
        pl.Series("normalization", list(normalizations) * pairs.height, dtype=pl.String),
        pl.Series("score", results[:, 0]),
        pl.Series("null_uniform", results[:, 1]),
        pl.Series("null_shuffled", results[:, 2]),
        pl.Series("null_shuffled_sd", results[:, 3]),
        pl.lit(draws, dtype=pl.Int32).alias("num_draws"),
        pl.col("source_units", "target_units").cast(pl.Int32),
        pl.Series("source_coverage", [each.coverage[0] for each in weighted], dtype=pl.Float64),
        pl.Series("target_coverage", [each.coverage[1] for each in weighted], dtype=pl.Float64),
        pl.Series("degenerate", [each.degenerate for each in weighted], dtype=pl.Boolean),
    )


def _side(units: pl.DataFrame, known: Vectors) -> _Side:
    placed = units.join(known.rows, on="unit", how="left").sort(*KEYS, "index")
    groups = (
        placed.group_by(KEYS, maintain_order=True)
        .agg(pl.len().cast(pl.Int64).alias("size"))
        .with_columns(start=pl.col("size").cum_sum() - pl.col("size"))
    )
    return _Side(
        groups,
        placed["attribution"].cast(pl.Float64).to_numpy(),
        placed["row"].fill_null(_NO_VECTOR).to_numpy(),
    )


def _weigh(sides: tuple[_Side, _Side], bound: tuple[int, ...], normalization: Normalization) -> _Weighted:
    found, covered, degenerate = [], [], False
    for side, start, size in zip(sides, bound[::2], bound[1::2], strict=True):
        part = slice(start, start + size)
        weight, is_degenerate = weights(side.attributions[part], normalization)
        has_vector = side.rows[part] != _NO_VECTOR
        found.append(weight)
        # Of weights that sum to 1 only up to rounding.
        covered.append(1.0 if has_vector.all() else min(1.0, float(weight[has_vector].sum())))
        degenerate |= is_degenerate
    return _Weighted((found[0], found[1]), (covered[0], covered[1]), degenerate)


def _problems(
    sides: tuple[_Side, _Side],
    bounds: Sequence[tuple[int, ...]],
    weighted: Sequence[_Weighted],
    seeds: Sequence[int],
    matrices: tuple[Float, Float],
    identical: bool,
) -> Iterator[Problem]:
    """Neighbouring pairs over the same units (an example under several methods) become one problem."""
    each = len(weighted) // len(bounds) if bounds else 0
    first = 0
    while first < len(bounds):
        rows = _rows(sides, bounds[first])
        last = first + 1
        while last < len(bounds) and all(
            np.array_equal(a, b) for a, b in zip(rows, _rows(sides, bounds[last]), strict=True)
        ):
            last += 1
        similarity = _cosines(matrices[0][rows[0]], matrices[1][rows[1]])
        if identical:
            np.fill_diagonal(similarity, 1.0)
        group = weighted[first * each : last * each]
        yield Problem(
            similarity=similarity,
            source_weights=np.stack([pair.weights[0] for pair in group]),
            target_weights=np.stack([pair.weights[1] for pair in group]),
            seeds=np.repeat(np.array(seeds[first:last], dtype=np.uint64), each),
            identical=identical,
        )
        first = last


def _rows(sides: tuple[_Side, _Side], bound: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    start, size, start_target, size_target = bound
    return sides[0].rows[start : start + size], sides[1].rows[start_target : start_target + size_target]


def _cosines(source: Float, target: Float) -> Float:
    if source.shape[1] != target.shape[1]:
        # One of the languages has no vectors at all.
        return np.zeros((len(source), len(target)))
    similarity: Float = source @ target.T
    return similarity
