"""The scripts of deploy/slurm under a scheduler that stands in for Slurm: bash, Ray and xlwh are the real ones."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import hosts
import pytest
from slurm_stub import Slurm

from xlwh.cli import main
from xlwh.store import Warehouse
from xlwh.study import load

ROOT = Path(__file__).resolve().parents[2]
SLURM = ROOT / "deploy" / "slurm"
sys.path.append(str(SLURM))
from models import dealt, families  # noqa: E402


def stored(root):
    """All that a warehouse holds, by fingerprint."""
    return {(entry.slot, entry.fingerprint, entry.rows) for entry in Warehouse(root).entries()}


@pytest.fixture
def embedded(tiny_study, tmp_path):
    """What one process makes of the study."""
    root = tmp_path / "embedded"
    assert main(["materialize", "--study", str(tiny_study), "--warehouse", str(root)]) == 0
    return stored(root)


@pytest.fixture
def environment(tiny_study, tmp_path):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XLWH_", "SLURM_", "DAGSTER_"))
    }
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    node = tmp_path / "node"
    node.mkdir()
    return {
        **kept,
        "PYTHONPATH": path,
        "XLWH_STUDY": str(tiny_study),
        "XLWH_WAREHOUSE": str(tmp_path / "warehouse"),
        "XLWH_PARTS": str(tmp_path / "parts"),
        "TMPDIR": str(node),
    }


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def of_scratch(job):
    """Processes that name the folder of a job, as all of Ray's do."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if f"/tmp/xlwh-{job}/".encode() in text:
            found.append(path.parent.name)
    return found


def test_models_that_need_each_other_have_one_task(tiny_study):
    study = load(tiny_study)
    assert families(study) == [["base", "tuned"], ["plain"]]
    assert dealt(study, 3) == [["base", "tuned"], ["plain"], []]
    assert dealt(study, 1) == [["base", "tuned", "plain"]]


@pytest.mark.slow
def test_an_array_of_tasks_fills_one_warehouse(embedded, environment, tmp_path):
    slurm = Slurm(tmp_path / "slurm", {"node1": []})
    # Tasks may be numbered from anywhere.
    tasks = slurm.array(SLURM / "array.sbatch", environment, 5, 7)
    assert [code for code, _ in tasks] == [0, 0, 0], tasks
    assert "Task 2 has no models" in tasks[2][1]
    parts = sorted(path.name for path in (tmp_path / "parts").iterdir())
    assert parts == ["part-0", "part-1"]
    assert list((tmp_path / "node").iterdir()) == [], "something was left on the node's disk"
    by_part = [
        {slot.keys[0] for slot, _, _ in stored(tmp_path / "parts" / part) if slot.table == "predictions"}
        for part in parts
    ]
    assert by_part[0].isdisjoint(by_part[1])

    code, said = slurm.run(SLURM / "collect.sbatch", environment)
    assert code == 0, said
    assert stored(tmp_path / "warehouse") == embedded
    # No model is trained here: its checkpoint came with its part.
    assert "fine-tuning" not in said

    # Each may be run again, and finds nothing to do.
    [(code, said), _, _] = slurm.array(SLURM / "array.sbatch", environment, 0, 2)
    assert code == 0, said
    code, said = slurm.run(SLURM / "collect.sbatch", environment)
    assert code == 0, said
    assert "Nothing was taken" in said
    assert stored(tmp_path / "warehouse") == embedded


@pytest.mark.slow
def test_a_mistake_ends_a_task_before_it_makes_anything(environment, tmp_path):
    slurm = Slurm(tmp_path / "slurm", {"node1": []})
    wrong = {**environment, "XLWH_STUDY": str(tmp_path / "none.toml")}
    [(code, said)] = slurm.array(SLURM / "array.sbatch", wrong, 0, 0)
    assert code != 0
    assert "none.toml" in said
    assert not (tmp_path / "parts").exists()
    code, said = slurm.run(SLURM / "collect.sbatch", environment)
    assert (code, "No parts in" in said) == (1, True)
    for name in ("XLWH_STUDY", "XLWH_WAREHOUSE"):
        code, said = slurm.run(SLURM / "ray.sbatch", {**environment, name: ""}, ["--nodes=1"])
        assert code != 0
        assert name in said


@pytest.mark.slow
def test_ray_on_one_node_and_a_job_that_is_stopped(embedded, environment, tmp_path):
    pytest.importorskip("ray", reason="Ray is an extra")
    slurm = Slurm(tmp_path / "slurm", {"node1": []})
    options = ["--nodes=1", "--cpus-per-task=2"]
    here = {**environment, "XLWH_HEAD_IP": "127.0.0.1"}
    port = {"XLWH_RAY_PORT": free_port()}
    job = slurm.start(SLURM / "ray.sbatch", here, options, more=port)
    said = ""
    # The time is nearly up: Slurm sends the signal that the script asks for.
    while "Workers: on the Ray cluster" not in said:
        line = job.stdout.readline()
        assert line, said
        said += line
    time.sleep(5)
    job.send_signal(signal.SIGTERM)
    rest, _ = job.communicate(timeout=120)
    assert job.returncode == 130, said + rest
    assert "Submit the same job again" in rest
    number = f"{os.getpid()}1"
    deadline = time.monotonic() + 30
    while of_scratch(number) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert of_scratch(number) == []
    assert not Path(f"/tmp/xlwh-{number}").exists()

    code, said = slurm.run(SLURM / "ray.sbatch", here, options, more={"XLWH_RAY_PORT": free_port()})
    assert code == 0, said
    assert stored(tmp_path / "warehouse") == embedded


@pytest.mark.slow
def test_ray_over_two_hosts_with_the_manifest_in_postgresql(embedded, environment, tmp_path):
    pytest.importorskip("ray", reason="Ray is an extra")
    if (reason := hosts.why_not()) is not None:
        pytest.skip(reason)
    made = hosts.Hosts(["node1", "node2", "db"])
    try:
        made.postgres("db", password="secret", user="xlwh", database="xlwh")
        there = {**environment, "PGPASSWORD": "secret"}
        xlwh = str(Path(sys.executable).with_name("xlwh"))
        ran = made.run("node1", [xlwh, "manifest", "postgresql://xlwh@db:5432/xlwh"], there)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        slurm = Slurm(tmp_path / "slurm", {name: made.on(name, []) for name in ("node1", "node2")})
        # No more cores than one step of the study takes on a node, so that both are needed.
        code, said = slurm.run(SLURM / "ray.sbatch", there, ["--nodes=2", "--cpus-per-task=1"])
        assert code == 0, said
        ran = made.run("node1", [xlwh, "tables"], there)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        ran = made.run("node1", [xlwh, "manifest", "sqlite"], there)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    finally:
        made.close()
    assert stored(tmp_path / "warehouse") == embedded
