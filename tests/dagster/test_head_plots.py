"""The heat map of head values."""

from __future__ import annotations

import polars as pl

from dagster_project.plots import plot
from xlwh.store import Slot, Warehouse, schema


def test_every_model_has_a_heat_map_of_its_first_game(root):
    warehouse = Warehouse(root)
    assert plot(warehouse, "head_samples") == {}
    rows = [
        {
            "model": "m",
            "dataset": "d",
            "split": "dev",
            "language": language,
            "sampler": "rows",
            "estimator": "permutation",
            "permutation": 0,
            "example_id": "1",
            "unit": "head",
            "layer": layer,
            "head": head,
            "remaining": 3,
            "marginal": 0.1 * layer - 0.05 * head,
        }
        for language in ("en", "de")
        for layer in range(2)
        for head in range(3)
    ]
    frame = pl.DataFrame(rows, schema=schema("head_samples"))
    for language in ("en", "de"):
        own = frame.filter(pl.col("language") == language)
        warehouse.write({Slot("head_samples", ("m", language), "d.rows.000000"): own}, "f")
    pictures = plot(warehouse, "head_samples")
    assert list(pictures) == ["head values, m"]
    assert "data:image/png;base64," in pictures["head values, m"].value
