"""What did not converge is left out of strict and counted, in every view over attributions."""

from __future__ import annotations

import re

import pytest

from xlwh.store.views import View, load, shipped_sql

VIEWS = {step.name: step for step in load((shipped_sql(),)).steps if isinstance(step, View)}
ROWS = {"word_attributions", "faithfulness_examples"}
"""Views whose rows are of one run each: they have its flag, the others shares."""
APART = {
    # Rows of a task's scores or of published numbers that only go through these views.
    "published_vs_measured",
}
EXAMPLES = [str(i) for i in range(6)]
BAD = {"0", "1"}


def over_attributions() -> set[str]:
    """Views that read stored attributions, pairs, probes or perturbations, directly or through others."""
    found = {"token_attributions", "ccta_pairs", "attribution_probes", "perturbations"}
    for name, view in VIEWS.items():
        if found & set(view.depends_on):
            found.add(name)
    return {name for name in found if VIEWS[name].folder != "source"} - APART


@pytest.mark.parametrize("name", sorted(over_attributions()))
def test_every_view_over_attributions_says_how_many_converged(name):
    columns = VIEWS[name].columns
    if name in ROWS:
        assert "converged" in columns
    else:
        assert "converged_share" in columns
        # Marts bring many views together, each of which counts its own.
        assert VIEWS[name].folder == "mart" or "num_unconverged" in columns


def runs(flags, method="lig", language="en", target="yes", model="m"):
    return [
        {"model": model, "example_id": e, "language": language, "method": method, "target": target, "converged": f}
        for e, f in flags.items()
    ]  # fmt: skip


FLAGS = {e: e not in BAD for e in EXAMPLES}


def test_faithfulness(connect):
    """Scores .2, .2 of the two that did not converge, .8 of the four that did."""
    rows = [
        {
            "example_id": e, "method": method, "side": "comprehensiveness", "ratio": 1.0, "p_full": 0.9, "p_empty": 0.4,
            "p_perturbed": 0.9 - 0.5 * ((0.2 if e in BAD else 0.8) if method == "lig" else 0.1),
        }
        for e in EXAMPLES
        for method in ("lig", "random")
    ]  # fmt: skip
    database = connect(perturbations=rows, attribution_runs=runs(FLAGS))
    found = database.sql(
        "select variant, method, n, score, converged_share, num_unconverged from faithfulness where variant in "
        "('strict', 'paper', 'eraser') order by method, variant"
    ).fetchall()
    assert [row[:3] for row in found] == [
        ("eraser", "lig", 6), ("paper", "lig", 6), ("strict", "lig", 4),
        ("eraser", "random", 6), ("paper", "random", 6), ("strict", "random", 6),
    ]  # fmt: skip
    assert found[1][3] == pytest.approx(0.6)
    assert found[2][3] == pytest.approx(0.8)
    assert [row[4:] for row in found] == [(pytest.approx(4 / 6), 2)] * 3 + [(None, 0)] * 3


def pairs(policy="source_prediction", target="yes"):
    return [
        {
            "example_id": e,
            "score": 0.1 if e in BAD else 0.5 + int(e) / 100,
            "target_policy": policy,
            "target": target,
        }
        for e in EXAMPLES
    ]


QUERY = "select n, score, converged_share, num_unconverged from {}"


@pytest.mark.parametrize(
    ("english", "german", "kept"),
    [
        (FLAGS, dict.fromkeys(EXAMPLES, True), 4),
        (dict.fromkeys(EXAMPLES, True), FLAGS, 4),
        ({e: e != "0" for e in EXAMPLES}, {e: e != "1" for e in EXAMPLES}, 4),
        (dict.fromkeys(EXAMPLES), dict.fromkeys(EXAMPLES), 6),
        ({}, {}, 6),
    ],
)
def test_either_side_of_a_pair_can_spoil_it(connect, english, german, kept):
    database = connect(ccta_pairs=pairs(), attribution_runs=runs(english) + runs(german, language="de"))
    ((n, score, share, unconverged),) = database.sql(QUERY.format("ccta")).fetchall()
    assert (n, unconverged) == (kept, 6 - kept)
    assert share == (pytest.approx(kept / 6) if kept < 6 else None)
    everything = sum(row["score"] for row in pairs()) / 6
    assert score == pytest.approx(0.535 if kept < 6 else everything)
    assert database.sql(QUERY.format("ccta_at(keep_unconverged := true)")).fetchall() == [
        (6, pytest.approx(everything), share, unconverged)
    ]
    assert database.sql("select num_unconverged from ccta_overall").fetchall() == [(unconverged,)]


def test_a_pair_of_different_classes_is_judged_by_each_sides_own(connect):
    """The row bears the source side's class; the German run of that class is not the one that was compared."""
    german = runs(dict.fromkeys(EXAMPLES, False), language="de") + runs(FLAGS, language="de", target="no")
    predictions = [{"example_id": e, "language": "de", "predicted": "no"} for e in EXAMPLES]
    rows = runs(dict.fromkeys(EXAMPLES, True)) + german
    database = connect(ccta_pairs=pairs("own_prediction"), attribution_runs=rows, predictions=predictions)
    assert database.sql(QUERY.format("ccta")).fetchall() == [
        (4, pytest.approx(0.535), pytest.approx(4 / 6), 2)
    ]


def test_a_group_of_which_nothing_converged_is_there_and_empty(connect):
    database = connect(ccta_pairs=pairs(), attribution_runs=runs(dict.fromkeys(EXAMPLES, False)))
    assert database.sql(QUERY.format("ccta")).fetchall() == [(0, None, 0.0, 6)]


def test_peer_metrics(connect):
    """Infidelity, plausibility and similarity: of two examples the one that did not converge is left out."""
    keys = [{"model": m, "example_id": e, "method": "lig"} for m in ("m", "twin") for e in "01"]
    tokens = [
        {**k, "position": p, "word_index": p, "word": f"w{p}", "segment": 0}
        for k in ({"model": row["model"], "example_id": row["example_id"]} for row in keys)
        for p in range(3)
    ]
    database = connect(
        models=[{"model": "m"}, {"model": "twin", "weights_of": "m", "randomized": "all"}],
        tokens=tokens,
        examples=[
            {
                "example_id": e, "text": "w0 w1 w2", "words": ["w0", "w1", "w2"], "word_labels": ["rationale", "O", "O"],
                "word_spans": [{"start": 3 * i, "end": 3 * i + 2} for i in range(3)],
            } for e in "01"
        ],
        predictions=[{"model": "m", "example_id": e, "predicted": "yes"} for e in "01"],
        token_attributions=[
            # The example that did not converge points elsewhere on the model itself.
            {**k, "position": p, "attribution": float(p if (k["model"], k["example_id"]) == ("m", "0") else 2 - p)}
            for k in keys
            for p in range(3)
        ],
        attribution_probes=[
            {**k, "attributed": 1.0, "lost": 1.0 if k["example_id"] == "1" else 9.0, "norm": 1.0} for k in keys
        ],
        attribution_runs=runs({"0": False, "1": True}) + runs({"0": True, "1": True}, model="twin"),
    )  # fmt: skip
    common = "n, converged_share, num_unconverged"
    assert database.sql(f"select {common}, infidelity from attribution_infidelity where model = 'm'").fetchall() == [(1, 0.5, 1, 0.0)]  # fmt: skip
    assert database.sql(f"select {common}, auprc from plausibility").fetchall() == [(1, 0.5, 1, 1.0)]
    assert database.sql(f"select {common}, spearman from attribution_similarity").fetchall() == [
        (1, 0.5, 1, pytest.approx(1))
    ]
    flags = database.sql(
        "select distinct example_id, converged from word_attributions where model = 'm' order by 1"
    ).fetchall()
    assert flags == [("0", False), ("1", True)]


def test_the_two_columns_are_described_alike():
    """Where they are, every view says what is shared and what is left out."""
    for name in over_attributions() - ROWS:
        columns = VIEWS[name].columns
        assert re.search("[Ss]hare|converged_share", columns["converged_share"]), name
        if "num_unconverged" in columns:
            assert "left out" in columns["num_unconverged"], name
