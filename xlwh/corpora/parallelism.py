"""Whether two texts that are joined row by row are translations of one another, and where they cease to be.

Every cell (row i of one language, row j of another) gets its evidence: the log likelihood ratio, in nats, of "j
translates i" against "j has nothing to do with i". It is added up from what survives translation: lengths, labels,
which rows repeat the text before them, question marks, numbers, words that both languages write alike (names), and,
where there are rows enough, pairs of words that the files themselves show to go together. How reliable each of these is
is estimated from the files.

Then a hidden Markov model walks along the rows. Its states are offsets (row i goes with row i + offset) and "goes with
nothing here"; a change of state has its price, so that single odd translations are no news. Rows that change places far
apart are found by asking of the rows with the least evidence whether another order of them has much more.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Verdict = Literal["parallel", "differs", "not_parallel", "unrelated", "undecided"]

FAULTS: tuple[Verdict, ...] = ("differs", "not_parallel")
"""Verdicts on data that are not what they should be."""

REACH = 30
"""Offsets that are tried: up to so many rows lost or doubled in a row are seen for what they are."""
LONG, SHORT_REACH = 20_000, 3
"""Rows beyond which only so many offsets are tried, for time; rows lost or doubled further on go with nothing then."""
DOUBT = 1.5
"""Evidence against a row, beyond the price, that a stretch of rows must have to go with nothing: where a text turns to
something else, words learned elsewhere are missing."""
PRICE = 14.0
"""Evidence, beyond the logarithm of the number of rows, that a stretch must have for another offset or for none."""
SURE = 6.0
"""Evidence beyond chance from which the whole is called parallel or not."""
EXCHANGED = 4.5
"""The same of rows that have changed places, beyond what each could have been exchanged with."""
ODD = 10
"""Rows that may go with nothing between others that are as they should be: wrong translations, and no fault of order."""
MOVABLE = 400
"""Rows of which another order is looked for, at most."""
CYCLES = 10
"""Exchanges of rows that are looked into."""
LEARNED = 200
"""Rows from which on pairs of words are learned."""
_LEAST, _MOST = -5.0, 20.0
"""Bounds on what the words of one row say."""
_TAIL = 4.0
"""Degrees of freedom of the length ratio's distribution: translations now and then are much longer or shorter."""


@dataclass(frozen=True)
class Side:
    """One language's rows, by their place: what is not there (a row that the reader refused) is None."""

    texts: tuple[tuple[str | None, ...], ...]
    """Per segment (first text, second text): one entry a row."""
    labels: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Audit:
    """What was found out about two sides."""

    verdict: Verdict
    pairs: int
    """Rows that both sides have, at the same place."""
    label_agreement: float | None
    """Share of pairs with equal labels, of those where both have one."""
    pattern_agreement: float | None
    """Share of pairs of which both or neither repeat the text of the row before; None where no row does."""
    length_outliers: float
    """Share of pairs whose length ratio is more than three times the usual spread from the median."""
    shared_numbers: float | None
    """Share of the source's numbers that are in the target's row too; None where it has none."""
    shared_words: float | None
    """The same of words that occur in both languages."""
    evidence: float
    """Mean evidence of a pair, in nats: above 0 for translations, below for rows that have nothing to do with each other."""
    odd_rows: int
    """Rows of a few that go with nothing between others that are as they should be: perhaps mistranslated."""
    first_divergence: int | None
    """Row of the source where the two begin to differ."""
    reason: str


def audit(source: Side, target: Side, *, by_id: bool = False, translations: bool = True) -> Audit:
    """Compare two sides.

    `by_id`: the source itself says which rows belong together, so that a row that one side lacks moves no other, and
    a few in the wrong place are the source's own mistakes: noted, no fault. `translations`: they are meant to be, so that
    sides which go together nowhere are a fault.
    """
    return _Pair(source, target, by_id, translations).audit()


def sides(
    source: pl.DataFrame, target: pl.DataFrame, records: tuple[int, int]
) -> tuple[Side, Side, list[str], bool]:
    """Rows of `examples` in two languages, each at its place; the ids of the source's rows, and whether ids join them.

    `records` are the rows of the files, refused ones too. Where every id is a row number the place is that.
    """
    if all(
        _are_rows(frame["example_id"], count) for frame, count in zip((source, target), records, strict=True)
    ):
        places = [frame["example_id"].cast(pl.Int64).to_list() for frame in (source, target)]
        ids = [f"{place:05d}" for place in range(max(records))]
        return _side(source, places[0], records[0]), _side(target, places[1], records[1]), ids, False
    names = source["example_id"].to_list()
    index = {name: place for place, name in enumerate(names)}
    kept = target.filter(pl.col("example_id").is_in(names))
    at = [index[name] for name in kept["example_id"].to_list()]
    return _side(source, list(range(len(names))), len(names)), _side(kept, at, len(names)), names, True


def halves(frame: pl.DataFrame) -> tuple[Side, Side, list[str]]:
    """The two sides of rows of `examples` that hold a text and its translation, and their ids."""
    nothing = (None,) * frame.height
    first, second = (Side((tuple(frame[column].to_list()),), nothing) for column in ("text", "text_pair"))
    return first, second, frame["example_id"].to_list()


def _are_rows(ids: pl.Series, records: int) -> bool:
    numbers = ids.str.contains(r"^\d{5,9}$").all()
    return bool(numbers) and bool(len(ids)) and int(ids.cast(pl.Int64).max()) < records  # type: ignore[arg-type]


def _side(frame: pl.DataFrame, places: Sequence[int], records: int) -> Side:
    def column(name: str) -> tuple[str | None, ...]:
        found: list[str | None] = [None] * records
        for place, value in zip(places, frame[name].to_list(), strict=True):
            found[place] = value
        return tuple(found)

    segments = [
        name for name in ("text", "text_pair") if frame[name].null_count() < frame.height or name == "text"
    ]
    return Side(tuple(column(name) for name in segments), column("label"))


class _Pair:
    def __init__(self, source: Side, target: Side, fixed: bool, translations: bool) -> None:
        self.n, self.m = len(source), len(target)
        self.fixed, self.translations = fixed, translations
        self.segments = min(len(source.texts), len(target.texts))
        self.a = _features(source, self.segments)
        self.b = _features(target, self.segments)
        surplus = self.m - self.n
        reach = max(0, min(REACH if self.n <= LONG else SHORT_REACH, max(self.n, self.m) - 1))
        offsets = set(range(-reach, reach + 1))
        if abs(surplus) <= max(self.n, self.m) // 2:
            offsets |= set(range(surplus - 2, surplus + 3))
        self.offsets = np.array(sorted(offsets), dtype=np.int64)
        codes = {name: k for k, name in enumerate(dict.fromkeys((*source.labels, *target.labels)))}
        codes[None] = -1
        self.tables: list[tuple[Int, Int, Float]] = []
        self.label = self._coded([codes[x] for x in source.labels], [codes[x] for x in target.labels])
        self.units = _common_units(self.a, self.b)
        self.odd = np.zeros(0, dtype=np.int64)

    @staticmethod
    def _coded(a: Sequence[int], b: Sequence[int]) -> tuple[Int, Int]:
        found = {code: k for k, code in enumerate(sorted({*a, *b} - {-1}))}
        found[-1] = -1
        return np.array([found[x] for x in a], dtype=np.int64), np.array(
            [found[x] for x in b], dtype=np.int64
        )

    # Evidence

    def estimate(self, rows: Int, partners: Int, first: bool) -> _Model:
        """How reliable each sign is, from pairs that are taken to be translations (none: what is usual)."""
        categories = [(self.label, 0.02), ((self.a.repeats, self.b.repeats), 0.02)]
        categories += [((self.a.asks[:, s], self.b.asks[:, s]), 0.1) for s in range(self.segments)]
        tables = [_table(a, b, rows, partners, error, first) for (a, b), error in categories]
        lengths = []
        for s in range(self.segments):
            x, y = self.a.lengths[:, s], self.b.lengths[:, s]
            spread = math.hypot(_spread(x), _spread(y))
            ratio = (y[partners] - x[rows])[~np.isnan(y[partners] - x[rows])]
            centre = (
                float(np.nanmedian(y) - np.nanmedian(x))
                if first or not len(ratio)
                else float(np.median(ratio))
            )
            near = 0.3 if first or len(ratio) < 10 else _spread(ratio)
            near = min(max(near, 0.08), max(spread, 0.08))
            lengths.append((centre, near, max(spread, near)))
        units = self.units.weighted(rows, partners, first)
        return _Model([pair for pair, _ in categories], tables, lengths, units)

    def cells(
        self, model: _Model, rows: Int, partners: Int, share: Float | None = None, repeats: Int | None = None
    ) -> Float:
        """Evidence of (row, partner), element by element; `share` is that of units, where it is known.

        `repeats` says of each partner whether it repeats the text before it, where that is not as it stands.
        """
        inside = (partners >= 0) & (partners < self.m)
        j = np.where(inside, partners, 0)
        total = np.zeros(len(rows))
        for (a, b), table in zip(model.categories, model.tables, strict=True):
            if table.size:
                x, y = a[rows], repeats if repeats is not None and b is self.b.repeats else b[j]
                total += np.where((x >= 0) & (y >= 0), table[x, y], 0.0)
        for s, (centre, near, wide) in enumerate(model.lengths):
            ratio = self.b.lengths[j, s] - self.a.lengths[rows, s] - centre
            gain = (
                _log_t(ratio / near)
                - math.log(near)
                + (ratio / wide) ** 2 / 2
                + math.log(wide * math.sqrt(2 * math.pi))
            )
            gain = np.minimum(gain, 4.0) * self.a.weights[rows, s]
            total += np.where(np.isnan(gain), 0.0, gain)
        if share is None:
            share = model.units.evidence(rows, j)
        total += np.clip(share, _LEAST, _MOST)
        present = inside & self.a.present[rows] & self.b.present[j]
        return np.where(present, total, 0.0)

    def band(self, model: _Model) -> Float:
        """Evidence `[rows, offsets]`; out of the other side's rows it is that of no pair."""
        rows = np.arange(self.n)
        columns = []
        for offset in self.offsets:
            partners = rows + offset
            cell = self.cells(model, rows, partners)
            cell[(partners < 0) | (partners >= self.m)] = -2.0
            columns.append(cell)
        return np.stack(columns, axis=1)

    # The walk

    def walk(self, band: Float) -> tuple[Int, Int]:
        """Rows that go with one on the other side, and which."""
        path = self.path(band)
        rows = np.flatnonzero(path < len(self.offsets))
        partners = rows + self.offsets[path[rows]]
        ok = (partners >= 0) & (partners < self.m)
        rows, partners = rows[ok], partners[ok]
        ok = self.a.present[rows] & self.b.present[partners]
        return rows[ok], partners[ok]

    def path(self, band: Float) -> Int:
        """The best state of each row; the last state is that of rows that go with nothing."""
        n, size = band.shape
        here = int(np.flatnonzero(self.offsets == 0)[0])
        price = (math.log(max(n, 2)) + PRICE) / 2
        start = np.full(size + 1, -2 * price)
        start[here] = 0.0
        score = start + np.append(band[0], 0.0)
        back = np.empty((n, size + 1), dtype=np.int16)
        states = np.arange(size + 1)
        # Leaving and entering each cost half, so that a change by way of "nothing" costs as much as one at once.
        for i in range(1, n):
            best = int(np.argmax(score[:-1]))
            lost = score[-1]
            moved = max(score[best] - 2 * price, lost - price)
            origin = best if score[best] - 2 * price >= lost - price else size
            stay = score[:-1] >= moved
            back[i, :-1] = np.where(stay, states[:-1], origin)
            new = np.empty(size + 1)
            new[:-1] = np.where(stay, score[:-1], moved) + band[i]
            out = score[best] - price
            back[i, -1], new[-1] = (size, lost) if lost >= out else (best, out)
            score = new
        path = np.empty(n, dtype=np.int64)
        path[-1] = int(np.argmax(score))
        for i in range(n - 1, 0, -1):
            path[i - 1] = back[i, path[i]]
        return path

    def changed_at(self, band: Float) -> int:
        """Where rows are most likely missing or too many, where the sides differ in length: one place, and all at once."""
        surplus = self.m - self.n
        k = min(self.n, self.m)
        at = np.flatnonzero(self.offsets == surplus)
        if not len(at):
            return k
        before = np.concatenate([[0.0], np.cumsum(band[:, int(np.flatnonzero(self.offsets == 0)[0])])])
        after = np.concatenate([np.cumsum(band[::-1, int(at[0])])[::-1], [0.0]])
        # Rows that are missing go with nothing.
        gap = max(0, -surplus)
        begin = np.arange(k + 1)
        return int(np.argmax(before[begin] + after[np.minimum(begin + gap, self.n)]))

    def _movable(self, band: Float, present: Int) -> Int:
        """Rows that may have changed places: with little evidence, an odd label, or a near row that fits better."""
        k = min(self.n, self.m)
        place = {int(offset): column for column, offset in enumerate(self.offsets)}
        diagonal = band[:k, place[0]]
        better = np.full(k, -np.inf)
        for distance in range(1, min(REACH, k - 1) + 1):
            if distance not in place or -distance not in place:
                continue
            one, other = np.arange(k - distance), np.arange(distance, k)
            gain = (
                band[one, place[distance]] + band[other, place[-distance]] - diagonal[one] - diagonal[other]
            )
            better[one], better[other] = np.maximum(better[one], gain), np.maximum(better[other], gain)
        a, b = self.label
        odd = present[(a[present] >= 0) & (b[present] >= 0) & (a[present] != b[present])]
        some = MOVABLE // 4
        parts = (
            odd[np.argsort(diagonal[odd], kind="stable")[:some]],
            present[np.argsort(-better[present], kind="stable")[:some]],
            present[np.argsort(diagonal[present], kind="stable")[: 2 * some]],
            # What was refused on one side may have changed places too.
            np.flatnonzero(self.a.present[:k] != self.b.present[:k])[:some],
        )
        return np.unique(np.concatenate(parts))

    def exchanged(self, model: _Model, band: Float) -> list[int]:
        """Rows that have changed places, out of those that may have: those that most evidence speaks for."""
        k = min(self.n, self.m)
        present = np.flatnonzero(self.a.present[:k] & self.b.present[:k])
        if len(present) < 4:
            return []
        chosen = self._movable(band, present)
        size = len(chosen)
        rows, columns = np.repeat(chosen, size), np.tile(chosen, size)
        shared = model.units.matrix(chosen, chosen)
        # Whether a row repeats the one before it depends on where both stand, which is looked at later.
        anywhere = np.full(len(rows), -1, dtype=np.int64)
        score = self.cells(model, rows, columns, shared.ravel(), anywhere).reshape(size, size)
        # A row that is moved could have gone to any other, but likelier to a near one.
        price = np.log1p(2 * np.abs(chosen[:, None] - chosen[None, :]))
        net = score - np.diag(score)[:, None] - price
        _, to = linear_sum_assignment(net, maximize=True)
        found = sorted(_cycles(to), key=lambda cycle: -float(sum(net[x, to[x]] for x in cycle)))[:CYCLES]
        proposed = [(cycle, [int(to[x]) for x in cycle]) for cycle in found]
        # Signs that the two rows themselves have made look bad may hide the best exchange.
        both = np.triu(net + net.T, 1)
        both[np.tril_indices(size)] = -np.inf
        for x, y in zip(*np.unravel_index(np.argsort(-both, axis=None)[:CYCLES], both.shape), strict=True):
            proposed.append(([int(x), int(y)], [int(y), int(x)]))
        best: list[int] = []
        most = EXCHANGED + math.log(len(present))
        for cycle, goal in proposed:
            gain = self._gain(chosen[cycle], chosen[goal])
            moves = price[cycle, goal]
            # The last one had no choice.
            gain -= float(moves.sum() - moves.max())
            if gain > most:
                best, most = sorted(int(chosen[x]) for x in cycle), gain
        return best

    def _gain(self, rows: Int, partners: Int) -> float:
        """Evidence for an order of the target in which `partners` stand at `rows`, beside that for the present one.

        What the signs are worth is taken from all other rows.
        """
        k = min(self.n, self.m)
        touched = np.unique(np.concatenate([rows, np.minimum(rows + 1, k - 1)]))
        others = np.setdiff1d(np.flatnonzero(self.a.present[:k] & self.b.present[:k]), touched)
        if not len(others):
            return 0.0
        model = self.estimate(others, others, first=False)
        order = np.arange(self.m)
        order[rows] = partners
        now = self.cells(model, touched, touched)
        then = self.cells(model, touched, order[touched], repeats=_repeats(self.b.first[order])[touched])
        return float(then.sum() - now.sum())

    # The verdict

    def audit(self) -> Audit:
        k = min(self.n, self.m)
        rows = np.arange(k)
        both = self.a.present[:k] & self.b.present[:k]
        rows = rows[both]
        if not len(rows):
            return self._told("undecided", rows, None, 0.0, None, "they have no row in common")
        model = self.estimate(rows, rows, first=True)
        band = self.band(model)
        for again in range(2):
            found, partners = self.walk(band)
            if len(found) < max(8, self.n // 10):
                break
            if len(found) >= LEARNED and again == 0:
                self.units = self.units.learned(self.a, self.b, found, partners)
            model = self.estimate(found, partners, first=False)
            band = self.band(model)
        here = int(np.flatnonzero(self.offsets == 0)[0])
        diagonal = band[:, here]
        evidence = float(diagonal[rows].sum())
        path = self.path(band)
        doubtful, odd = self._odd(path, here, diagonal)
        path[doubtful] = here
        path[odd] = here
        away = path != here
        matched = float((path < len(self.offsets)).mean())
        gained = float(
            band[np.arange(self.n)[~(path == len(self.offsets))], path[path < len(self.offsets)]].sum()
        )
        self.odd = odd
        if gained < SURE + math.log(max(self.n, 2)) or matched < 0.1:
            lengths = f"{self.n} rows against {self.m}; " if not self.fixed and self.n != self.m else ""
            if evidence < -SURE:
                verdict: Verdict = "not_parallel" if self.translations else "unrelated"
                first = int(np.flatnonzero(away)[0]) if away.any() else int(rows[0])
                return self._told(verdict, rows, model, evidence, first, f"{lengths}rows go together nowhere")
            if lengths and self.translations:
                at = self.changed_at(band)
                return self._told("differs", rows, model, evidence, at, lengths.removesuffix("; "))
            moved = self.exchanged(model, band)
            if moved:
                return self._changed_places(rows, model, evidence, moved)
            return self._told("undecided", rows, model, evidence, None, "too little to tell by")
        moved = self.exchanged(model, band) if self.fixed or self.n == self.m else []
        if away.any():
            first = int(np.flatnonzero(away)[0])
            # A longer cycle is made of what the moved stretch has left over.
            if len(moved) != 2 or first <= moved[0]:
                return self._differs(
                    rows, model, evidence, np.flatnonzero(away), self._how(path, here, first)
                )
        elif not self.fixed and self.n != self.m:
            reason = f"{self.n} rows against {self.m}"
            return self._told("differs", rows, model, evidence, self.changed_at(band), reason)
        if moved:
            return self._changed_places(rows, model, evidence, moved)
        note = (
            ""
            if not len(odd)
            else f"{len(odd)} rows go with nothing, the first is {odd[0]}: perhaps mistranslated"
        )
        return self._told("parallel", rows, model, evidence, None, note)

    def _changed_places(self, rows: Int, model: _Model, evidence: float, moved: list[int]) -> Audit:
        shown = ", ".join(map(str, moved[:6])) + (", …" if len(moved) > 6 else "")
        return self._differs(rows, model, evidence, moved, f"rows {shown} have changed places")

    def _differs(
        self, rows: Int, model: _Model, evidence: float, at: Sequence[int] | Int, reason: str
    ) -> Audit:
        if self.fixed and len(at) <= ODD:
            self.odd = np.union1d(self.odd, np.asarray(at))
            return self._told(
                "parallel", rows, model, evidence, None, f"{reason}, first row {min(at)}: so in the source"
            )
        return self._told("differs", rows, model, evidence, int(min(at)), reason)

    def _odd(self, path: Int, here: int, diagonal: Float) -> tuple[Int, Int]:
        """Rows that go with nothing between rows that are at their place: those that may do so, and a few that do."""
        nothing = np.diff(np.concatenate([[0], (path == len(self.offsets)).astype(int), [0]]))
        doubtful, few = [], []
        for begin, end in zip(np.flatnonzero(nothing == 1), np.flatnonzero(nothing == -1), strict=True):
            inside = (begin == 0 or path[begin - 1] == here) and (end == self.n or path[end] == here)
            against = -float(diagonal[begin:end].sum())
            if (
                inside
                and against < math.log(max(self.n, 2)) + PRICE + DOUBT * (end - begin)
                and end - begin > ODD
            ):
                doubtful += list(range(begin, end))
            elif inside and end - begin <= min(ODD, self.n // 4):
                few += list(range(begin, end))
        return np.array(doubtful, dtype=np.int64), np.array(few, dtype=np.int64)

    def _how(self, path: Int, here: int, first: int) -> str:
        state = int(path[first])
        counts = f"; {self.n} rows against {self.m}" if self.n != self.m and not self.fixed else ""
        after = path[first:]
        if state == len(self.offsets):
            back = np.flatnonzero(after != state)
            if not len(back):
                return f"the rows go with nothing{counts}"
            state = int(after[back[0]])
            if state == here:
                return f"{back[0]} rows go with nothing here{counts}"
        offset = int(self.offsets[state])
        length = int(np.flatnonzero(after == state).size)
        return f"{length} rows go with those {abs(offset)} {'later' if offset > 0 else 'earlier'}{counts}"

    def _told(
        self,
        verdict: Verdict,
        rows: Int,
        model: _Model | None,
        evidence: float,
        first: int | None,
        reason: str,
    ) -> Audit:
        label = _agreement(*self.label, rows)
        repeats = bool((self.a.repeats == 1).any() or (self.b.repeats == 1).any())
        outliers = 0.0
        if model is not None and len(rows):
            odd = np.zeros(len(rows), dtype=bool)
            for s in range(self.segments):
                ratio = self.b.lengths[rows, s] - self.a.lengths[rows, s]
                known = ratio[~np.isnan(ratio)]
                if len(known):
                    spread = max(_spread(known), 0.05)
                    odd |= np.nan_to_num(np.abs(ratio - np.median(known)) > 3 * spread)
            outliers = float(odd.mean())
        numbers, words = self.units.shares(rows)
        return Audit(
            verdict,
            len(rows),
            label,
            _agreement(self.a.repeats, self.b.repeats, rows) if repeats else None,
            outliers,
            numbers,
            words,
            evidence / len(rows) if len(rows) else 0.0,
            len(self.odd),
            first,
            reason,
        )


@dataclass(frozen=True)
class _Model:
    categories: list[tuple[Int, Int]]
    tables: list[Float]
    lengths: list[tuple[float, float, float]]
    units: _Weighted


@dataclass(frozen=True)
class _Features:
    lengths: Float
    weights: Float
    """What a segment's length counts for: text that is repeated n times counts once in all."""
    asks: Int
    repeats: Int
    first: Int
    """A number for each first text; -1 where there is none."""
    present: NDArray[np.bool_]
    units: list[dict[str, float]]
    """Per row, what each unit counts for: as much as the segment that it is in."""


def _features(side: Side, segments: int) -> _Features:
    n = len(side)
    lengths = np.full((n, segments), np.nan)
    asks = np.full((n, segments), -1, dtype=np.int64)
    weights = np.ones((n, segments))
    for s in range(segments):
        texts = side.texts[s]
        counts = Counter(text for text in texts if text is not None)
        for i, text in enumerate(texts):
            if text is not None:
                lengths[i, s] = math.log(2 + len(text.strip()))
                asks[i, s] = any(mark in text[-4:] for mark in _QUESTIONS)
                weights[i, s] = 1 / min(counts[text], 6)
    numbers: dict[str | None, int] = {None: -1}
    first = np.array([numbers.setdefault(text, len(numbers)) for text in side.texts[0]], dtype=np.int64)
    present = first >= 0
    units: list[dict[str, float]] = []
    for i in range(n):
        found: dict[str, float] = {}
        for s in range(segments):
            for unit in units_of(side.texts[s][i] or ""):
                found[unit] = max(found.get(unit, 0.0), float(weights[i, s]))
        units.append(found)
    return _Features(lengths, weights, asks, _repeats(first), first, present, units)


def _repeats(first: Int) -> Int:
    """Whether each row has the text of the row before (1 or 0); -1 where one of them has none."""
    found = np.full(len(first), -1, dtype=np.int64)
    known = (first[1:] >= 0) & (first[:-1] >= 0)
    found[1:][known] = (first[1:] == first[:-1])[known]
    return found


def _cycles(to: Int) -> list[list[int]]:
    """The cycles of a permutation that move anything."""
    found, seen = [], set()
    for begin in range(len(to)):
        cycle, at = [], begin
        while at not in seen:
            seen.add(at)
            cycle.append(at)
            at = int(to[at])
        if len(cycle) > 1:
            found.append(cycle)
    return found


_QUESTIONS = "?？؟;"
_RUNS = re.compile(r"\d+|[^\W\d_]+")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af]"
)


@lru_cache(maxsize=100_000)
def _folded(run: str) -> tuple[str, ...]:
    if run.isdecimal():
        return (f"#{int(run)}" if len(run) < 19 else f"#{run}",)
    if _UNSPACED.search(run):
        return tuple(run[i : i + 2] for i in range(len(run) - 1)) or (run,)
    plain = "".join(c for c in unicodedata.normalize("NFKD", run.casefold()) if not unicodedata.combining(c))
    return (plain[:6],) if len(plain) > 1 else ()


def units_of(text: str) -> Iterable[str]:
    """Numbers (as #12) and the beginnings of words of a text; pairs of characters where words are not set apart."""
    # Thai vowels and Indic vowel signs are marks, which would cut the words they are in.
    kept = "".join(c for c in text if unicodedata.category(c) != "Mn") if not text.isascii() else text
    for run in _RUNS.findall(kept):
        yield from _folded(run)


@dataclass(frozen=True)
class _Units:
    """Units that can be compared: columns of the two matrices belong together, one column a unit or a learned pair."""

    a: csr_matrix
    b: csr_matrix
    numbers: NDArray[np.bool_]
    fresh: NDArray[np.bool_]
    """Learned pairs."""

    def weighted(self, rows: Int, partners: Int, first: bool) -> _Weighted:
        columns = self.a.shape[1]
        if not columns:
            return _Weighted(self, np.zeros(0), np.zeros(0))
        n = self.b.shape[0]
        chance = (np.asarray(self.b.sum(axis=0)).ravel() + 0.5) / (n + 1)
        usual = np.where(self.numbers, 0.85, 0.4)
        if first:
            kept = usual
        else:
            a, b = self.a[rows], self.b[partners]
            df = np.asarray(a.sum(axis=0)).ravel()
            both = np.asarray(a.multiply(b).sum(axis=0)).ravel()
            for kind in (self.numbers, ~self.numbers & ~self.fresh, self.fresh):
                total = df[kind].sum()
                usual[kind] = (both[kind].sum() + 5 * 0.5) / (total + 5) if total else 0.5
            kept = (both + 2 * usual) / (df + 2)
        kept = np.clip(kept, 0.01, 0.97)
        use = (kept > 2 * chance) & (chance < 0.3)
        if first:
            use &= self.numbers | (chance * n < max(4.0, n / 50))
        absent = np.where(use, np.log((1 - kept) / (1 - chance)), 0.0)
        shared = np.where(use, np.log(kept / chance), 0.0) - absent
        return _Weighted(self, absent, shared)

    def learned(self, a: _Features, b: _Features, rows: Int, partners: Int) -> _Units:
        """With pairs of units that occur together much more often than by chance in rows taken to be translations."""
        n = len(rows)
        left, names_a = _matrix(a.units, 3, n / 5)
        right, names_b = _matrix(b.units, 3, n / 5)
        if not names_a or not names_b:
            return self
        x, y = left[rows], right[partners]
        y.data[:] = 1.0
        right.data[:] = 1.0
        together = (x.T @ y).tocoo()
        df_a, df_b = np.asarray(x.sum(axis=0)).ravel(), np.asarray(y.sum(axis=0)).ravel()
        i, j, both = together.row, together.col, together.data
        share = both / np.maximum(df_a[i], 1e-9)
        good = (both >= 3) & (share > 0.4) & (share * n / df_b[j] > 4)
        i, j, share = i[good], j[good], share[good] / np.sqrt(df_b[j[good]])
        # The best partner of each unit: the bigrams of one word would count for it several times.
        order = np.lexsort((-share, i))
        _, at = np.unique(i[order], return_index=True)
        pick = order[at]
        same = np.array([names_a[p] == names_b[q] for p, q in zip(i[pick], j[pick], strict=True)], dtype=bool)
        pick = pick[~same]
        fresh = np.concatenate([np.zeros(self.a.shape[1], dtype=bool), np.ones(len(pick), dtype=bool)])
        from scipy.sparse import hstack

        return _Units(
            csr_matrix(hstack([self.a, left[:, i[pick]]])),
            csr_matrix(hstack([self.b, right[:, j[pick]]])),
            np.concatenate([self.numbers, np.zeros(len(pick), dtype=bool)]),
            fresh,
        )

    def shares(self, rows: Int) -> tuple[float | None, float | None]:
        """Of numbers and of words in both vocabularies: the share of the source's that the target's row has."""
        own = []
        for kind in (self.numbers, ~self.numbers & ~self.fresh):
            columns = np.flatnonzero(kind)
            a, b = self.a[rows][:, columns], self.b[rows][:, columns]
            total = a.sum()
            own.append(float(a.multiply(b).sum() / total) if total else None)
        return own[0], own[1]


@dataclass(frozen=True)
class _Weighted:
    units: _Units
    absent: Float
    shared: Float

    def evidence(self, rows: Int, partners: Int) -> Float:
        if not len(self.absent):
            return np.zeros(len(rows))
        a, b = self.units.a[rows], self.units.b[partners]
        return np.asarray(a @ self.absent + a.multiply(b) @ self.shared).ravel()

    def matrix(self, rows: Int, partners: Int) -> Float:
        if not len(self.absent):
            return np.zeros((len(rows), len(partners)))
        a, b = self.units.a[rows], self.units.b[partners]
        both = (a.multiply(self.shared[None, :])).tocsr() @ b.T
        return np.asarray(both.todense() + (a @ self.absent)[:, None], dtype=np.float64)


def _matrix(units: Sequence[dict[str, float]], least: float, most: float) -> tuple[csr_matrix, list[str]]:
    counts: Counter[str] = Counter()
    for row in units:
        for unit, weight in row.items():
            counts[unit] += weight  # type: ignore[assignment]
    names = [unit for unit, count in counts.items() if least <= count + 1e-6 <= most]
    return _rows_of(units, {unit: k for k, unit in enumerate(names)}), names


def _rows_of(units: Sequence[dict[str, float]], index: dict[str, int]) -> csr_matrix:
    found = [[(index[unit], weight) for unit, weight in row.items() if unit in index] for row in units]
    starts = np.cumsum([0, *map(len, found)])
    flat = np.array([column for row in found for column, _ in row], dtype=np.int64)
    values = np.array([weight for row in found for _, weight in row], dtype=np.float64)
    return csr_matrix((values, flat, starts), shape=(len(units), len(index)))


def _common_units(a: _Features, b: _Features) -> _Units:
    names = sorted({u for row in a.units for u in row} & {u for row in b.units for u in row})
    index = {unit: k for k, unit in enumerate(names)}
    numbers = np.array([name.startswith("#") for name in names], dtype=bool)
    right = _rows_of(b.units, index)
    # What a unit counts for is said by the source's row alone.
    right.data[:] = 1.0
    return _Units(_rows_of(a.units, index), right, numbers, np.zeros(len(names), dtype=bool))


def _table(a: Int, b: Int, rows: Int, partners: Int, error: float, first: bool) -> Float:
    """Evidence of each pair of categories `[of a, of b]`."""
    size = int(max(a.max(initial=-1), b.max(initial=-1))) + 1
    if size < 2:
        return np.zeros((0, 0))
    chance = np.bincount(b[b >= 0], minlength=size) + 0.5
    chance = chance / chance.sum()
    prior = np.full((size, size), error / (size - 1))
    np.fill_diagonal(prior, 1 - error)
    counts = 2 * prior
    if not first:
        x, y = a[rows], b[partners]
        known = (x >= 0) & (y >= 0)
        counts = np.zeros((size, size))
        np.add.at(counts, (x[known], y[known]), 1)
        # Mistakes happen in all categories alike.
        wrong = counts.sum() - np.trace(counts)
        rate = (wrong + 2 * error) / (counts.sum() + 2)
        mistaken = np.full((size, size), rate / (size - 1))
        np.fill_diagonal(mistaken, 1 - rate)
        counts = counts + 4 * mistaken
    given = counts / counts.sum(axis=1, keepdims=True)
    return np.asarray(np.log(given / chance[None, :]))


def _agreement(a: Int, b: Int, rows: Int) -> float | None:
    known = rows[(a[rows] >= 0) & (b[rows] >= 0)]
    return float((a[known] == b[known]).mean()) if len(known) else None


def _spread(values: Float) -> float:
    """Standard deviation, of most values."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return 0.5
    return 1.4826 * float(np.median(np.abs(known - np.median(known)))) or float(np.std(known)) or 0.05


_NORM = math.lgamma((_TAIL + 1) / 2) - math.lgamma(_TAIL / 2) - 0.5 * math.log(_TAIL * math.pi)


def _log_t(z: Float) -> Float:
    return np.asarray(_NORM - (_TAIL + 1) / 2 * np.log1p(z**2 / _TAIL))
