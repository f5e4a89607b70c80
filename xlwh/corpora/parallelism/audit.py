"""The audit of two languages that are joined row by row: one verdict, and the numbers that explain it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xlwh.corpora.parallelism.evidence import Pair, pair_of, spread
from xlwh.corpora.parallelism.features import Int
from xlwh.corpora.parallelism.sides import Side
from xlwh.corpora.parallelism.verdict import Verdict, judge


@dataclass(frozen=True)
class Audit:
    """What was found out about two sides. A pair is a place at which both have a text."""

    verdict: Verdict
    pairs: int
    label_agreement: float | None
    """Share of pairs with equal labels, of those where both have one; None where none has."""
    pattern_agreement: float | None
    """Share of pairs of which both or neither repeat the text of the row before; None where no row does."""
    length_outliers: float
    """Share of pairs whose log length ratio is more than three times the usual spread from the median."""
    shared_numbers: float | None
    """Share of the source's numbers that are in the target's row too; None where it has none."""
    shared_words: float | None
    """The same of words that occur in both languages."""
    evidence: float
    """Mean evidence of a pair, in nats: above 0 for translations, below 0 for unrelated rows."""
    odd_rows: int
    """Rows that match nothing, or another row, without being a fault: perhaps bad translations."""
    first_divergence: int | None
    """Row of the source, from 0, where the two begin to differ."""
    reason: str


def audit(source: Side, target: Side, *, by_id: bool = False, translations: bool = True) -> Audit:
    """Compare two sides.

    `by_id`: the data themselves say which rows belong together. A row that one side lacks then moves no other, and a
    few rows in the wrong place are errors of the data, not of the join: they are noted, and no fault.
    `translations`: the sides are meant to be translations, so that it is a fault if they match nowhere.
    """
    pair = pair_of(source, target)
    finding = judge(pair, by_id=by_id, translations=translations)
    rows = pair.rows
    numbers, words = pair.units.shares(rows)
    a, b = pair.source.categories, pair.target.categories
    any_repeats = bool((a["repeats"] == 1).any() or (b["repeats"] == 1).any())
    return Audit(
        finding.verdict,
        len(rows),
        _agreement(a["label"], b["label"], rows),
        _agreement(a["repeats"], b["repeats"], rows) if any_repeats else None,
        _length_outliers(pair),
        numbers,
        words,
        finding.evidence / len(rows) if len(rows) else 0.0,
        len(finding.odd),
        finding.first_divergence,
        finding.reason,
    )


def _agreement(a: Int, b: Int, rows: Int) -> float | None:
    """Share of rows with equal codes, of those where both are known."""
    known = rows[(a[rows] >= 0) & (b[rows] >= 0)]
    return float((a[known] == b[known]).mean()) if len(known) else None


def _length_outliers(pair: Pair) -> float:
    rows = pair.rows
    if not len(rows):
        return 0.0
    outlying = np.zeros(len(rows), dtype=bool)
    for x, y in zip(pair.source.lengths.T, pair.target.lengths.T, strict=True):
        ratio = y[rows] - x[rows]
        known = ratio[~np.isnan(ratio)]
        if len(known):
            far = 3 * max(spread(known), 0.05)
            outlying |= np.nan_to_num(np.abs(ratio - np.median(known)) > far)
    return float(outlying.mean())
