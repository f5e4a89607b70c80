"""The parts of the audit of parallel rows, each on a case that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xlwh.corpora.parallelism.evidence import Pair, estimate, evidence, pair_of, spread
from xlwh.corpora.parallelism.exchanged import exchanged
from xlwh.corpora.parallelism.sides import Side
from xlwh.corpora.parallelism.units import weigh, with_learned
from xlwh.corpora.parallelism.verdict import judge
from xlwh.corpora.parallelism.walk import (
    ODD,
    PRICE,
    Band,
    band_of,
    best_path,
    changed_at,
    matched_by,
    offsets_tried,
    unmatched,
)

NONE, PLACE, NEXT = 3, 1, 2
"""States of the offsets -1, 0, 1."""


def side(*texts: str | None, labels: str | None = None) -> Side:
    return Side((texts,), tuple(labels) if labels else (None,) * len(texts))


def band(*states: int, gain: float = 5.0) -> Band:
    """Evidence for the state of each row, against the others."""
    cells = np.full((len(states), 3), -gain)
    for row, state in enumerate(states):
        if state != NONE:
            cells[row, state] = gain
    return Band(np.array([-1, 0, 1]), cells)


# Features


def test_features_of_a_side():
    pair = pair_of(side("a?", "a?", None, "b 12 b", labels="xxzy"), side("c", labels="y"))
    source = pair.source
    assert source.present.tolist() == [True, True, False, True]
    assert source.categories["repeats"].tolist() == [-1, 1, -1, -1]
    assert source.categories["asks 0"].tolist() == [1, 1, -1, 0]
    assert source.categories["label"].tolist() == [0, 0, 1, 2]
    assert pair.target.categories["label"].tolist() == [2]
    assert source.weights[:, 0].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert source.lengths[0, 0] == math.log(4)
    assert source.units == [{}, {}, {}, {"#12": 1.0}]
    assert (pair.n, pair.m, pair.common, pair.rows.tolist()) == (4, 1, 1, [0])


def test_repeats_follow_the_order_but_rows_keep_their_numbers():
    features = pair_of(side("a", "b", "a"), side("x")).source
    assert features.categories["repeats"].tolist() == [-1, 0, 0]
    # In the order 1, 0, 2 row 2 follows row 0, and has its text.
    assert features.in_order(np.array([1, 0, 2])).categories["repeats"].tolist() == [0, -1, 1]
    assert features.without_repeats().categories["repeats"].tolist() == [-1, -1, -1]


# Evidence


def numbered(n: int, word: str) -> Side:
    return side(*(f"{word} {1000 + i}" for i in range(n)))


def test_a_shared_number_is_evidence_for_and_a_lacking_one_against():
    pair = pair_of(numbered(30, "uno"), numbered(30, "one"))
    rows = np.arange(30)
    for matched in (None, (rows, rows)):
        model = estimate(pair, matched)
        assert (evidence(pair, model, rows, rows) > 1).all()
        assert (evidence(pair, model, rows, (rows + 1) % 30) < 0).all()
        assert evidence(pair, model, rows[:2], np.array([-1, 30])).tolist() == [0.0, 0.0]


def test_equal_and_unequal_labels():
    texts = ["x"] * 40
    pair = pair_of(side(*texts, labels="ab" * 20), side(*texts, labels="ab" * 20))
    rows = np.arange(40)
    table = estimate(pair, (rows, rows)).categories["label"]
    assert table[0, 0] == pytest.approx(math.log(2), abs=0.05)
    assert table[0, 1] < -2


def test_units_in_single_numbers_and_as_a_matrix_agree():
    pair = pair_of(numbered(12, "uno"), numbered(12, "one"))
    weights = weigh(pair.units, None)
    rows = np.arange(12)
    matrix = weights.matrix(rows, rows)
    for i in rows:
        assert matrix[i] == pytest.approx(weights.evidence(np.full(12, i), rows))


def test_words_that_occur_together_are_learned():
    # Ten words, each in a tenth of the rows, beside a number that makes every text another one.
    source = side(*(f"{'abcdefghij'[i % 10] * 3} {i}" for i in range(300)))
    target = side(*(f"{'klmnopqrst'[i % 10] * 3} {i + 300}" for i in range(300)))
    pair = pair_of(source, target)
    rows = np.arange(300)
    learned = with_learned(pair.units, pair.source, pair.target, (rows, rows))
    assert (pair.units.source.shape, learned.source.shape) == ((300, 0), (300, 10))
    assert (learned.source != learned.target).nnz == 0
    assert learned.learned.all()
    assert learned.shares(rows) == (None, None)
    gained = weigh(learned, (rows, rows))
    assert (gained.evidence(rows, rows) > 1).all()
    assert (gained.evidence(rows, (rows + 1) % 300) < -1).all()


def test_spread():
    assert spread(np.array([1.0, math.nan])) == 0.5
    assert spread(np.array([1.0, 2.0, 3.0, 100.0, math.nan])) == pytest.approx(1.4826)
    assert spread(np.zeros(5)) == 0.05


# The walk


@pytest.mark.parametrize(
    ("n", "m", "least", "most"),
    [(1, 1, -2, 2), (10, 10, -9, 9), (100, 100, -30, 30), (30_000, 30_000, -3, 3)],
)
def test_offsets(n, m, least, most):
    assert offsets_tried(n, m).tolist() == list(range(least, most + 1))


def test_the_surplus_of_the_files_is_among_the_offsets():
    assert offsets_tried(100, 140).tolist() == [*range(-30, 31), *range(38, 43)]
    assert offsets_tried(100, 400).tolist() == list(range(-30, 31))


@pytest.mark.parametrize(
    "states",
    [
        [PLACE] * 30,
        [PLACE] * 15 + [NEXT] * 15,
        [NEXT] * 30,
        [PLACE] * 15 + [NONE] * 15,
        [PLACE] * 10 + [NONE] * 10 + [PLACE] * 10,
        [PLACE] * 10 + [NEXT] * 10 + [PLACE] * 10,
    ],
)
def test_the_path_follows_the_evidence(states):
    assert best_path(band(*states)).tolist() == states


def test_a_single_bad_row_costs_less_than_a_change():
    states = [PLACE] * 10 + [NONE] + [PLACE] * 10
    assert best_path(band(*states)).tolist() == [PLACE] * 21
    against = band(*states)
    against.evidence[10, PLACE] = -(PRICE + math.log(21) + 1)
    assert best_path(against).tolist() == states


def test_rows_that_match_by_a_path():
    pair = pair_of(side("a", None, "c", "d"), side("a", "b", "c", None))
    path = np.array([NEXT, PLACE, NONE, NEXT])
    rows, partners = matched_by(path, band(*path), pair)
    # Row 1 has no text, row 2 matches nothing, row 3 points beyond the end.
    assert (rows.tolist(), partners.tolist()) == ([0], [1])


def test_rows_without_a_match():
    few = [PLACE] * 40 + [NONE] * ODD + [PLACE] * 40
    assert unmatched(np.array(few), band(*few)).odd.tolist() == list(range(40, 40 + ODD))
    # More rows are doubtful only if little is said against them.
    many = [PLACE] * 40 + [NONE] * (ODD + 1) + [PLACE] * 40
    for gain, doubtful in ((1.0, ODD + 1), (5.0, 0)):
        found = unmatched(np.array(many), band(*many, gain=gain))
        assert (len(found.doubtful), len(found.odd)) == (doubtful, 0)
    # Between rows that have shifted nothing is an exception.
    shifted = [PLACE] * 40 + [NONE] * 3 + [NEXT] * 40
    assert [len(rows) for rows in unmatched(np.array(shifted), band(*shifted))] == [0, 0]


def test_where_a_row_is_missing_or_too_many():
    assert changed_at(band(*[PLACE] * 12, *[NEXT] * 18), 30, 31) == 12
    # Row 12 of the source is missing in the target: from 13 on each row matches the one before.
    assert changed_at(band(*[PLACE] * 12, NONE, *[0] * 17), 30, 29) == 12
    # A surplus that is no offset: the end.
    assert changed_at(band(*[PLACE] * 30), 30, 90) == 30


# Exchanges and the verdict


def numbered_pair(order: list[int]) -> Pair:
    target = numbered(len(order), "one").texts[0]
    return pair_of(numbered(len(order), "uno"), side(*(target[i] for i in order)))


@pytest.mark.parametrize("cycle", [(3, 40), (3, 4), (5, 20, 50)])
def test_rows_that_changed_places_are_named(cycle):
    order = list(range(60))
    for place, row in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
        order[place] = row
    pair = numbered_pair(order)
    model = estimate(pair, (pair.rows, pair.rows))
    assert exchanged(pair, model, band_of(pair, model, offsets_tried(60, 60))) == sorted(cycle)
    assert judge(pair, by_id=False, translations=True).first_divergence == min(cycle)
    by_id = judge(pair, by_id=True, translations=True)
    assert (by_id.verdict, by_id.odd.tolist()) == ("parallel", sorted(cycle))


def test_rows_in_their_order_have_not_changed_places():
    pair = numbered_pair(list(range(60)))
    model = estimate(pair, (pair.rows, pair.rows))
    assert exchanged(pair, model, band_of(pair, model, offsets_tried(60, 60))) == []


def misplaced(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Rows 10 to 19 hold other numbers; their own stand, backwards, in the rows before."""
    first = (f"{text} {1019 - i}" for i, text in enumerate(texts[:10]))
    return (*first, *texts[50:], *texts[20:])


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (lambda t: (*t[:20], *t[21:]), "row i matches the target's row i - 1 (39 rows); 60 rows against 59"),
        (lambda t: (*t[:20], "0", *t[20:]), "row i matches the target's row i + 1 (40 rows); 60 rows against 61"),
        (lambda t: (*t[:20], *t[:19:-1]), "no row from here on has a match"),
        (lambda t: (*t[:20], *t[39:19:-1], *t[40:]), "no match for the next 20 rows"),
        (misplaced, "rows without a match: 10, first row 10; perhaps bad translations"),
        (lambda t: t[::-1], "the rows match nowhere"),
        (lambda t: (None,) * 60, "no row has a text on both sides"),
    ],
)  # fmt: skip
def test_reasons(target, reason):
    pair = pair_of(numbered(60, "uno"), side(*target(numbered(60, "one").texts[0])))
    assert judge(pair, by_id=False, translations=True).reason.startswith(reason)
