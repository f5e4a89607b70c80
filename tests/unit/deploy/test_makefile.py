"""`make` takes the build of torch that is asked for, and says for a GPU what it found."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).resolve().parents[3] / "Makefile"
UNINSTALLS = "pip uninstall --quiet --yes torch"


@pytest.fixture
def commands(tmp_path):
    """What `make demo` would run in a checkout, with an environment filled for `there` before."""
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()

    def of(torch: str, there: str | None = None) -> str:
        (tmp_path / ".venv").mkdir()
        for name in (f".torch-{there}", ".filled") if there else ():
            (tmp_path / ".venv" / name).touch()
        line = ["make", "--dry-run", "--file", str(MAKEFILE), "demo", f"TORCH={torch}"]
        return subprocess.run(line, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    return of


def test_by_default_it_is_that_of_the_cpu(commands):
    told = commands("cpu")
    assert "--extra-index-url https://download.pytorch.org/whl/cpu torch==" in told
    assert "xlwh devices" not in told


def test_for_a_gpu_it_is_the_registrys_and_devices_are_told_first(commands):
    told = commands("cuda")
    assert "torch==" not in told
    assert told.index("pip install") < told.index("xlwh devices --device cuda") < told.index("xlwh demo")


def test_an_older_driver_has_an_index_of_its_own(commands):
    assert "--index-url https://download.pytorch.org/whl/cu126 torch==" in commands("cu126")


def test_what_is_there_is_kept(commands):
    assert "pip" not in commands("cpu", there="cpu")


def test_another_build_is_replaced(commands):
    told = commands("cuda", there="cpu")
    assert told.index(UNINSTALLS) < told.index("pip install")
