"""What follows from the evidence: the verdict, the row where the sides begin to differ, and the reason in words."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from xlwh.corpora.parallelism.evidence import Model, Pair, estimate
from xlwh.corpora.parallelism.exchanged import exchanged
from xlwh.corpora.parallelism.features import Int
from xlwh.corpora.parallelism.units import with_learned
from xlwh.corpora.parallelism.walk import (
    ODD,
    Band,
    band_of,
    best_path,
    changed_at,
    matched_by,
    offsets_tried,
    unmatched,
)

Verdict = Literal["parallel", "differs", "not_parallel", "unrelated", "undecided"]

FAULTS: tuple[Verdict, ...] = ("differs", "not_parallel")
"""Verdicts on data that are not what they should be."""

_SURE = 6.0
"""Evidence for or against the whole, in nats, from which it is called parallel or not."""
_LEARN_FROM = 200
"""Rows that match from which on pairs of units are learned."""


class Finding(NamedTuple):
    """A verdict and what it rests on."""

    verdict: Verdict
    reason: str = ""
    first_divergence: int | None = None
    odd: Int = np.zeros(0, dtype=np.int64)
    """Rows that match nothing, or another row, without being a fault: perhaps bad translations."""
    evidence: float = 0.0
    """Of all rows that both sides have with the row at the same place, in nats."""


def judge(pair: Pair, *, by_id: bool, translations: bool) -> Finding:
    """The verdict on two sides; for the arguments see `audit`."""
    rows = pair.rows
    if not len(rows):
        return Finding("undecided", "no row has a text on both sides")
    pair, model, band = _fitted(pair)
    path = best_path(band)
    doubtful, odd = unmatched(path, band)
    path[doubtful] = path[odd] = band.here
    away = np.flatnonzero(path != band.here)
    evidence = float(band.in_place[rows].sum())
    sizes = f"{pair.n} rows against {pair.m}" if pair.n != pair.m and not by_id else ""

    def differs(at: Int, reason: str) -> Finding:
        if by_id and len(at) <= ODD:
            note = f"from row {at.min()}: {reason}; an error of the data, not of the join"
            return Finding("parallel", note, None, np.union1d(odd, at), evidence)
        return Finding("differs", reason, int(at.min()), odd, evidence)

    def changed_size() -> Finding:
        return differs(np.array([changed_at(band, pair.n, pair.m)]), sizes)

    def changed_places(moved: list[int]) -> Finding:
        shown = ", ".join(map(str, moved[:6])) + (", …" if len(moved) > 6 else "")
        return differs(np.array(moved), f"rows {shown} have changed places")

    if not _is_sure(path, band):
        if evidence < -_SURE:
            first = int(away[0]) if len(away) else int(rows[0])
            reason = "; ".join(filter(None, (sizes, "the rows match nowhere")))
            return Finding("not_parallel" if translations else "unrelated", reason, first, odd, evidence)
        if sizes and translations:
            return changed_size()
        if moved := exchanged(pair, model, band):
            return changed_places(moved)
        return Finding("undecided", "too little evidence", None, odd, evidence)
    moved = [] if sizes else exchanged(pair, model, band)
    # Where a stretch was moved, a longer cycle is made of what it left over; two rows are an exchange of their own.
    if len(away) and (len(moved) != 2 or away[0] <= moved[0]):
        return differs(away, "; ".join(filter(None, (_shift(path, band, int(away[0])), sizes))))
    if sizes and not len(away):
        return changed_size()
    if moved:
        return changed_places(moved)
    if not len(odd):
        return Finding("parallel", evidence=evidence)
    note = f"rows without a match: {len(odd)}, first row {odd[0]}; perhaps bad translations"
    return Finding("parallel", note, None, odd, evidence)


def _fitted(pair: Pair) -> tuple[Pair, Model, Band]:
    """The pair with learned units, what each feature says in the rows that match, and the evidence of all rows."""
    offsets = offsets_tried(pair.n, pair.m)
    model = estimate(pair, None)
    band = band_of(pair, model, offsets)
    for learn in (True, False):
        matched = matched_by(best_path(band), band, pair)
        count = len(matched[0])
        if count < max(8, pair.n // 10):
            break
        if learn and count >= _LEARN_FROM:
            pair = replace(pair, units=with_learned(pair.units, pair.source, pair.target, matched))
        model = estimate(pair, matched)
        band = band_of(pair, model, offsets)
    return pair, model, band


def _is_sure(path: Int, band: Band) -> bool:
    """Whether the rows that match have evidence enough to call the whole parallel, up to shifts."""
    matching = np.flatnonzero(path != band.nothing)
    gained = float(band.evidence[matching, path[matching]].sum())
    return gained >= _SURE + math.log(max(len(path), 2)) and len(matching) >= 0.1 * len(path)


def _shift(path: Int, band: Band, first: int) -> str:
    """How the rows from `first` on have shifted."""
    state, after = int(path[first]), path[first:]
    if state == band.nothing:
        back = np.flatnonzero(after != state)
        if not len(back):
            return "no row from here on has a match"
        state = int(after[back[0]])
        if state == band.here:
            return f"no match for the next {back[0]} rows"
    offset = int(band.offsets[state])
    length = int((after == state).sum())
    return f"row i matches the target's row i {'+' if offset > 0 else '-'} {abs(offset)} ({length} rows)"
