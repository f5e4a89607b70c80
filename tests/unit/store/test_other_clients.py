"""A catalogue in the DuckDB of other programs: stored files, kept rows, metrics; and where it was moved."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import duckdb_clients
import polars as pl
import pytest

from xlwh.store import Warehouse

COUNTS = "-- Predictions.\n-- kept: whole\nselect model, count(*) as n from predictions group by all"
QUESTIONS = [
    "select count(*) from predictions",
    "select count(*) from stored.predictions",
    "from counts",
    "select n from surprise where n > 0",
    "select count(*) from tokens",
    "select comment from duckdb_columns() where table_name = 'predictions' and column_name = 'model'",
    "select count(*) from kept.files",
]


@pytest.fixture(params=[*duckdb_clients.VERSIONS, "ours"])
def client(request, tmp_path_factory) -> Path | None:
    if request.param == "ours":
        return None
    return duckdb_clients.installed(request.param, request.config, tmp_path_factory.getbasetemp())


@pytest.fixture
def root(sql, frames, tmp_path) -> Path:
    """A warehouse with a stored table, kept rows of a view and a metric, under a name with a quote."""
    (sql / "core" / "counts.sql").write_text(COUNTS)
    folder = tmp_path / "it's there"
    metrics = folder / "metrics"
    metrics.mkdir(parents=True)
    pl.DataFrame({"n": [1.0, float("nan")]}).write_parquet(metrics / "surprise-1.parquet")
    facts = {"file": "surprise-1.parquet", "function": "p:f", "description": "How odd."}
    (metrics / "current.json").write_text(json.dumps({"surprise": facts}))
    warehouse = Warehouse(folder, create=True)
    warehouse.write({frames.PREDICTIONS: frames.predictions()}, "mark")
    sources = warehouse.sources()
    warehouse.sources = lambda: type(sources)((sql,), sources.more)  # type: ignore[method-assign]
    assert warehouse.keep_views()["counts"].error is None
    return folder


def test_it_is_read_from_its_own_place_and_from_no_other(client, root, tmp_path):
    path = root / "catalog.duckdb"
    version, *answers = duckdb_clients.ask(client, path, QUESTIONS)
    rows = [answer if isinstance(answer, str) else answer[1] for answer in answers]
    assert rows[:5] == [["[2]"], ["[2]"], ["['m', 2]"], ["['1']", "['nan']"], ["[0]"]], version
    assert rows[5] != ["[None]"]
    assert rows[6] != ["[0]"]
    assert duckdb_clients.ask(client, path, QUESTIONS, attached=True)[1:] == answers
    assert duckdb_clients.ask(client, "catalog.duckdb", QUESTIONS, cwd=root)[1:] == answers
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    for answer in duckdb_clients.ask(client, copy / "catalog.duckdb", QUESTIONS[:4])[1:]:
        assert "has been copied or moved" in answer
        assert "xlwh catalogue --warehouse FOLDER" in answer
    moved = tmp_path / "moved"
    os.rename(root, moved)
    for answer in duckdb_clients.ask(client, moved / "catalog.duckdb", QUESTIONS[:4])[1:]:
        assert "No files found" in answer or "has been copied or moved" in answer
