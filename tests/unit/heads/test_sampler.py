"""Sampling against exact small games, and what adaptive sampling leaves untouched."""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest
import torch

from xlwh.errors import ModelError
from xlwh.heads.exact import coalition_table, exact_values
from xlwh.heads.sampler import Marginals, needed_rows, removals, sample_round
from xlwh.heads.sequences import Evidence
from xlwh.study import Sampler

IDS = ["0", "1", "2", "3"]


def rounds(engine, sampler: Sampler, number: int, measured=None) -> Marginals:
    mask = np.ones(len(engine.players), dtype=bool) if measured is None else measured
    return sample_round(engine, sampler, 5, number, mask, IDS)


def mean_values(marginals: Marginals, players: int) -> np.ndarray:
    return np.bincount(marginals.player, marginals.value, players) / np.bincount(
        marginals.player, minlength=players
    )


@pytest.fixture
def engine(game):
    """All 8 heads of a tiny BERT; scores are probabilities, so that few are zero."""
    return game("bert").engine(measure="probability")


@pytest.fixture
def table(engine):
    return coalition_table(engine, np.arange(4))


def test_the_table_holds_every_coalition(game, engine, table):
    built = game("bert")
    for example, column in ((0, 0b10110101), (3, 0), (2, 255)):
        gates = torch.tensor([(column >> p) & 1 for p in range(8)]).reshape(2, 4).float()
        expected = float(built.naive(example, gates).softmax(-1)[built.gold.classes[example]])
        assert table[example, column] == pytest.approx(expected, abs=1e-5)


def test_exact_values_are_shapley_values(table):
    """Against the textbook formula with factorial weights."""
    values = exact_values(table, 8)
    expected = np.zeros_like(values)
    for player in range(8):
        for column in range(256):
            if not (column >> player) & 1:
                size = column.bit_count()
                weight = factorial(size) * factorial(7 - size) / factorial(8)
                expected[:, player] += weight * (table[:, column | 1 << player] - table[:, column])
    np.testing.assert_allclose(values, expected, atol=1e-6)
    np.testing.assert_allclose(values.sum(axis=1), table[:, 255] - table[:, 0], atol=1e-6)


@pytest.mark.parametrize("truncation", [0.0, 0.5])
@pytest.mark.parametrize("antithetic", [False, True])
def test_sampled_means_agree_with_the_exact_values(engine, table, truncation, antithetic):
    exact = exact_values(table, 8, truncation).mean(axis=0)
    sampler = Sampler(truncation=truncation, antithetic=antithetic, adaptive=False, round_permutations=400)
    evidence = Evidence(8)
    for number in range(2):
        rounds(engine, sampler, number).observe(evidence, antithetic)
    low, high = evidence.interval(0.1)
    assert (low <= exact).all()
    assert (exact <= high).all()
    mean = evidence.total / evidence.count
    error = np.sqrt((evidence.square / evidence.count - mean**2) / evidence.count)
    assert (np.abs(mean - exact) < 4.5 * error + 1e-6).all()


def test_efficiency_holds_row_by_row(engine, table):
    made = rounds(engine, Sampler(truncation=0, round_permutations=40), 0)
    assert len(made) == 40 * 8
    assert made.rows == 40 * 8
    for number in range(40):
        own = made.permutation == number
        (example,) = set(made.example[own].tolist())
        assert made.value[own].sum() == pytest.approx(table[example, 255] - table[example, 0], abs=1e-5)
        assert sorted(made.remaining[own].tolist()) == list(range(8))


def test_truncation_counts_removals_that_leave_enough(engine):
    assert [removals(8, t) for t in (0, 0.25, 0.5, 0.9)] == [8, 6, 4, 0]
    assert removals(10, 0.7) == 3
    made = rounds(engine, Sampler(round_permutations=30), 0)
    assert made.remaining.min() == 4
    assert np.bincount(made.remaining, minlength=8).tolist() == [0, 0, 0, 0, 30, 30, 30, 30]


def test_antithetic_pairs_measure_every_player_once(engine):
    made = rounds(engine, Sampler(antithetic=True, round_permutations=20), 0)
    pairs = np.stack([made.permutation // 2, made.player])
    assert len(np.unique(pairs, axis=1).T) == len(made) == 10 * 8


def test_players_that_are_no_longer_measured_change_nothing_for_the_others(engine):
    """The remaining marginals are the same numbers, with fewer evaluations."""
    sampler = Sampler(round_permutations=60)
    measured = np.array([True, False, False, True, False, False, False, False])
    whole, part = rounds(engine, sampler, 1), rounds(engine, sampler, 1, measured)
    same = measured[whole.player]
    np.testing.assert_array_equal(part.permutation, whole.permutation[same])
    np.testing.assert_array_equal(part.player, whole.player[same])
    np.testing.assert_array_equal(part.remaining, whole.remaining[same])
    np.testing.assert_allclose(part.value, whole.value[same], atol=1e-6)
    assert part.rows < whole.rows * 0.6
    assert part.rows == needed_rows(sampler, 5, 1, measured, 4)
    assert whole.rows == needed_rows(sampler, 5, 1, np.ones(8, dtype=bool), 4)


def test_rounds_do_not_depend_on_each_other(engine):
    """Later samples are added to earlier ones; two machines' rounds are one machine's."""
    small = Sampler(round_permutations=20)
    parts = [rounds(engine, small, number) for number in (1, 0)]
    whole = rounds(engine, Sampler(round_permutations=40), 0)
    together = {
        (p, h): v for part in parts for p, h, v in zip(part.permutation, part.player, part.value, strict=True)
    }
    assert len(together) == len(whole)
    for number, player, value in zip(whole.permutation, whole.player, whole.value, strict=True):
        assert together[number, player] == pytest.approx(value, abs=1e-6)


def test_a_head_that_does_nothing_is_worth_nothing(game):
    built = game("bert")
    layer = built.loaded.model.bert.encoder.layer[1].attention.output.dense
    columns = layer.weight[:, 6:12].clone()
    layer.weight[:, 6:12] = 0
    made = rounds(built.engine(measure="probability"), Sampler(truncation=0, round_permutations=50), 0)
    layer.weight[:, 6:12] = columns
    values = mean_values(made, 8)
    assert np.abs(made.value[made.player == 5]).max() <= 1e-6
    assert (np.abs(np.delete(values, 5)) > 1e-5).all()


def test_whole_set_marginals_are_means_over_the_examples(engine):
    made = rounds(engine, Sampler(estimator="whole_set", adaptive=False, round_permutations=6), 0)
    assert (made.example == -1).all()
    assert made.rows == 6 * 4 * 4
    assert len(made) == 6 * 4
    first = rounds(engine, Sampler(round_permutations=6), 0)
    np.testing.assert_array_equal(made.player, first.player)


def test_exact_rounds_hold_every_examples_values(engine, table):
    made = rounds(engine, Sampler(estimator="exact"), 0)
    np.testing.assert_allclose(made.value.reshape(4, 8), exact_values(table, 8, 0.5), atol=1e-6)


def test_too_many_players_for_exact_values(game):
    engine = game("bert").engine()
    object.__setattr__(engine.players, "names", engine.players.names * 2)
    with pytest.raises(ModelError, match="at most 14"):
        coalition_table(engine, np.arange(1))
