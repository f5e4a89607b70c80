"""`kill -9` at random moments of writing: nothing half-written is ever visible, and the work ends as if undisturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from xlwh.store import Warehouse
from xlwh.store.views import shipped_sql

CHILD = Path(__file__).with_name("store_child.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CHILD.parents[2])}
TABLES = ("predictions", "token_attributions")


def opened(root: Path) -> Warehouse:
    """The warehouse as the children open it."""
    return Warehouse(root, create=True, sql_dirs=[shipped_sql() / "source"])


def start(mode: str, root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, CHILD, mode, root], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(root: Path) -> None:
    with start("fill", root) as process:
        pass
    assert process.returncode == 0


def contents(root: Path) -> dict[str, pl.DataFrame]:
    warehouse = opened(root)
    return {name: warehouse.scan(name).collect().sort("model", "language", "example_id") for name in TABLES}


def look(root: Path) -> None:
    """The warehouse opens, every visible file is whole, and tables that are written together agree."""
    if not (root / "manifest.sqlite").exists():
        return
    warehouse = opened(root)
    assert {finding.kind for finding in warehouse.check(deep=True)} <= {"orphan_file", "stale_catalogue"}
    entries = {(entry.slot.table, entry.slot.keys): entry for entry in warehouse.entries()}
    for (table, keys), entry in entries.items():
        assert entry.rows == {"predictions": 24, "token_attributions": 96}[table]
        assert {entries[other, keys].commit for other in TABLES} == {entry.commit}
    with warehouse.connect() as database:
        pairs = database.execute(
            "select (select count(*) from predictions), (select count(*) from token_attributions)"
        ).fetchall()
    assert pairs[0][1] == 4 * pairs[0][0]


def kill_and_compare(tmp_path: Path, kills: int, seed: int) -> None:
    undisturbed = tmp_path / "undisturbed"
    began = time.monotonic()
    finish(undisturbed)
    longest = max(0.3, 0.7 * (time.monotonic() - began))
    moments = random.Random(seed)
    root = tmp_path / "killed"
    for _ in range(kills):
        with start("refill", root) as process:
            time.sleep(moments.uniform(0, longest))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        look(root)
    finish(root)
    expected, found = contents(undisturbed), contents(root)
    for name in TABLES:
        assert found[name].equals(expected[name])
    assert {finding.kind for finding in opened(root).check(deep=True)} <= {"orphan_file"}


def test_five_kills(tmp_path):
    kill_and_compare(tmp_path, kills=5, seed=1)


@pytest.mark.slow
def test_a_hundred_kills(tmp_path):
    kill_and_compare(tmp_path, kills=100, seed=2)
