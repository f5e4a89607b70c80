"""Dagster's own command line on the project: a range of partitions in one run, without a daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dagster_project.instance import prepare_home
from xlwh.store import Warehouse

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def _environment(study, root):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER")}
    home = root / "dagster"
    return {**kept, "XLWH_STUDY": str(study), "XLWH_WAREHOUSE": str(root), "DAGSTER_HOME": str(home)}


@pytest.mark.parametrize("tool", ["dg", "dagster"])
def test_a_range_of_partitions(tiny_study, tmp_path, monkeypatch, tool):
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")
    root = tmp_path / "warehouse"
    prepare_home(root)
    selection = "key:examples or key:rejected_rows" if tool == "dg" else "examples,rejected_rows"
    dagster = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "dagster_project.definitions"]
    command = {
        "dg": [str(Path(sys.executable).with_name("dg")), "launch", "--assets", selection],
        "dagster": [*dagster, "--select", selection],
    }[tool]
    ran = subprocess.run(
        [*command, "--partition-range", "nli|en...nli|es"],
        cwd=ROOT,
        env=_environment(tiny_study, root),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    entries = Warehouse(root).entries("examples")
    assert {entry.slot.keys for entry in entries} == {("nli", "en"), ("nli", "de"), ("nli", "es")}
