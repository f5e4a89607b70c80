"""A small generated warehouse with hostile words in it, and the explorer over it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from xlwh.report.explorer.app import create_app
from xlwh.report.explorer.state import Explorer
from xlwh.report.views import FrameViews

DATA = Path(__file__).resolve().parents[2] / "benchmarks" / "explorer_data.py"


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """The generator of the benchmark's warehouse, as a module."""
    spec = importlib.util.spec_from_file_location("explorer_data", DATA)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def filled(generated, tmp_path_factory):
    return generated.build(tmp_path_factory.mktemp("report") / "warehouse", languages=("en", "de", "ar"))


@pytest.fixture(scope="session")
def views(filled):
    with filled.connect() as connection:
        yield FrameViews(connection.cursor)


@pytest.fixture(scope="session")
def client(filled):
    explorer = Explorer(filled.root)
    with TestClient(
        create_app(explorer, ["127.0.0.1:1"], warm=False), base_url="http://127.0.0.1:1"
    ) as client:
        explorer.warm()
        yield client
