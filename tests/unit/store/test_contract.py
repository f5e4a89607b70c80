"""What the check of a frame lets through, what it refuses, and how it says so."""

from __future__ import annotations

import polars as pl
import pytest

from xlwh.errors import ContractError
from xlwh.store import Slot, empty, schema
from xlwh.store.contract import check_key, checked
from xlwh.tables import TABLES


@pytest.fixture
def slot(frames):
    return frames.ATTRIBUTIONS


@pytest.fixture
def frame(frames):
    return frames.attributions(examples=3, tokens=4)


def test_columns_come_back_in_the_contracts_order(slot, frame):
    shuffled = frame.select(reversed(frame.columns))
    assert checked(slot, shuffled).equals(frame)


@pytest.mark.parametrize("table", TABLES)
def test_an_empty_frame_keeps_every_contract(table):
    slot = Slot(table, ("k",) * len(TABLES[table].partition_by))
    assert checked(slot, empty(table)).schema == schema(table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop("split"), "column `split` is missing \\(expected String\\)"),
        (lambda f: f.with_columns(more=1), "column `more` is not in the contract"),
        (lambda f: f.cast({"position": pl.Int64}), "column `position` is Int64, expected Int32"),
        (lambda f: f.with_columns(target=pl.lit(None)), "column `target` is Null, expected String"),
        (
            lambda f: f.with_columns(language=pl.lit("de")),
            "12 rows have another `language` than `en`, the first 'de'",
        ),
        (
            lambda f: f.with_columns(attribution=pl.lit(float("nan"), dtype=pl.Float32)),
            r"attribution: nan: 12 rows, first \{'model': 'm'",
        ),
        (
            lambda f: f.with_columns(position=pl.col("position") - 1),
            "position: min: 3 rows, first .*'position': -1",
        ),
        (lambda f: f.with_columns(target=pl.lit(None, dtype=pl.String)), "target: nullability: 12 rows"),
        (lambda f: f.with_columns(dataset=pl.lit("a b")), "dataset: regex: 12 rows"),
        (
            lambda f: f.with_columns(
                split=pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise("split")
            ),
            "split: nullability: 1 rows, first .*'example_id': '0001'",
        ),
        (lambda f: pl.concat([f, f[5:6]]), "2 rows share their key .*'example_id': '0001'.*'position': 1"),
        (lambda f: pl.concat([f, f]), "24 rows share their key"),
    ],
)
def test_a_broken_contract_is_named(slot, frame, change, message):
    with pytest.raises(ContractError, match=message) as raised:
        checked(slot, change(frame))
    assert "token_attributions" in str(raised.value)
    assert "othing was written" in str(raised.value)


def test_all_broken_columns_are_listed_at_once(slot, frame):
    with pytest.raises(ContractError, match=r"`split` is missing.*`more` is not.*`position` is Int64"):
        checked(slot, frame.drop("split").with_columns(more=1).cast({"position": pl.Int64}))


@pytest.mark.parametrize("seed", range(3))
def test_rows_in_any_order_are_checked_for_their_key(slot, frame, seed):
    mixed = frame.sample(fraction=1, shuffle=True, seed=seed)
    assert checked(slot, mixed).equals(mixed)
    with pytest.raises(ContractError, match="2 rows share their key"):
        checked(slot, pl.concat([mixed, mixed[:1]]))


def test_interrupted_runs_are_no_repetition(slot, frame):
    # Example 0 twice, but with other positions: runs repeat their head, keys do not.
    split_run = pl.concat([frame[:2], frame[4:], frame[2:4]])
    assert checked(slot, split_run).equals(split_run)


def test_falling_positions_are_no_repetition(slot, frame):
    assert checked(slot, frame.reverse()).height == frame.height


def test_null_is_a_value_like_any_other_in_a_key(frames):
    row = {
        "paper": "p",
        "table": "1",
        "model": "m",
        "dataset": "d",
        "metric": "a",
        "variant": "paper",
        "value": 1.0,
        "value_unit": "share",
    }
    rows = [row | {"source_language": s, "language": t} for s in (None, "en") for t in (None, "de")]
    frame = pl.DataFrame(rows, schema=schema("published_results"))
    slot = Slot("published_results")
    assert checked(slot, frame).height == 4
    with pytest.raises(ContractError, match="2 rows share their key"):
        checked(slot, pl.concat([frame, frame[:1]]))


def test_a_null_in_the_last_key_column_takes_the_closer_look():
    slot = Slot("tokens", ("m", "en"), "d")
    rows = pl.DataFrame({"position": pl.Series([0, None, None], dtype=pl.Int32)})
    keys = rows.select(*(pl.lit("x").alias(name) for name in TABLES["tokens"].key[:-1]), pl.col("position"))
    with pytest.raises(ContractError, match="2 rows share their key"):
        check_key("tokens", keys, str(slot))


def test_a_single_key_column(frames):
    slot = Slot("models", ("m",))
    with pytest.raises(ContractError, match="share their key"):
        check_key("models", pl.DataFrame({"model": ["m", "m"]}), str(slot))
    check_key("models", pl.DataFrame({"model": ["m", "n"]}), str(slot))
