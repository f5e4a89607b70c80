"""Every macro over degenerate arguments: it never raises, gives no NaN and nothing infinite, and NULL where undefined.

Whoever adds a macro says here what its arguments look like; a test fails for one that is not covered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from xlwh.store.views import Macro, shipped_sql
from xlwh.store.views import load as load_definitions

NAN, INF = math.nan, math.inf
NO_SHRINKING = (Phase.explicit, Phase.generate)

number = st.sampled_from([None, NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, -1e-300, 1e9, -1e9, 1 - 1e-16]) | (
    st.floats(-1e6, 1e6)
)  # fmt: skip
finite = st.floats(-1e6, 1e6)
share = st.sampled_from([None, NAN, 0.0, 1.0, 0.5, 1e-9, 1 - 1e-16]) | st.floats(0, 1)
count = st.sampled_from([None, 0, 1, 2, 3, 4, 5, 100, 10**9]) | st.integers(0, 2000)
flag = st.sampled_from([None, True, False])
numbers = st.none() | st.lists(number, max_size=8) | st.lists(st.floats(0, 5), min_size=3, max_size=8)
equal = st.tuples(number, st.integers(0, 6)).map(lambda pair: [pair[0]] * pair[1])
counts_10 = st.none() | st.lists(count, max_size=12) | st.lists(st.integers(0, 9), min_size=10, max_size=10)
counts_18 = st.none() | st.lists(count, max_size=20) | st.lists(st.integers(0, 9), min_size=18, max_size=18)
text = st.none() | st.sampled_from(["", " ", "%", "the", "ال", "…", "北", "\n", "a'b"]) | st.text(max_size=8)
language = st.sampled_from([None, "", "en", "de", "es", "ar", "vi", "zh", "pt-BR", "-", "xx"])
segment = st.sampled_from([None, -1, 0, 1, 2])
place = st.none() | st.integers(-2, 12)
word_list = st.none() | st.lists(st.none() | st.sampled_from(["a", "b", ""]), max_size=5)


@dataclass(frozen=True)
class Scalar:
    """How to call a macro: its arguments, their types, and whether a missing one makes the result NULL."""

    arguments: tuple[tuple[str, Any], ...]
    null_in_null_out: bool = True


def scalar(*arguments: tuple[str, Any], null_in_null_out: bool = True) -> Scalar:
    return Scalar(arguments, null_in_null_out)


x, n, p = ("double", number), ("bigint", count), ("double", share)
error = ("double", st.sampled_from([None, NAN, 0.0, 1e-12, 0.05, 0.1, 1.0]))
listed = ("double[]", numbers | equal)
words = ("varchar[]", word_list)
string, code = ("varchar", text), ("varchar", language)
natural = ("bigint", st.none() | st.integers(0, 10**6))
spread = ("double", st.sampled_from([None, NAN, INF, 0.0, 1e-300, 0.2, 3.0]))

SCALARS = {
    "answer_articles": scalar(code, null_in_null_out=False),
    "answer_words": scalar(string, code, null_in_null_out=False),
    "asymptotic_effort": scalar(p, spread, x, error),
    "asymptotic_least": scalar(x),
    "asymptotic_radius": scalar(n, p, spread, x, error),
    "bleu_of_counts": scalar(("bigint[]", counts_10)),
    "bleu_precision": scalar(("bigint[]", counts_10), ("int", st.integers(1, 4))),
    "both_converged": scalar(("bool", flag), ("bool", flag), null_in_null_out=False),
    "chrf_of_counts": scalar(("bigint[]", counts_18)),
    "cluster_error": scalar(listed, listed, x, x),
    "cluster_high": scalar(x, spread, n),
    "cluster_low": scalar(x, spread, n),
    "cluster_share_high": scalar(p, spread, n, n, null_in_null_out=False),
    "cluster_share_low": scalar(p, spread, n, n, null_in_null_out=False),
    "common_words": scalar(words, words),
    "counted_uniform": scalar(natural, natural),
    "counts_in": scalar(
        ("varchar", st.sampled_from([None, "strict", "paper"])), ("bool", flag), null_in_null_out=False
    ),
    "effective_size": scalar(p, spread, n, null_in_null_out=False),
    "error_with_spread": scalar(x, spread),
    "f2": scalar(p, p),
    "faithfulness_span": scalar(x, x),
    "finite": scalar(x),
    "fisher_z": scalar(x),
    "harmonic_mean": scalar(p, p),
    "has_spread": scalar(x, spread, null_in_null_out=False),
    "head_bet": scalar(x),
    "head_bet_slack": scalar(x, error, p),
    "head_effort": scalar(p, p, p),
    "holm": scalar(p, ("double[]", st.lists(st.none() | st.floats(0, 1), max_size=8))),
    "is_complete": scalar(listed, null_in_null_out=False),
    "jackknife_variance": scalar(listed),
    "log_mean_exp": scalar(listed),
    "lower_case": scalar(string),
    "missing_because": scalar(string, x, ("bool", flag), ("bool", flag), string, null_in_null_out=False),
    "mixed": scalar(natural),
    "normalized_faithfulness": scalar(
        ("varchar", st.sampled_from([None, "sufficiency", "comprehensiveness"])), x, x, x
    ),
    "paper_radius": scalar(n, spread, error),
    "pearson_high": scalar(x, n),
    "pearson_low": scalar(x, n),
    "permuted_correlation": scalar(
        *(("double[]", st.none() | st.lists(finite, min_size=3, max_size=3)),) * 2,
        ("double[]", st.none() | st.lists(finite, min_size=4, max_size=4)),
        ("bigint[]", st.none() | st.lists(st.integers(1, 4), min_size=3, max_size=3)),
        ("double[]", st.none() | st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=3)),
    ),
    "perturbation_cost": scalar(x, x),
    "plain_name": scalar(string),
    # As released, where it is defined.
    "published_radius": scalar(
        ("bigint", st.integers(1, 10**9)), ("double", st.floats(0, 1)), ("double", st.floats(1e-9, 1))
    ),
    "resample_weights": scalar(("bigint", st.integers(0, 8)), natural),
    "scaled_asymptotic_radius": scalar(n, spread, error, x),
    "segment_text": scalar(string, string, ("int", segment), null_in_null_out=False),
    "share_quantile": scalar(n, n, null_in_null_out=False),
    "skewness_of": scalar(spread, x),
    "spearman_high": scalar(x, n),
    "spearman_low": scalar(x, n),
    "squad_f1": scalar(words, words),
    "squares_lost": scalar(n, n, *(("double", st.none() | finite),) * 3),
    "squad_words": scalar(string),
    "strict_radius": scalar(n, p, error),
    "student_p": scalar(x, ("double", number)),
    "student_quantile": scalar(x),
    "two_way_error": scalar(x, x, n),
    "wilson_high": scalar(x, x),
    "wilson_low": scalar(x, x),
    "surface": scalar(
        string, string, ("int", segment), ("int", place), ("int", place), null_in_null_out=False
    ),
    "within_correlation": scalar(x, x, x),
    "without_prefix_article": scalar(string, code, null_in_null_out=False),
    "words_f1": scalar(words, words),
}
GROUPED = {
    "average_rank": "select g, average_rank(g, a) as v from given",
    "correlation": "select g, correlation(a, b) as v from given group by g",
    "interval_of": "select g, interval_of(a) as v from given group by g",
}
"""Aggregates and window functions, over two groups `g` of numbers `a` and `b`."""

TABLES = {
    "calign_at": ["calign_at(0.0)", "calign_at(2.0, n_best := 99)", "calign_at(null)"],
    "calign_evidence": ["calign_evidence(at_least := 0.0, more_than := -1)", "calign_evidence(up_to := 99)"],
    "calign_sweep": ["calign_sweep(thetas := [], n_bests := [])", "calign_sweep(thetas := [null, 0.0, 1.0], min_sizes := [0])"],
    "ccta_at": ["ccta_at()", "ccta_at(keep_unconverged := true)"],
    "colap_at": ["colap_at(0.0)", "colap_at(1.0)"],
    "colap_sweep": ["colap_sweep(thetas := [])", "colap_sweep(thetas := [null, 0.0, 1.1])"],
    "concept_kinds_at": ["concept_kinds_at(least_share := 0.0)", "concept_kinds_at(alpha := 0.0, least_tagged := 99)"],
    "head_affinity_at": ["head_affinity_at(0)", "head_affinity_at(1)"],
    "head_values": ["head_values()", "head_values(delta := 1.0)", "head_values(delta := 1e-12)"],
    "language_pair_scorecard_at": ["language_pair_scorecard_at('lig', 'strict')", "language_pair_scorecard_at('', null)"],
    "main_scores": ["main_scores()"],
    "orders_up_to": ["orders_up_to(0)", "orders_up_to(1)", "orders_up_to(4)"],
    "pruning_decisions_at": ["pruning_decisions_at(0.1)", "pruning_decisions_at(1.0)", "pruning_decisions_at(1e-12)"],
    "scorecard_metrics": ["scorecard_metrics()"],
}  # fmt: skip
"""Macros that are tables, with calls at the ends of what their arguments can be."""


def macros() -> set[str]:
    return {step.name for step in load_definitions((shipped_sql(),)).steps if isinstance(step, Macro)}


def test_every_macro_is_covered():
    assert macros() == {*SCALARS, *GROUPED, *TABLES}


def is_sound(value: Any) -> bool:
    """No NaN and nothing infinite, at any depth."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(is_sound, value.values()))
    return not isinstance(value, list | tuple) or all(map(is_sound, value))


def is_missing(argument: Any) -> bool:
    return argument is None or (isinstance(argument, float) and math.isnan(argument))


@pytest.mark.parametrize("name", SCALARS)
def test_a_scalar_macro_is_sound(catalogue, name):
    how = SCALARS[name]
    typed = ", ".join(f"a{i}::{kind} as a{i}" for i, (kind, _) in enumerate(how.arguments))
    call = f"{name}({', '.join(f'a{i}' for i in range(len(how.arguments)))})"
    names = [f"a{i}" for i in range(len(how.arguments))]
    rows = st.lists(st.tuples(*(values for _, values in how.arguments)), min_size=60, max_size=60)

    @settings(derandomize=True, max_examples=3, deadline=None, phases=NO_SHRINKING)
    @given(rows=rows)
    def holds(rows: list[tuple[Any, ...]]) -> None:
        columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
        catalogue.register("given", pl.DataFrame(columns, strict=False).to_arrow())
        found = catalogue.sql(f"select {call} from (select {typed} from given)").fetchall()
        for row, (value,) in zip(rows, found, strict=True):
            assert is_sound(value), (row, value)
            if how.null_in_null_out and any(map(is_missing, row)):
                assert value is None, (row, value)

    holds()


@pytest.mark.parametrize("name", GROUPED)
def test_an_aggregate_is_sound_and_one_group_does_not_touch_another(catalogue, name):
    pair = st.tuples(number, number)
    groups = st.lists(pair, max_size=6) | st.tuples(pair, st.integers(1, 5)).map(lambda it: [it[0]] * it[1])
    fixed = [("sound", float(i), float((7 * i) % 5)) for i in range(6)]

    def values(rows: list[tuple[str, Any, Any]]) -> dict[str, list[Any]]:
        frame = pl.DataFrame(rows, schema={"g": pl.String, "a": pl.Float64, "b": pl.Float64}, orient="row")
        catalogue.register("given", frame.to_arrow())
        found: dict[str, list[Any]] = {}
        for group, value in catalogue.sql(GROUPED[name]).fetchall():
            found.setdefault(group, []).append(value)
        return {group: sorted(value, key=repr) for group, value in found.items()}

    alone = values(fixed)["sound"]
    assert None not in alone

    @settings(derandomize=True, max_examples=25, deadline=None, phases=NO_SHRINKING)
    @given(rows=groups)
    def holds(rows: list[tuple[Any, Any]]) -> None:
        found = values([*(("odd", a, b) for a, b in rows), *fixed])
        assert found["sound"] == alone
        assert is_sound(found.get("odd", []))

    holds()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_macro_is_sound_with_and_without_rows(catalogue, populated, name):
    for call in TABLES[name]:
        for database in (catalogue, populated):
            assert is_sound(database.sql(f"from {call}").fetchall()), call


def test_intervals_stay_where_their_numbers_can_be(catalogue):
    """Shares in [0, 1], correlations in [-1, 1], low below high, p-values above 0."""
    ends = {
        "wilson": (0, 1, [(s, m) for m in (0, 1, 3, 1000, 0.5) for s in (0, m / 3, m)]),
        "pearson": (-1, 1, [(r, m) for m in (3, 4, 50) for r in (-1, -0.999, 0, 0.3, 1)]),
        "spearman": (-1, 1, [(r, m) for m in (3, 4, 50) for r in (-1, -0.999, 0, 0.3, 1)]),
    }
    for name, (least, most, cases) in ends.items():
        for first, second in cases:
            low, high = catalogue.sql(
                f"select {name}_low({first}, {second}), {name}_high({first}, {second})"
            ).fetchall()[0]
            assert (low is None) == (high is None)
            assert low is None or least <= low < high <= most, (name, first, second)
    for t in (0, 1e-9, 2.5, 60, 1e9, -1e300):
        for df in (0.5, 1, 3, 30, 1e6):
            ((value,),) = catalogue.sql(f"select student_p({t}, {df})").fetchall()
            assert 0 < value <= 1
