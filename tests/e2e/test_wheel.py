"""The built wheel works outside the checkout: SQL, demo, command line and Dagster project are in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Environment in which the wheel's files are found and the checkout's are not."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    [wheel] = folder.glob("xlwh-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XLWH_", "DAGSTER_"))}
    return {**kept, "PYTHONPATH": str(folder / "site"), "DAGSTER_DISABLE_TELEMETRY": "yes"}


def _run(environment, folder, *command):
    ran = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def _xlwh(environment, folder, *arguments):
    program = "import sys; from xlwh.cli import main; sys.exit(main())"
    return _run(environment, folder, "-c", program, *arguments)


def test_nothing_comes_from_the_checkout(installed, tmp_path):
    where = _run(
        installed,
        tmp_path,
        "-c",
        "import xlwh, dagster_project; print(xlwh.__file__, dagster_project.__file__)",
    )
    assert str(ROOT) not in where


def test_the_commands_work(installed, tmp_path):
    assert "key: model" in _xlwh(installed, tmp_path, "describe", "ccta")
    assert "xnli" in _xlwh(installed, tmp_path, "readers")
    _xlwh(installed, tmp_path, "init", "mine")
    assert (tmp_path / "mine" / "study.toml").is_file()
    _xlwh(installed, tmp_path, "init", "--paper", "all", "--size", "smoke", "papers")
    assert "# full: " in (tmp_path / "papers" / "study.toml").read_text(encoding="utf-8")
    _xlwh(
        installed,
        tmp_path,
        "materialize",
        "published_results",
        "published_vs_measured",
        "--study",
        _demo(installed, tmp_path),
    )
    assert "ccta_overall" in _xlwh(installed, tmp_path, "tables")


def _demo(environment, folder):
    return _run(environment, folder, "-c", "from xlwh.demo import study_path; print(study_path())").strip()


def test_dagster_loads_the_project_from_anywhere(installed, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {**installed, "DAGSTER_HOME": str(home)}
    said = _run(
        environment, tmp_path, "-m", "dagster", "definitions", "validate", "-m", "dagster_project.definitions"
    )
    assert "Validation successful" in said or "All code locations passed" in said
