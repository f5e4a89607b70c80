"""Rounds to rows and back, and the examples that they are drawn on."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from xlwh.heads.engine import engine_on
from xlwh.heads.examples import evaluated_examples, short_examples, valued_examples
from xlwh.heads.rounds import Rounds
from xlwh.study import Sampler


@pytest.mark.parametrize("options", [{}, {"antithetic": True}, {"estimator": "whole_set"}])
def test_evidence_is_the_same_from_the_rows_of_earlier_rounds(game, options):
    built = game("bert")
    engine = engine_on(built.loaded, built.examples, ("head",), measure="probability")
    sampler = Sampler(round_permutations=8, max_rows=40, **options)
    drawn, read = (Rounds(engine, sampler, 5, built.examples) for _ in range(2))
    told = []
    for number in range(2):
        marginals = drawn.draw(number, 32 * number, lambda *done: told.append(done))
        rows = drawn.rows(marginals)
        assert rows.height == len(marginals)
        assert rows.sort("permutation", "example_id", "unit", "layer", "head").equals(rows)
        read.observe_rows(rows)
    assert told[-1] == (40, 40)
    assert set(rows["example_id"]) <= ({"*"} if "estimator" in options else set("0123"))
    assert read.observed == drawn.observed == 2
    np.testing.assert_allclose(read.evidence.total, drawn.evidence.total, atol=1e-9)
    np.testing.assert_allclose(read.evidence.log_e_negative, drawn.evidence.log_e_negative, atol=1e-9)
    assert read.undecided == 8


def test_examples_are_those_with_gold_and_apart_from_the_valued_ones(frame):
    examples = frame([("a", "b"), ("long " * 9, None), ("c", "d"), ("e", None)]).with_columns(
        label=pl.Series(["x", "y", None, "x"])
    )
    valued = valued_examples(examples.lazy(), 2, 0)
    assert valued.height == 2
    rest = evaluated_examples(examples.lazy(), valued, None, 0)
    assert sorted([*valued["example_id"], *rest["example_id"]]) == ["0", "1", "3"]
    assert valued_examples(examples.lazy(), 2, None).height == 3
    longer = examples.with_columns(text=pl.when(example_id="0").then(pl.lit("long " * 9)).otherwise("text"))
    assert short_examples(examples, [], 10, 9, 0)["example_id"].to_list() == ["0", "2", "3"]
    assert short_examples(examples, [longer], 10, 9, 0)["example_id"].to_list() == ["2", "3"]
    # A language that shares none has no say.
    others = longer.with_columns("other " + pl.col("example_id"))
    assert short_examples(examples, [others], 10, 1, 0).height == 1
