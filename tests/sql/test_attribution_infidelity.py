"""Infidelity and sensitivity, worked out by hand."""

from __future__ import annotations

import pytest


def rows(example, draws, **common):
    """Draws given as (attributed, lost, change)."""
    return [
        {
            "example_id": example,
            "draw": number,
            "attributed": attributed,
            "lost": lost,
            "norm": 2.0,
            "noise": None if change is None else 0.1,
            "change": change,
            **common,
        }
        for number, (attributed, lost, change) in enumerate(draws)
    ]


def test_draws_first_and_examples_after(connect):
    database = connect(
        attribution_probes=[
            row
            for copy in range(5)
            for row in (
                *rows(f"1.{copy}", [(1.0, 2.0, 0.5), (2.0, 4.0, 1.0)]),
                *rows(f"2.{copy}", [(1.0, 0.0, 0.2), (0.0, 3.0, 0.2)]),
            )
        ]
    )
    (row,) = database.sql("select * from attribution_infidelity").pl().to_dicts()
    assert (row["n"], row["clusters"], row["draws"]) == (10, 10, 2)
    # Example 1: (1 + 4) / 2; twice the attributions is what is lost. Example 2: (1 + 9) / 2; nothing is foretold.
    assert row["infidelity"] == pytest.approx((2.5 + 5) / 2)
    assert row["infidelity_scaled"] == pytest.approx((0 + 4.5) / 2)
    assert row["unexplained"] == pytest.approx((0 + 1) / 2)
    assert row["sensitivity_max"] == pytest.approx((0.5 + 0.1) / 2)
    assert row["sensitivity_mean"] == pytest.approx((0.375 + 0.1) / 2)
    # Student's quantile with 9 degrees of freedom; the squares about the mean are 1.25^2 each.
    half = 2.26216 * 1.25 / 9**0.5
    assert row["infidelity_high"] - row["infidelity"] == pytest.approx(half, abs=1e-4)
    assert row["infidelity"] - row["infidelity_low"] == pytest.approx(half, abs=1e-4)


def test_without_noise_there_is_no_sensitivity_and_zeros_have_no_scale(connect):
    database = connect(
        attribution_probes=[
            *rows("1", [(0.0, 2.0, None)]),
            *rows("1", [(0.0, 2.0, 0.5)], method="gradient", norm=0.0),
        ]
    )
    found = database.sql("select * from attribution_infidelity order by method").pl().to_dicts()
    zero, without = found
    assert (zero["infidelity_scaled"], zero["unexplained"], zero["sensitivity_max"]) == (4.0, 1.0, 0.5)
    assert (without["sensitivity_max"], without["infidelity_low"]) == (None, None)
