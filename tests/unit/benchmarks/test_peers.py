"""The comparison with peers, with fake ones: tables from what scripts report, and reasons where they do not."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"

SCRIPT = f"""
import sys
sys.path.insert(0, {str(PEERS)!r})
import json
from measure import Run
run = Run()
with run.stage("import"):
    pass
with run.stage("load"):
    values = json.loads((run.inputs / "values.json").read_text())
with run.stage("work"):
    found = [value + SHIFT for value in values]
run.result.with_suffix(".json").write_text(json.dumps(found))
print("progress that is no report")
run.report("pytest", note=f"{{len(found)}} numbers")
"""


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The runner, with `tmp_path` as the folder of its scripts."""
    monkeypatch.setattr(sys, "path", [str(PEERS), *sys.path])
    spec = importlib.util.spec_from_file_location("peers_run", PEERS / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "peers_run", module)  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    (tmp_path / "ours.py").write_text(SCRIPT.replace("SHIFT", "0"))
    (tmp_path / "values.json").write_text("[0.25, 0.5]")
    return module


@pytest.fixture
def rows(peers: ModuleType, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """rows(script, interpreter): the two rows of a task whose peer runs that text."""

    def measure(script: str, interpreter: Callable[[str], Path] = lambda _: Path(sys.executable)) -> Any:
        (tmp_path / "peer.py").write_text(script)
        task = peers.Task("transport", "transport, {transport} pairs", peers.Peer("peer.py", "peer"))
        return peers.measured(task, tmp_path, interpreter, {"transport": 2})

    return measure


def test_both_sides_are_rows_with_their_numbers_and_agreement(rows: Any) -> None:
    ours, theirs = rows(SCRIPT.replace("SHIFT", "0.125"))
    version = f"pytest {pytest.__version__}"
    assert (ours["task"], ours["by"]) == ("transport, 2 pairs", version)
    assert theirs["by"] == version
    assert theirs["agreement"] == "largest difference 1.2e-01"
    assert ours["agreement"] == ""
    assert theirs["what it made"] == "2 numbers"
    assert 5 < theirs["peak MB"] < 200
    assert isinstance(theirs["work s"], float)
    assert list(ours) == list(theirs)


def test_what_both_sides_reported_is_not_measured_again(rows: Any) -> None:
    failed = rows("raise ValueError")
    assert failed[1]["agreement"] == "does not run: ValueError"
    measured = rows(SCRIPT.replace("SHIFT", "0"))
    assert measured[1]["agreement"] == "largest difference 0.0e+00"
    assert rows("raise ValueError") == measured


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import a_peer_that_is_not_there", "does not run: ModuleNotFoundError: No module named 'a_peer"),
        ("raise SystemExit(3)", "does not run: exit status 3"),
        ("print('no report')", "does not report"),
        ("", "does not report"),
        ("raise ValueError('a | b')", "does not run: ValueError: a / b"),
    ],
)
def test_a_peer_that_fails_has_a_row_with_the_reason(rows: Any, script: str, reason: str) -> None:
    ours, theirs = rows(script)
    assert theirs["agreement"].startswith(reason)
    assert theirs["by"] == "peer"
    assert theirs["work s"] == theirs["peak MB"] == ""
    assert isinstance(ours["work s"], float)


def test_a_peer_that_cannot_be_installed_has_one_too(rows: Any, peers: ModuleType) -> None:
    def interpreter(name: str) -> Path:
        raise peers.NotInstalledError(f"not installed: nothing satisfies {name}")

    _, theirs = rows("", interpreter)
    assert theirs["agreement"] == "not installed: nothing satisfies current"


def test_a_process_that_does_not_end_is_given_up(peers: ModuleType) -> None:
    with pytest.raises(peers.NotRunError, match=r"given up after 0\.2 s"):
        peers.reported([sys.executable, "-c", "import time; time.sleep(60)"], dict(os.environ), 0.2)


def test_peak_memory_is_the_process_s_own(rows: Any) -> None:
    held = np.ones(40_000_000)  # 320 MB, which a child's ru_maxrss would begin with
    ours, _ = rows("")
    assert held.nbytes / 1e6 > 300 > ours["peak MB"]


def test_peers_see_nothing_of_our_packages(
    rows: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    seen = "import os; raise ValueError(os.environ.get('PYTHONPATH'), os.environ['OMP_NUM_THREADS'])"
    _, theirs = rows(seen)
    assert theirs["agreement"] == "does not run: ValueError: (None, '1')"


def test_every_peer_has_its_script_and_is_pinned(peers: ModuleType) -> None:
    for task in peers.TASKS:
        assert (PEERS / task.peer.script).is_file()
        listed = (PEERS / "requirements" / f"{task.peer.environment}.txt").read_text()
        assert f"\n{task.peer.package}==" in listed
        assert task.title.format(**peers.SIZES)


def test_environments_are_made_once_and_torch_comes_first(
    peers: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands = []

    def run(command: tuple[str, ...], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    listed = tmp_path / "some.txt"
    listed.write_text("# peers\ncaptum==0.9.0\ntorch==2.13.0\n")
    made = peers.python_of(tmp_path, listed)
    assert made.parts[-2:] == ("bin", "python")
    assert [command[-1] for command in commands] == [str(made.parents[1]), "torch==2.13.0", str(listed)]
    assert all("--no-deps" in command for command in commands[1:])
    assert peers.python_of(tmp_path, listed) == made
    assert len(commands) == 3
    listed.write_text("captum==0.8.0\n")
    assert peers.python_of(tmp_path, listed) != made


def test_what_pip_says_is_the_reason(
    peers: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = "ERROR: No matching distribution found for x==1\nnotice: a new pip\n"
    failed = subprocess.CompletedProcess((), 1, "", said)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    listed = tmp_path / "some.txt"
    listed.write_text("x==1\n")
    with pytest.raises(
        peers.NotInstalledError, match="not installed: No matching distribution found for x==1"
    ):
        peers.python_of(tmp_path, listed)


def test_agreement_of_each_kind(peers: ModuleType, tmp_path: Path) -> None:
    def saved(name: str, values: Any) -> Path:
        np.save(tmp_path / f"{name}.npy", np.array(values))
        return tmp_path / name

    def said(task: str, ours: Any, theirs: Any) -> str:
        return peers.agreement(task, tmp_path, saved("a", ours), saved("b", theirs), tmp_path / "exact")

    assert said("lig", [1.0, 2.0, 4.0], [1.0, 2.0, 4.4]).startswith("r = 0.99")
    assert said("lig", [1.0, 2.0, 4.0], [1.0, 2.0, 4.4]).endswith(
        "largest difference 1.0e-01 of the largest number"
    )
    assert said("heads", [0.5, 0.25], [0.5, 0.125]) == "largest difference 1.2e-01"
    assert said("heads", [0.5], [0.5, 0.1]) == "not comparable: xlwh has 1 numbers, the peer 2"
    saved("exact", [0.5, 0.2])
    assert said("permutations", [0.5, 0.25], [0.4, 0.2]) == "largest error: 0.1000, xlwh's 0.0500"
    saved("points", [[0.0], [2.0], [10.0], [12.0]])
    same = said("kmeans", [0, 0, 1, 1], [0, 0, 1, 1])
    assert same == "100.00% of the points in the same cluster, xlwh's inertia +0.0000%"
    # 0, 2, 10 around 4 are 56 away in squares, the others none; the better split has 4.
    assert said("kmeans", [0, 0, 0, 1], [0, 0, 1, 1]).endswith("inertia +1300.0000%")
    saved("b.same", [True, False])
    assert said("faithfulness", [0.5, 0.75], [0.5, 0.25]).startswith(
        "largest difference 0.0e+00 in 1 of 2 scores"
    )


def test_a_result_without_numpy_is_read_from_json(peers: ModuleType, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([0.5]))
    (tmp_path / "b.json").write_text(json.dumps([0.75]))
    said = peers.agreement("transport", tmp_path, tmp_path / "a", tmp_path / "b", tmp_path / "exact")
    assert said == "largest difference 2.5e-01"
