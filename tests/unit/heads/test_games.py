"""Value functions in both directions."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from xlwh.errors import ModelError
from xlwh.heads.exact import coalition_table, exact_values
from xlwh.heads.games import GameEngine, to_shapiq, value_function
from xlwh.heads.sampler import sample_round
from xlwh.study import Sampler


def weighted(coalitions: np.ndarray) -> np.ndarray:
    """A game with an interaction: the values are .1, .2, .3 and half of .4 for each of the last two."""
    return coalitions @ np.array([0.1, -0.2, 0.3, 0.0, 0.0]) + 0.4 * (coalitions[:, 3] & coalitions[:, 4])


def test_the_value_function_is_the_mean_over_examples(game):
    engine = game("bert").engine(measure="probability")
    coalitions = np.random.default_rng(0).random((3, 8)) < 0.5
    found = value_function(engine)(coalitions)
    table = coalition_table(engine, np.arange(4))
    columns = coalitions @ (1 << np.arange(8))
    np.testing.assert_allclose(found, table[:, columns].mean(axis=0), atol=1e-5)
    some = value_function(engine, np.array([2]))(coalitions)
    np.testing.assert_allclose(some, table[2, columns], atol=1e-5)


def test_our_exact_values_and_samplers_take_any_game():
    engine = GameEngine(weighted, 5)
    expected = [0.1, -0.2, 0.3, 0.2, 0.2]
    exact = exact_values(coalition_table(engine, np.arange(1)), 5)[0]
    np.testing.assert_allclose(exact, expected, atol=1e-6)
    made = sample_round(
        engine, Sampler(truncation=0, round_permutations=400), 0, 0, np.ones(5, dtype=bool), ["game"]
    )
    means = np.bincount(made.player, made.value) / np.bincount(made.player)
    np.testing.assert_allclose(means, expected, atol=0.03)
    assert made.rows == 400 * 5


@pytest.mark.skipif(importlib.util.find_spec("shapiq") is None, reason="shapiq is not installed")
def test_shapiq_takes_our_game(game):
    import shapiq

    engine = game("bert").engine("layer", "mlp", measure="probability")
    made = to_shapiq(engine)
    found = shapiq.ExactComputer(n_players=4, game=made)("SV")
    expected = exact_values(coalition_table(engine, np.arange(4)), 4).mean(axis=0)
    np.testing.assert_allclose([found[(player,)] for player in range(4)], expected, atol=1e-5)
    back = GameEngine(made, 4)
    again = exact_values(coalition_table(back, np.arange(1)), 4)[0]
    np.testing.assert_allclose(again, expected, atol=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("shapiq") is not None, reason="shapiq is installed")
def test_without_shapiq_it_says_what_to_install(game):
    with pytest.raises(ModelError, match="pip install shapiq"):
        to_shapiq(game("bert").engine())
