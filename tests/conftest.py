"""Fixtures that every test may use."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Studies of tests are so small that workers would take longer to start than the work takes.
os.environ.setdefault("XLWH_WORKERS", "in_process")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the real data and models that may not be copied here; the test skips where it is absent."""
    folder = Path(os.environ.get("XLWH_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "README.md").is_file():
        pytest.skip(f"real test data not found at {folder}; set XLWH_SHARED to run this test")
    return folder


def pytest_unconfigure() -> None:
    """Keep what SentencePiece's SWIG runtime would free after its type is gone: Python crashes at exit otherwise."""
    for name, module in list(sys.modules.items()):
        if name.startswith("swig_runtime_data"):
            for value in vars(module).values():
                if type(value).__name__ == "PyCapsule":
                    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
