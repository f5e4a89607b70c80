"""What assets tell of themselves: rows, rates, pictures."""

from __future__ import annotations

import base64
import re

import polars as pl
import pytest

from dagster_project.metadata import describe, markdown, summarise
from dagster_project.plots import learning_curve, plot
from xlwh.steps.base import Key, StepResult, not_applicable
from xlwh.steps.plan import STEPS, Outcome
from xlwh.store import Slot, Warehouse, schema

KEY = Key("m", language="en")


def _png(metadata, name):
    found = re.fullmatch(r"!\[plot\]\(data:image/png;base64,(.+)\)", metadata[name].value)
    assert found is not None
    picture = base64.b64decode(found[1])
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 30_000
    return picture


def test_a_partition_that_was_written():
    metadata = {"accuracy": {"d": 0.5}, "note": None, "table": pl.DataFrame({"a": [1]})}
    result = StepResult("written", 6, 4, 2.0, metadata=metadata)
    told = describe(Outcome(STEPS["tokens"], KEY, result), 7)
    assert told["dagster/partition_row_count"] == 7
    assert (told["status"], told["seconds"], told["examples"], told["examples per second"]) == (
        "written",
        2,
        4,
        2,
    )
    assert told["accuracy"].value == {"d": 0.5}
    assert told["note"] == "None"
    assert told["table"].value == "| a |\n| --- |\n| 1 |"


def test_a_partition_that_was_fresh_or_does_not_apply():
    assert describe(Outcome(STEPS["tokens"], KEY, StepResult("fresh")), 5000) == {
        "status": "fresh, 5,000 rows kept",
        "dagster/partition_row_count": 5000,
    }
    assert describe(Outcome(STEPS["tokens"], KEY, StepResult("fresh")), None) == {
        "status": "nothing of this table"
    }
    assert describe(Outcome(STEPS["tokens"], KEY, not_applicable("no such language")), None) == {
        "status": "not applicable",
        "reason": "no such language",
    }


def test_a_table_without_partitions_counts_all_its_rows():
    told = describe(Outcome(STEPS["published_results"], Key(), StepResult("fresh")), 5)
    assert told["dagster/row_count"] == 5


def test_a_run_of_many_partitions():
    outcomes = [Outcome(STEPS["tokens"], KEY, StepResult("written", duration_s=0.25)) for _ in range(2)]
    outcomes.append(Outcome(STEPS["tokens"], KEY, not_applicable("no")))
    assert summarise(outcomes) == {
        "partitions of the run": "2 written, 1 not applicable",
        "seconds of the run": 0.5,
    }


def test_training_has_a_learning_curve():
    curve = [{"step": n, "train_loss": 1 / n, "dev_loss": 2 / n, "dev_score": 1 - 1 / n} for n in (1, 2, 3)]
    _png(learning_curve(curve), "learning curve")
    told = describe(Outcome(STEPS["models"], Key("m"), StepResult("written", metadata={"curve": curve})), 1)
    _png(told, "learning curve")
    assert told["curve"].value == curve


def test_markdown():
    assert markdown(pl.DataFrame({"a": [1, 2], "b": ["x", None]})).splitlines()[2:] == [
        "| 1 | x |",
        "| 2 | None |",
    ]


@pytest.mark.parametrize("table", ["ccta_pairs", "attribution_runs", "tokens"])
def test_no_rows_no_picture(root, table):
    assert plot(Warehouse(root), table) == {}


def test_pictures_of_scores_and_of_completeness(root):
    warehouse = Warehouse(root)
    texts = {name: name for name, dtype in schema("attribution_runs").items() if dtype == pl.String}
    rows = [
        {
            **texts,
            "model": "m",
            "language": "en",
            "example_id": str(n),
            "method": method,
            "parameters": "{}",
            "stopped": None,
        }
        | {"f_input": 1.0, "relative_delta": 0.001 * n if method == "lig" else None, "converged": True}
        | {"num_gradient_rows": 1, "num_forward_rows": 1}
        for n in range(5)
        for method in ("lig", "random")
    ]
    frame = pl.DataFrame(rows, schema=schema("attribution_runs"))
    warehouse.write({Slot("attribution_runs", ("m", "en")): frame}, "f")
    _png(plot(warehouse, "attribution_runs"), "completeness")
    texts = {name: "x" for name, dtype in schema("ccta_pairs").items() if dtype == pl.String}
    texts |= {"target_policy": "gold", "unit": "word", "normalization": "abs", "alignment": "given"}
    numbers = {name: 0.5 for name, dtype in schema("ccta_pairs").items() if dtype == pl.Float64}
    counts = {name: 1 for name, dtype in schema("ccta_pairs").items() if dtype == pl.Int32}
    pairs = pl.DataFrame([{**texts, **numbers, **counts, "degenerate": False}], schema=schema("ccta_pairs"))
    warehouse.write({Slot("ccta_pairs", ("x", "x")): pairs}, "f")
    _png(plot(warehouse, "ccta_pairs"), "scores")
