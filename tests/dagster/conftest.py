"""A study that is never computed: its steps are replaced by ones that report at once."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from xlwh.steps.base import Key, StepResult, not_applicable
from xlwh.steps.context import Context
from xlwh.steps.plan import Step
from xlwh.store import Slot, Warehouse, schema
from xlwh.study import Study
from xlwh.tables import TABLES


@pytest.fixture
def study() -> Study:
    return Study.model_validate(
        {
            "name": "s",
            "languages": ["en", "de", "sw"],
            "datasets": {"d1": {"reader": "xnli", "path": "x"}, "d2": {"reader": "xnli", "path": "x"}},
            "models": {
                "tuned": {
                    "datasets": ["d1"],
                    "finetune": {"base": "base", "dataset": "d1", "languages": ["en"]},
                },
                "base": {"path": "b"},
                "other": {"path": "b", "datasets": ["d1", "d2"]},
            },
            "folder": Path("/nowhere"),
        }
    )


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of an empty warehouse."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "unused"))
    Warehouse(tmp_path / "warehouse", create=True)
    return tmp_path / "warehouse"


def schema_frame(table: str) -> pl.DataFrame:
    return pl.DataFrame(schema=schema(table))


def _slots(step: Step, key: Key) -> list[Slot]:
    """Files of the step's tables for a partition; the fake predictions answer no questions and translate nothing."""
    tables = [table for table in step.tables if table not in ("answer_spans", "translations")]
    return [
        Slot(
            table,
            tuple(
                str(getattr(key, column.removeprefix("target_"), None) or "x")
                for column in TABLES[table].partition_by
            ),
        )
        for table in tables
    ]


class Fake:
    """What the steps do instead: report, or fail where they are told to."""

    def __init__(self) -> None:
        self.failing: dict[tuple[str, Key], Exception] = {}
        self.results: dict[Key, StepResult] = {}
        self.ran: list[tuple[str, Key, bool]] = []

    def run(self, step: Step, context: Context, key: Key) -> StepResult:
        self.ran.append((step.name, key, context.force))
        if (step.name, key) in self.failing:
            raise self.failing[step.name, key]
        if key in self.results:
            return self.results[key]
        context.progress("working", 1, 2)
        if key.language == "sw" and step.dimensions == ("model", "language"):
            return not_applicable("no such data")
        context.warehouse.write({slot: schema_frame(slot.table) for slot in _slots(step, key)}, "f")
        return StepResult("written", rows=3, examples=2, duration_s=0.5, metadata={"shares": {"a": 0.5}})

    def keys(self, step: str) -> list[Key]:
        return [key for name, key, _ in self.ran if name == step]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    steps = Fake()
    from xlwh.steps.bench import runner

    monkeypatch.setattr(runner, "run", steps.run)
    return steps
