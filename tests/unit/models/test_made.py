"""Models that are made here: which examples they are trained on."""

from __future__ import annotations

import polars as pl

from xlwh.models.made import hold_out


def test_hold_out_keeps_translations_together() -> None:
    frame = pl.DataFrame(
        {
            "language": ["en"] * 100 + ["es"] * 80,
            "example_id": [f"{i:03d}" for i in range(100)] + [f"{i:03d}" for i in range(80)],
        }
    )
    train, dev = hold_out(frame, 0.1, seed=3)
    assert set(train["example_id"]).isdisjoint(dev["example_id"])
    assert dev["example_id"].n_unique() == 10
    assert train.height + dev.height == 180
    again = hold_out(frame.reverse(), 0.1, seed=3)[1]
    assert set(again["example_id"]) == set(dev["example_id"])
    assert set(hold_out(frame, 0.1, seed=4)[1]["example_id"]) != set(dev["example_id"])
    assert hold_out(frame.head(3), 0.01, seed=0)[1].height == 1
