"""The step writes once, and again only when forced or when the numbers change."""

from __future__ import annotations

import pytest

from xlwh import published
from xlwh.models import Zoo
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
from xlwh.store import Slot, Warehouse
from xlwh.study import Study


@pytest.fixture
def context(tmp_path) -> Context:
    study = Study.model_validate(
        {
            "name": "t",
            "languages": ["en"],
            "folder": tmp_path,
            "datasets": {"d": {"reader": "xnli", "path": "."}},
        }
    )
    warehouse = Warehouse(tmp_path, create=True)
    return Context(study, warehouse, Zoo(study, warehouse))


def test_writes_then_is_fresh(context):
    first = run(STEPS["published_results"], context, Key())
    assert (first.status, first.rows) == ("written", published.load().height)
    assert first.metadata["papers"]["ccta"] == 223
    assert context.warehouse.current(Slot("published_results")).rows == first.rows
    assert context.warehouse.scan("published_results").collect().equals(published.load())
    assert run(STEPS["published_results"], context, Key()).status == "fresh"


def test_changed_numbers_and_force_write_again(context, monkeypatch):
    run(STEPS["published_results"], context, Key())
    monkeypatch.setattr(published, "digest", lambda: "0" * 32)
    assert run(STEPS["published_results"], context, Key()).status == "written"
    assert run(STEPS["published_results"], context, Key()).status == "fresh"
    context.force = True
    assert run(STEPS["published_results"], context, Key()).status == "written"
