"""Values of attention heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from released.harness import Case, each, warehouse


def heads(cases: Sequence[Case]) -> list[dict[str, Any]]:
    rows = [
        {
            "dataset": d,
            "unit": "head",
            "layer": 0,
            "head": 0,
            "permutation": n,
            "marginal": x,
            "remaining": 1,
            "sampler": "whole",
            "estimator": "whole_set",
            "example_id": "*",
        }
        for d, c in each(cases)
        for n, x in enumerate(c["marginals"])
    ]
    with warehouse(head_samples=rows) as database:
        found = database.sql(
            "select dataset, value_low, value_high, decision = 'keep' from pruning_decisions "
            "where variant = 'published_code'"
        ).fetchall()
    by = {d: {"value_low": low, "value_high": high, "done": done} for d, low, high, done in found}
    return [by[d] for d, _ in each(cases)]
