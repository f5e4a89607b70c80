"""Numbers and words as evidence: which units of the two sides correspond, and what sharing one says.

Units written alike in both languages correspond, and, where there are rows enough, pairs of units that the files
themselves show to occur together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix, hstack

from xlwh.corpora.parallelism.features import Bool, Features, Float, Int


@dataclass(frozen=True)
class CommonUnits:
    """u units of the source and the units of the target that correspond: one column each in both matrices."""

    source: csr_matrix
    """`[n, u]`: the unit's weight in the row (0 to 1), 0 where the row lacks it."""
    target: csr_matrix
    """`[m, u]`: 1 where the row has the unit; weights are those of the source's row alone."""
    numbers: Bool
    """`[u]`: units that are numbers."""
    learned: Bool
    """`[u]`: pairs of different units, learned from the files."""

    def shares(self, rows: Int) -> tuple[float | None, float | None]:
        """Share of the source's numbers that the target has in the same row; the same of words written alike.

        None where the source has none in these rows.
        """
        shares = []
        for kind in (self.numbers, ~self.numbers & ~self.learned):
            columns = np.flatnonzero(kind)
            a, b = self.source[rows][:, columns], self.target[rows][:, columns]
            total = a.sum()
            shares.append(float(a.multiply(b).sum() / total) if total else None)
        return shares[0], shares[1]


@dataclass(frozen=True)
class UnitWeights:
    """What u units say of two rows, in nats."""

    units: CommonUnits
    absent: Float
    """`[u]`: the source's row has the unit, the target's lacks it."""
    shared: Float
    """`[u]`: what it says beyond that if the target's row has it too."""

    def evidence(self, rows: Int, partners: Int) -> Float:
        """Evidence of row `rows[k]` of the source and `partners[k]` of the target: `[k]`."""
        if not len(self.absent):
            return np.zeros(len(rows))
        a, b = self.units.source[rows], self.units.target[partners]
        return np.asarray(a @ self.absent + a.multiply(b) @ self.shared).ravel()

    def matrix(self, rows: Int, partners: Int) -> Float:
        """Evidence of each of the rows with each of the partners: `[rows, partners]`."""
        if not len(self.absent):
            return np.zeros((len(rows), len(partners)))
        a, b = self.units.source[rows], self.units.target[partners]
        both = (a.multiply(self.shared[None, :])).tocsr() @ b.T
        return np.asarray(both.todense() + (a @ self.absent)[:, None], dtype=np.float64)


def common_units(source: Features, target: Features) -> CommonUnits:
    """Units that are written alike in both languages."""
    names = sorted({u for row in source.units for u in row} & {u for row in target.units for u in row})
    columns = {unit: k for k, unit in enumerate(names)}
    numbers = np.array([name.startswith("#") for name in names], dtype=bool)
    right = _matrix(target.units, columns)
    right.data[:] = 1.0
    return CommonUnits(_matrix(source.units, columns), right, numbers, np.zeros(len(names), dtype=bool))


def with_learned(
    units: CommonUnits, source: Features, target: Features, matched: tuple[Int, Int]
) -> CommonUnits:
    """Add pairs of units that occur together much more often than by chance in rows that match."""
    rows, partners = matched
    n = len(rows)
    left, names_a = _frequent(source, 3, n / 5)
    right, names_b = _frequent(target, 3, n / 5)
    if not names_a or not names_b:
        return units
    right.data[:] = 1.0
    x, y = left[rows], right[partners]
    together = (x.T @ y).tocoo()
    count_a, count_b = _column_sums(x), _column_sums(y)
    i, j, both = together.row, together.col, together.data
    share = both / np.maximum(count_a[i], 1e-9)
    good = (both >= 3) & (share > 0.4) & (share * n / count_b[j] > 4)
    i, j, share = i[good], j[good], share[good] / np.sqrt(count_b[j[good]])
    # The best partner of each unit only: the character pairs of one word would count for it several times.
    order = np.lexsort((-share, i))
    _, first = np.unique(i[order], return_index=True)
    best = order[first]
    alike = np.array([names_a[p] == names_b[q] for p, q in zip(i[best], j[best], strict=True)], dtype=bool)
    best = best[~alike]
    return CommonUnits(
        csr_matrix(hstack([units.source, left[:, i[best]]])),
        csr_matrix(hstack([units.target, right[:, j[best]]])),
        np.concatenate([units.numbers, np.zeros(len(best), dtype=bool)]),
        np.concatenate([units.learned, np.ones(len(best), dtype=bool)]),
    )


def weigh(units: CommonUnits, matched: tuple[Int, Int] | None) -> UnitWeights:
    """What each unit says, from how often it survives translation in rows that match.

    None: no rows are known to match yet; what is usual is assumed, and only numbers and rare words count.
    """
    m, size = units.target.shape
    if not size:
        return UnitWeights(units, np.zeros(0), np.zeros(0))
    chance = (_column_sums(units.target) + 0.5) / (m + 1)
    kept = np.where(units.numbers, 0.85, 0.4) if matched is None else _kept(units, *matched)
    kept = np.clip(kept, 0.01, 0.97)
    use = (kept > 2 * chance) & (chance < 0.3)
    if matched is None:
        use &= units.numbers | (chance * m < max(4.0, m / 50))
    absent = np.where(use, np.log((1 - kept) / (1 - chance)), 0.0)
    shared = np.where(use, np.log(kept / chance), 0.0) - absent
    return UnitWeights(units, absent, shared)


def _kept(units: CommonUnits, rows: Int, partners: Int) -> Float:
    """Probability that a unit of a row is in the row that matches it: `[u]`, drawn towards that of its kind."""
    a, b = units.source[rows], units.target[partners]
    count, both = _column_sums(a), _column_sums(a.multiply(b))
    usual = np.empty(len(count))
    for kind in (units.numbers, ~units.numbers & ~units.learned, units.learned):
        total = count[kind].sum()
        usual[kind] = (both[kind].sum() + 5 * 0.5) / (total + 5) if total else 0.5
    return np.asarray((both + 2 * usual) / (count + 2))


def _frequent(side: Features, least: float, most: float) -> tuple[csr_matrix, list[str]]:
    """The units whose weights add up to between `least` and `most`: `[n, units]`, and their names."""
    counts: Counter[str] = Counter()
    for row in side.units:
        for unit, weight in row.items():
            counts[unit] += weight  # type: ignore[assignment]
    names = [unit for unit, count in counts.items() if least <= count + 1e-6 <= most]
    return _matrix(side.units, {unit: k for k, unit in enumerate(names)}), names


def _matrix(rows: Sequence[dict[str, float]], columns: Mapping[str, int]) -> csr_matrix:
    """Weights `[n, columns]` of the units that have a column."""
    cells = [[(columns[unit], weight) for unit, weight in row.items() if unit in columns] for row in rows]
    starts = np.cumsum([0, *map(len, cells)])
    flat = np.array([column for row in cells for column, _ in row], dtype=np.int64)
    values = np.array([weight for row in cells for _, weight in row], dtype=np.float64)
    return csr_matrix((values, flat, starts), shape=(len(rows), len(columns)))


def _column_sums(matrix: csr_matrix) -> Float:
    return np.asarray(matrix.sum(axis=0)).ravel()
