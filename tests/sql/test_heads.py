"""The views about heads over small games worked out by hand, and against the library's own statistics."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from xlwh.heads.sequences import (
    Evidence,
    asymptotic_radius,
    paper_radius,
    published_radius,
    strict_interval,
)
from xlwh.heads.summary import harmful, summarise


def samples(values, **common):
    """One row per (head, permutation) from `{head: [marginals]}`."""
    return [
        {"unit": "head", "layer": 0, "head": head, "permutation": n, "marginal": x, "remaining": 1, "sampler": "rows",
         "estimator": "permutation", "example_id": f"e{n}", **common}
        for head, marginals in values.items()
        for n, x in enumerate(marginals)
    ]  # fmt: skip


def drawn(mean: float, n: int, seed: int) -> list[float]:
    u = np.random.default_rng(seed).random(n)
    return [float(x) for x in np.where(u < 0.2 + mean / 2, 1.0, np.where(u < 0.4, -1.0, 0.0))]


def test_values_are_means_and_intervals_those_of_the_library(connect):
    values = {0: drawn(-0.3, 1400, 0), 1: drawn(0.3, 400, 1), 2: [0.25, -0.5] * 600}
    found = {
        (row[0], row[1]): row[2:]
        for row in connect(head_samples=samples(values))
        .sql(
            "select head, variant, n, value, sd, value_low, value_high, value_rank, value_even, value_odd, "
            "log_e_negative, log_e_positive, players, skewness from head_shapley"
        )
        .fetchall()
    }
    assert set(found) == {(h, v) for h in range(3) for v in ("strict", "asymptotic", "paper")}
    evidence = Evidence(3)
    for head, marginals in values.items():
        evidence.add(np.full(len(marginals), head), np.array(marginals))
    low, high = strict_interval(evidence.count, evidence.total, evidence.square, 0.1 / 3)
    for head, marginals in values.items():
        n, value, sd, *bounds = found[head, "strict"]
        assert n == len(marginals)
        assert value == pytest.approx(np.mean(marginals))
        assert sd == pytest.approx(np.std(marginals))
        assert bounds[0] == pytest.approx(low[head])
        assert bounds[1] == pytest.approx(high[head])
        assert bounds[3] == pytest.approx(np.mean(marginals[::2]))
        assert bounds[4] == pytest.approx(np.mean(marginals[1::2]))
        assert bounds[5] == pytest.approx(evidence.log_e_negative[head])
        assert bounds[6] == pytest.approx(evidence.log_e_positive[head])
        assert bounds[7] == 3
        radius = paper_radius(np.array([n]), np.array([sd]), 0.1)[0]
        paper = found[head, "paper"]
        assert paper[3] == pytest.approx(max(-1, value - radius))
        assert paper[4] == pytest.approx(min(1, value + radius))
        assert paper[8:10] == (None, None)
        skewness = stats.skew(marginals)
        radius = asymptotic_radius(*(np.array([x]) for x in (n, value, sd, skewness)), 0.1 / 3)[0]
        ends = (max(-1, value - radius), min(1, value + radius))
        assert found[head, "asymptotic"][3:5] == pytest.approx(ends)
        assert found[head, "asymptotic"][11] == pytest.approx(skewness)
    assert [found[head, "strict"][5] for head in range(3)] == [3, 1, 2]


def test_the_librarys_summary_says_the_same(connect, frame):
    values = {0: drawn(-0.3, 1300, 0), 1: drawn(0.0, 300, 1), 2: [0.25, -0.5] * 100, 3: [-0.2] * 1100}
    rows = samples(values)
    summary = summarise(frame("head_samples", rows).lazy()).sort("head")
    database = connect(head_samples=rows)
    view = database.sql(
        "select s.head, s.n, s.value, s.sd, s.skewness, s.log_e_negative, s.log_e_positive, d.decision, p.decision as paper, "
        "a.decision as asymptotic from head_shapley as s join pruning_decisions as d using (head, variant) "
        "join pruning_decisions as p on p.head = s.head and p.variant = 'paper' "
        "join pruning_decisions as a on a.head = s.head and a.variant = 'asymptotic' "
        "where s.variant = 'strict' order by head"
    ).pl()
    for ours, theirs in (
        ("n", "n"),
        ("mean", "value"),
        ("sd", "sd"),
        ("skewness", "skewness"),
        *[(f"log_e_{s}", f"log_e_{s}") for s in ("negative", "positive")],
    ):
        np.testing.assert_allclose(summary[ours].to_numpy(), view[theirs].to_numpy(), atol=1e-12)
    for variant, column in (("strict", "decision"), ("asymptotic", "asymptotic"), ("paper", "paper")):
        pruned = summary.select(harmful(variant, 0.1).alias("x"))["x"].to_list()
        assert pruned == [decision == "prune" for decision in view[column]]


def test_antithetic_pairs_are_one_observation_and_exact_values_halve_by_example(connect):
    pairs = samples({0: [0.5, -0.5, 1.0, 0.0]}, estimator="antithetic")
    exact = samples({0: [0.5, 0.25]}, estimator="exact", sampler="all")
    for row in exact:
        row["permutation"], row["remaining"] = 0, None
    database = connect(head_samples=[*pairs, *exact])
    query = "select sampler, n, value, sd from head_shapley where variant = 'strict' order by sampler"
    assert database.sql(query).fetchall() == [("all", 2, 0.375, 0.125), ("rows", 2, 0.25, 0.25)]


def test_few_or_skewed_observations_have_no_asymptotic_interval(connect):
    rare = [0.0] * 1095 + [-1.0] * 5  # Skewness 15, so 22,000 observations are asked for.
    values = {0: [-0.3, -0.31] * 511, 1: [-0.3, -0.31] * 512, 2: rare, 3: [-0.3] * 1100, 4: [-0.3] * 1000}
    rows = connect(head_samples=samples(values)).sql(
        "select value_low, value_high, decision from pruning_decisions where variant = 'asymptotic' order by head"
    )
    few, enough, skewed, equal, equal_few = rows.fetchall()
    assert few == skewed == equal_few == (-1, 1, "undecided")
    assert -0.32 < enough[0] < enough[1] < -0.29
    assert enough[2] == "prune"
    # No spread was seen, which leaves room for what is rarer than ln(5 / 0.1) / 1100.
    unseen = 1.3 * math.log(50) / 1100
    assert equal == (pytest.approx(-0.3 - unseen), pytest.approx(-0.3 + unseen), "prune")


@pytest.mark.parametrize("value", [0.0, 0.1, -1.0, 1.0, 1 / 3])
@pytest.mark.parametrize("n", [1, 2, 63, 64, 1024, 3000])
def test_no_head_has_an_interval_without_width(connect, value, n):
    database = connect(head_samples=samples({0: [value] * n, 1: [0.5, -0.5]}))
    rows = database.sql("select variant, value_low, value_high from head_shapley where head = 0").fetchall()
    assert {variant for variant, *_ in rows} == {"strict", "asymptotic", "paper"}
    for variant, low, high in rows:
        assert high - low > 1 / n / 4, variant


def test_the_published_bound_is_offered_on_whole_sets_only(connect):
    sets = [0.02, 0.04, 0.03, 0.05] * 100
    rows = samples({0: sets}, estimator="whole_set", example_id="*", sampler="whole")
    database = connect(head_samples=[*rows, *samples({0: [1.0, 0.0, 0.0]})])
    query = "select value, sd, value_low, value_high from head_shapley where variant = 'published_code'"
    ((value, sd, low, high),) = database.sql(query).fetchall()
    radius = published_radius(np.array([400]), np.array([sd]), 0.1)[0]
    assert radius == pytest.approx((np.std(sets) * math.sqrt(2 * math.log(30)) + 3 * math.log(30)) / 400)
    assert (low, high) == (pytest.approx(value - radius), pytest.approx(value + radius))
    decision = "select decision from pruning_decisions where variant = 'published_code'"
    assert database.sql(decision).fetchall() == [("keep",)]


@pytest.mark.parametrize(
    ("mean", "decision"), [(0.03, "keep"), (0.0, "keep"), (-0.004, "keep"), (-0.03, "prune")]
)
def test_what_the_published_bound_still_takes_is_what_it_takes(connect, mean, decision):
    """The number of further observations is the first one at which the decision falls."""

    def judged(n):
        rows = samples(
            {0: [mean + 0.01, mean - 0.01] * (n // 2)}, estimator="whole_set", example_id="*", sampler="whole"
        )
        query = "select decision, more_observations from pruning_decisions where variant = 'published_code'"
        return connect(head_samples=rows).sql(query).fetchall()[0]

    before, more = judged(20)
    assert before == "undecided"
    needed = 20 + int(more)
    assert judged(needed + needed % 2)[0] == decision
    assert judged(needed - 2 - needed % 2)[0] == "undecided"


def test_decisions_and_what_is_left_to_do(connect):
    values = {0: drawn(-0.35, 2000, 0), 1: drawn(0.35, 2000, 1), 2: drawn(0.02, 2000, 2), 3: [0.0] * 50}
    database = connect(head_samples=samples(values))
    rows = database.sql(
        "select decision, prune_fdr, more_observations from pruning_decisions where variant = 'strict' order by head"
    ).fetchall()
    assert [row[0] for row in rows] == ["prune", "keep", "undecided", "undecided"]
    assert [row[1] for row in rows] == [True, False, False, False]
    assert rows[0][2] == rows[1][2] == 0
    assert rows[2][2] >= 1
    assert rows[3][2] is None
    lenient = database.sql(
        "select decision from pruning_decisions_at(0.999999) where variant = 'paper' and head = 0"
    )
    assert lenient.fetchall() == [("prune",)]


def test_e_bh_finds_more_than_one_by_one(connect):
    """Four heads whose evidence lies between players / (4 delta) and players / delta."""
    one = [-1.0] * 8
    values = dict.fromkeys(range(4), one) | {4: [0.0] * 8}
    database = connect(head_samples=samples(values))
    ((evidence,),) = database.sql(
        "select distinct log_e_negative from head_shapley where head < 4 and variant = 'strict'"
    ).fetchall()
    delta = 2 * 5 / (4 * math.exp(evidence))
    rows = database.sql(
        f"select decision, prune_fdr from pruning_decisions_at({delta}) where variant = 'strict' order by head"
    ).fetchall()
    assert rows == [("undecided", True)] * 4 + [("undecided", False)]


def test_convergence_sums_up_permutations(connect):
    rows = connect(head_samples=samples({0: [1.0, 0.0, 0.5, 0.5, 1.0]})).sql(
        "select permutations, n, value from head_convergence order by permutations"
    )
    assert rows.fetchall() == [(1, 1, 1.0), (2, 2, 0.5), (4, 4, 0.5), (8, 5, 0.6)]


def test_rank_correlations_have_a_ceiling_from_halves(connect):
    random = np.random.default_rng(0)
    truth = np.arange(6) / 10
    rows = []
    for language in ("en", "de"):
        noise = random.normal(0, 0.05, (6, 4))
        values = {head: (truth[head] + noise[head]).round(3).tolist() for head in range(6)}
        rows += samples(values, language=language)
    database = connect(head_samples=rows)
    frame = pl.DataFrame(rows)
    mean = frame.group_by("language", "head").agg(pl.col("marginal").mean()).sort("head")
    half = (
        frame.group_by("language", "head", pl.col("permutation") % 2)
        .agg(pl.col("marginal").mean())
        .sort("head")
    )

    def value(language, parity=None):
        if parity is None:
            return mean.filter(language=language)["marginal"].to_numpy()
        return half.filter(language=language, permutation=parity)["marginal"].to_numpy()

    def rho(a, b):
        return stats.spearmanr(a, b).statistic

    found = database.sql(
        "select players, rho, rho_apart, ceiling_source, ceiling_target, ceiling, rho_corrected "
        "from head_rank_correlation where source_language = 'de' and target_language = 'en'"
    ).fetchall()
    ceilings = [rho(value(x, 0), value(x, 1)) for x in ("de", "en")]
    apart = (rho(value("de", 0), value("en", 1)) + rho(value("de", 1), value("en", 0))) / 2
    expected = (6, rho(value("de"), value("en")), apart, *ceilings, math.sqrt(ceilings[0] * ceilings[1]))
    assert found[0] == pytest.approx((*expected, apart / expected[-1]), abs=1e-6)
    assert database.sql("select count(*) from head_rank_correlation").fetchall() == [(4,)]


def test_affinity_tells_agnostic_and_specific_heads(connect):
    rows = []
    for language in ("en", "de", "zh"):
        values = {
            0: [1.0] * 300,
            1: [-0.5 if language == "zh" else 0.9] * 300,
            2: [0.0, 0.1] * 150,
            3: [-0.2] * 300,
        }
        rows += samples(values, language=language)
    database = connect(head_samples=rows)
    found = database.sql(
        "select head, languages, languages_in_top, agnostic, specific_language from head_affinity_at(2) "
        "where variant = 'strict' order by head"
    ).fetchall()
    assert found == [
        (0, 3, 3, True, None),
        (1, 3, 2, False, "zh"),
        (2, 3, 1, False, None),
        (3, 3, 0, False, None),
    ]
    assert not any(row[0] for row in database.sql("select agnostic from head_affinity").fetchall())


def compared(language, p, **row):
    return {
        "language": language, "ranking": "shapley.rows", "mask_language": language, "selection": "strict",
        "num_removed": 2, "num_examples": 100, "before": 0.5, "after": 0.52, "bootstrap_p": p, "resamples": 1000, **row,
    }  # fmt: skip


def test_effects_are_corrected_over_the_languages_of_one_kind_of_mask(connect):
    rows = [
        compared("en", 0.01),
        compared("de", 0.02, num_removed=3),
        compared("zh", 0.4),
        compared("de", 0.02, mask_language="en"),
        compared("en", 0.03, ranking="random", selection="curve"),
        compared("en", 0.03, ranking="random", selection="curve", num_removed=4),
    ]
    database = connect(pruning_tests=rows)
    found = database.sql(
        "select language, is_targeted, tests, holm_p, effect from pruning_effects "
        "where ranking = 'shapley.rows' order by is_targeted desc, language"
    ).fetchall()
    assert [row[:3] for row in found] == [("de", True, 3), ("en", True, 3), ("zh", True, 3), ("de", False, 1)]
    assert [row[3] for row in found] == pytest.approx([0.04, 0.03, 0.4, 0.02])
    assert found[0][4] == pytest.approx(0.02)
    curve = database.sql("select tests, holm_p from pruning_effects where ranking = 'random'").fetchall()
    assert curve == [(1, 0.03)] * 2


def test_a_mask_that_removes_nothing_changes_nothing(connect):
    """By definition and not by a sample: no example that was not seen could change."""
    nothing = {"num_removed": 0, "after": 0.5, "effect_low": -0.03, "effect_high": 0.03}
    database = connect(pruning_tests=[compared("en", 1.0, **nothing), compared("de", 0.2, effect_low=-0.03)])
    query = "select language, effect, effect_low, effect_high from pruning_effects order by language"
    (removed, *_, low, _), unchanged = database.sql(query).fetchall()
    assert (removed, low) == ("de", -0.03)
    assert unchanged == ("en", 0, 0, 0)


def test_halves_share_no_permutation(connect):
    """Even and odd permutations; of antithetic pairs even and odd pairs; of exact values every example is in one half."""
    rows = samples({0: [float(n % 2) for n in range(8)]})
    antithetic = samples({0: [0.0, 0.0, 1.0, 1.0] * 2}, estimator="antithetic", sampler="pairs")
    exact = [
        {
            **row,
            "estimator": "exact",
            "sampler": "all",
            "permutation": 0,
            "remaining": None,
            "example_id": f"e{n % 20}",
        }
        for n, row in enumerate(samples({head: [n / 40 for n in range(20)] for head in (0, 1)}))
    ]
    database = connect(head_samples=[*rows, *antithetic, *exact])
    halves = database.sql(
        "select sampler, value_even, value_odd from head_shapley where variant = 'strict' and sampler <> 'all' order by 1"
    ).fetchall()
    assert halves == [("pairs", 0, 1), ("rows", 0, 1)]
    both = database.sql(
        "select half, sum(observations), list(marginal order by marginal) from head_observations "
        "where sampler = 'all' group by half order by half"
    ).fetchall()
    (_, first, one), (_, second, other) = both
    assert first + second == 40
    assert min(first, second) > 8
    assert not set(one) & set(other), "an example is in the same half for every head"


def test_curves_average_draws_and_begin_at_the_whole_model(connect):
    rows = [
        compared("en", 0.5, ranking="random", selection="curve", draw=draw, after=0.4 + draw / 10)
        for draw in range(2)
    ]
    found = connect(pruning_tests=rows).sql(
        "select num_removed, draws, accuracy, accuracy_min, accuracy_max from pruning_curves order by num_removed"
    )
    assert found.fetchall() == [(0, 1, 0.5, 0.5, 0.5), (2, 2, pytest.approx(0.45), 0.4, 0.5)]


@pytest.mark.parametrize("pattern", [[0.06, -0.04], [-0.1] + [0.02] * 9, [0.02]])
def test_what_is_left_to_do_of_an_asymptotic_decision(connect, pattern):
    database = connect(head_samples=samples({0: pattern * 50, 1: [0.0]}))
    query = "select n, value, sd, skewness, more_observations from pruning_decisions join head_shapley using (head, variant, n, value)"
    ((n, value, sd, skewness, more),) = database.sql(
        f"{query} where variant = 'asymptotic' and head = 0"
    ).fetchall()
    count = np.arange(64, 100_000)
    radius = asymptotic_radius(count, *(np.full(len(count), x) for x in (value, sd, skewness)), 0.1 / 2)
    needed = count[radius <= abs(value)][0]
    assert needed <= n + more <= 1.1 * needed + 1


@pytest.mark.parametrize(("mean", "spread"), [(-0.01, 0.0), (0.01, 0.02), (0.3, 0.0), (-0.06, 0.5)])
def test_what_is_left_to_do_is_about_what_it_takes(connect, mean, spread):
    pattern = [mean + spread, mean - spread]
    database = connect(head_samples=samples({0: pattern * 3, 1: [0.0]}))
    ((more,),) = database.sql(
        "select more_observations from pruning_decisions where variant = 'strict' and head = 0"
    ).fetchall()
    evidence, seen = Evidence(2), 0
    while max(evidence.log_e_negative[0], evidence.log_e_positive[0]) < math.log(2 / 0.1):
        evidence.add(np.zeros(2, dtype=np.int64), np.array(pattern))
        seen += 2
    assert 6 + more == pytest.approx(seen, rel=0.2, abs=3)


def test_attention_is_told_pair_by_pair(connect):
    database = connect(
        attention_maps=[
            {
                "layer": 0,
                "head": 1,
                "tokens": ["[CLS]", "cat", "[SEP]"],
                "is_special": [True, False, True],
                "weights": [0.5, 0.25, 0.25, 0.125, 0.875, 0.0, 1.0, 0.0, 0.0],
            }
        ]
    )
    rows = database.sql(
        "select position, token, attended_position, attended_token, attended_is_special, weight from head_attention "
        "order by 1, 3"
    ).fetchall()
    assert len(rows) == 9
    assert rows[1] == (0, "[CLS]", 1, "cat", False, 0.25)
    assert rows[4] == (1, "cat", 1, "cat", False, 0.875)
    assert rows[6] == (2, "[SEP]", 0, "[CLS]", True, 1.0)
