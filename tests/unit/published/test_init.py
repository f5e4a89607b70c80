"""The papers' numbers: complete, in contract, and with a counterpart for each compared model."""

from __future__ import annotations

import polars as pl

from xlwh.published import digest, load


def test_every_table_is_there():
    """Count and sum of each table, as added up from the papers' tables."""
    sums = pl.col("value").sum().round(3)
    counted = load().group_by("paper", "table").agg(pl.len(), sums).sort("paper", "table").rows()
    assert counted == [
        ("ccta", "1", 70, 22.032),
        ("ccta", "2", 21, 10.14),
        ("ccta", "3", 48, 17.66),
        ("ccta", "4", 42, 36.043),
        ("ccta", "5", 42, 20.935),
        ("concept-alignment", "1", 24, 696.53),
        ("concept-alignment", "2", 8, 338.0),
        ("faithfulness", "fertility", 180, 25973.593),
        ("faithfulness", "hard", 720, 802.965),
        ("faithfulness", "soft", 120, 83.113),
        ("shapley-heads", "2", 140, 8608.6),
        ("shapley-heads", "3", 60, 4390.3),
    ]


def test_every_number_says_what_it_is_printed_in():
    """Percentages lie between 1 and 100 where shares lie between -1 and 1: none is taken for the other."""
    units = load().group_by("paper", "value_unit").agg(pl.len(), low=pl.min("value"), high=pl.max("value"))
    found = {(paper, unit): (low, high) for paper, unit, _, low, high in units.iter_rows()}
    assert set(found) == {
        ("ccta", "share"),
        ("concept-alignment", "BLEU"),
        ("concept-alignment", "percent"),
        ("faithfulness", "count"),
        ("faithfulness", "ratio"),
        ("faithfulness", "share"),
        ("faithfulness", "sub-tokens per word"),
        ("shapley-heads", "count"),
        ("shapley-heads", "percent"),
    }
    for (_, unit), (low, high) in found.items():
        if unit == "share":
            assert -1 <= low < high <= 1
        if unit in ("percent", "BLEU"):
            assert 0 <= low < high <= 100
            assert high > 1


def test_only_released_code_is_marked_as_such():
    variants = load().select("paper", "variant").unique().sort("paper").rows()
    assert variants == [
        ("ccta", "paper"),
        ("concept-alignment", "paper"),
        ("faithfulness", "published_code"),
        ("shapley-heads", "paper"),
    ]


def test_each_compared_model_has_a_counterpart():
    pairs = (
        load()
        .filter(pl.col("table") == "hard")
        .group_by("dataset", "language", "metric")
        .agg(pl.col("note").sort())
    )
    assert pairs.height == 15 * 12
    assert pairs["note"].unique().to_list() == [
        ["monolingual, bert", "monolingual, roberta", "multilingual, bert", "multilingual, roberta"]
    ]


def test_digest_is_stable():
    assert digest() == digest()
    assert len(digest()) == 32
