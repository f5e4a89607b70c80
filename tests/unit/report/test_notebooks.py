"""The example notebooks run on a small warehouse."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[3] / "examples" / "notebooks"


def test_jupyter(filled, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    monkeypatch.setenv("XLWH_WAREHOUSE", str(filled.root))
    # The kernel's debugger warns about frozen modules; nobody debugs here.
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parents[1]))
    notebook = nbformat.read(NOTEBOOKS / "warehouse.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    with warnings.catch_warnings():
        # Jupyter's own use of sockets and event loops is not ours to mend.
        warnings.simplefilter("ignore")
        nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    drawn = [
        output.data["image/svg+xml"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/svg+xml" in output.get("data", {})
    ]
    assert len(drawn) == 1


def test_marimo(filled, monkeypatch):
    pytest.importorskip("marimo", reason="marimo is not installed")
    monkeypatch.setenv("XLWH_WAREHOUSE", str(filled.root))
    spec = importlib.util.spec_from_file_location("consistency_marimo", NOTEBOOKS / "consistency_marimo.py")
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
        outputs, names = module.app.run()
    assert names["drawn"].table.height == 4
    assert names["words"].height > 0
    assert any(output is not None and "<svg" in getattr(output, "text", "") for output in outputs)
