"""Readers in other processes while tables are replaced: no error, no torn read."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from xlwh.store import Warehouse
from xlwh.store.views import shipped_sql

CHILD = Path(__file__).with_name("store_child.py")


def opened(root: Path) -> Warehouse:
    """The warehouse as the children open it."""
    return Warehouse(root, create=True, sql_dirs=[shipped_sql() / "source"])


def read_while_writing(root: Path, readers: int, seconds: float) -> None:
    opened(root).build_catalogue()
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    pipes |= {"text": True, "env": {**os.environ, "PYTHONPATH": str(CHILD.parents[2])}}
    with ExitStack() as running:
        reading = [
            running.enter_context(subprocess.Popen([sys.executable, CHILD, "read", root], **pipes))
            for _ in range(readers)
        ]
        # Whatever fails below, no reader is left running.
        running.callback(lambda: [process.kill() for process in reading])
        for process in reading:
            assert process.stdout.readline() == "ready\n"
        writer = [sys.executable, CHILD, "churn", root, str(seconds)]
        written = subprocess.run(
            writer, check=True, stdout=subprocess.PIPE, text=True, env=pipes["env"], timeout=20 * seconds
        )
        for process in reading:
            output, errors = process.communicate(input="", timeout=60)
            assert process.returncode == 0, errors
            assert errors == ""
            assert int(output) > 0
    assert int(written.stdout.split()[-1]) > 2
    assert opened(root).check(deep=True) == []


def test_three_readers(tmp_path):
    read_while_writing(tmp_path / "warehouse", readers=3, seconds=4)


@pytest.mark.slow
def test_ten_readers(tmp_path):
    read_while_writing(tmp_path / "warehouse", readers=10, seconds=60)
