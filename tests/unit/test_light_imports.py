"""What computes needs PyTorch, transformers and NumPy: its modules are imported where neither Polars nor DuckDB is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import xlwh
from xlwh.faithfulness import perturbations
from xlwh.tables import faithfulness

HEAVY = ("captum", "dagster", "dataframely", "duckdb", "faiss", "polars", "pydantic", "pydantic_core")
PACKAGES = ("attribution", "concepts", "faithfulness", "heads", "models")
MAKES_ROWS = {
    "concepts/clusterings.py": "names torch's device as a type; its rows are frames",
    "models/made.py": "reads what the study says of a model and the rows that it is trained on",
    "models/training_record.py": "reads a file with pydantic; training imports it at its end",
}
"""Modules of these packages that name torch and are no part of computing."""

BLOCKED = f"""
import importlib, importlib.abc, sys, traceback

class Refused(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refused())
"""
"""Statements after which these packages are not there."""


def computing() -> list[str]:
    """Modules of these packages that name torch."""
    root = Path(xlwh.__file__).parent
    files = {
        file.relative_to(root).as_posix(): file.read_text(encoding="utf-8")
        for package in PACKAGES
        for file in sorted((root / package).rglob("*.py"))
    }
    return [name for name, text in files.items() if re.search(r"\btorch\b", text) and name not in MAKES_ROWS]


def test_modules_that_compute_need_no_package_for_tables_and_studies() -> None:
    names = [
        f"xlwh.{name.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}" for name in computing()
    ]
    assert {"xlwh.attribution.path", "xlwh.heads.engine", "xlwh.concepts.kmeans"} <= set(names)
    script = (
        BLOCKED
        + f"""
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/xlwh/" in f.filename]
        print(name, "|", error, "|", " > ".join(f"{{f.filename}}:{{f.lineno}}" for f in frames[-3:]))
print(sorted(set(sys.modules) & set({HEAVY!r})))
"""
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n", found.stdout


def test_the_block_finds_what_it_is_for() -> None:
    script = BLOCKED + "import xlwh.concepts.clusterings"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "No module named 'polars'" in found.stderr


def test_sides_are_those_of_the_contract() -> None:
    assert perturbations.SIDES == faithfulness.SIDES
