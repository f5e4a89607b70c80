"""The script for a real GPU: tried on the CPU, without what a bare machine lacks, and on a pretended GPU."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from pretend_gpu import pretend_gpu

from tests.unit.test_light_imports import BLOCKED
from xlwh.study import Faithfulness, InputXGradient, Lig, Sampler

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "tests" / "benchmarks" / "gpu.py"
ENCODERS = ("predictions", "LIG, fixed", "LIG, adaptive", "saliency", "faithfulness", "activations", "heads")


@pytest.fixture(scope="module")
def script() -> Any:
    """The script as a module."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        found = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
        assert found is not None
        assert found.loader is not None
        made: ModuleType = importlib.util.module_from_spec(found)
        sys.modules["gpu_benchmark"] = made
        found.loader.exec_module(made)
    finally:
        sys.path.remove(str(SCRIPT.parent))
    return made


def _run(folder: Path, *arguments: str) -> dict[str, Any]:
    """What the script writes where no package for tables and studies is."""
    out = folder / "gpu.json"
    line = [str(SCRIPT), "--device", "cpu", "--tiny", "--out", str(out), *arguments]
    start = (
        BLOCKED
        + f"""
import runpy
sys.argv = {line!r}
sys.path.insert(0, {str(SCRIPT.parent)!r})
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""
    )
    ended = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "### CPU and GPU" in ended.stdout
    found: dict[str, Any] = json.loads(out.read_text())
    assert found["failed"] == []
    return found


def test_a_dry_run_measures_everything_on_a_bare_machine(tmp_path: Path) -> None:
    found = _run(tmp_path, "--alone")
    assert [line for line in found["left_out"] if "LIG in TF32" not in line] == [
        "two processes on one card: left out by --alone"
    ]
    compared = {(row["model"], row["analysis"]) for row in found["tables"]["CPU and GPU"]}
    timed = {(row["model"], row["analysis"]) for row in found["tables"]["Speed"]}
    for done in (compared, timed):
        wanted = {("XLM-R base", name) for name in (*ENCODERS, "k-means", "fine-tuning")}
        wanted |= {("XLM-R large", name) for name in (*ENCODERS, "fine-tuning")}
        wanted |= {("decoder 1 B", name) for name in ("predictions", "LIG, adaptive", "activations")}
        assert wanted | {("mT5 base", "generation")} <= done
    results = {row["what"]: row["result"] for row in found["tables"]["Behaviour"]}
    assert "refused and halved" in results.pop("out of memory")
    assert set(results.values()) == {"equal"}
    assert all(row["units/s"] > 0 for row in found["tables"]["Speed"])


@pytest.mark.slow
def test_two_processes_share_a_device(tmp_path: Path) -> None:
    found = _run(tmp_path)
    assert any(row["what"] == "two processes on one card" for row in found["tables"]["Behaviour"])


def test_its_analyses_run_on_a_pretended_gpu_and_agree_with_the_cpu(script: Any) -> None:
    session = script.Session(5)
    with pretend_gpu() as log:
        script.parity(session, script.TINY, torch.device("cuda"), script.SMALL, True)
        assert log.kernels > 1000
    assert session.failed == []
    assert {row["deviation"] for row in session.tables["CPU and GPU"]} != set()


def test_numbers_that_differ_from_the_cpus_fail(script: Any) -> None:
    session = script.Session(5)
    analyses = iter([{"a": [0.5, 1.0]}, {"a": [0.5, 1.1]}])
    assert script.deviation(next(analyses), next(analyses)) == pytest.approx(0.1)
    assert script.deviation([torch.ones(2)], [torch.ones(3)]) == float("inf")

    def broken() -> dict[str, Any]:
        raise ValueError("no")

    session.add("t", "n", broken)
    assert session.failed == ["t, n: ValueError: no"]
    late = script.Session(0)
    late.add("t", "n", broken)
    assert (late.failed, late.skipped) == ([], ["n: no time was left"])


@pytest.mark.parametrize(
    ("module", "part"),
    [
        ("attribution", Lig),
        ("attribution", InputXGradient),
        ("faithfulness", Faithfulness),
        ("heads", Sampler),
    ],
)
def test_defaults_read_from_the_source_are_the_studys(script: Any, module: str, part: Any) -> None:
    found = vars(script.defaults(module, part.__name__))
    made = part()
    assert found
    assert {name: getattr(made, name) for name in found} == found
