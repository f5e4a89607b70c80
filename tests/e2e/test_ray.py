"""Ray: nodes that join are used and lost ones survived, and what is wrong with a cluster is one line."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from xlwh.errors import StoreError, XlwhError
from xlwh.models import Zoo
from xlwh.steps import cluster, runner
from xlwh.steps.base import Key
from xlwh.steps.cluster import Actor, Facts, _Actor, _require_answer
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, partitions
from xlwh.steps.workers import Choice
from xlwh.store import Warehouse
from xlwh.study import load


@pytest.fixture
def context(tiny_study, tmp_path):
    study, warehouse = load(tiny_study), Warehouse(tmp_path / "warehouse", create=True)
    return Context(study, warehouse, Zoo(study, warehouse))


class Silent:
    """A board that nobody reads."""

    def __init__(self):
        self.put = self

    def remote(self, place, report):
        return None


def loaded(context, facts, root=None, is_of_one_host=True):
    root = context.warehouse.root if root is None else root
    return _Actor(context.study, str(root), facts, is_of_one_host, Silent(), 0).load()


def test_a_node_that_is_not_fit_says_why(context, tmp_path):
    here = Facts.here()
    other = loaded(context, replace(here, versions={**here.versions, "polars": "0.1"}))
    assert isinstance(other, XlwhError)
    assert f"polars {here.versions['polars']} instead of 0.1. Rows could differ" in str(other)
    away = replace(here, host="head", machine="another")
    assert isinstance(one := loaded(context, away), StoreError)
    assert "is another machine than head, and the manifest" in str(one)
    assert isinstance(absent := loaded(context, away, tmp_path / "nowhere", is_of_one_host=False), StoreError)
    assert f"There is no warehouse at {tmp_path / 'nowhere'} on Ray node {here.host}" in str(absent)
    assert loaded(context, away, is_of_one_host=False) == os.getpid()


def test_where_no_cluster_answers(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(
            XlwhError, match=f"No Ray cluster answers at {address} .Connection refused.*ray start"
        ):
            _require_answer(address)
    with pytest.raises(XlwhError, match="ADDRESS is HOST:PORT"):
        _require_answer("head")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(XlwhError, match=r"not installed. Run: pip install 'xlwh\[ray\]'"):
        cluster._library("head:6379")


@pytest.mark.parametrize(
    ("address", "asks", "shown"),
    [
        ("127.0.0.1:6379", True, "token"),
        ("127.0.0.1:6379", False, None),
        ("192.0.2.254:6379", True, "refused"),
        ("192.0.2.254:6379", False, None),
    ],
)
def test_a_token_is_shown_to_a_cluster_of_this_machine_that_asks_for_one(monkeypatch, address, asks, shown):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    said = "ray.exceptions.AuthenticationError: RPC error" if asks else ""
    monkeypatch.setattr(cluster.subprocess, "run", lambda *_, **__: SimpleNamespace(stderr=said))
    if shown == "refused":
        with pytest.raises(XlwhError, match=f"{address} asks for a token.*RAY_AUTH_MODE=token"):
            cluster._show_token(address)
    else:
        cluster._show_token(address)
        assert os.environ.get("RAY_AUTH_MODE") == shown


def test_a_node_without_xlwh_is_told_as_such():
    """What Ray 2.60 raises there, whose text is all that tells it."""
    said = (
        "The actor died because of an error raised in its creation task, ray::_Actor.__init__() (pid=57)\n"
        "RuntimeError: The actor with name _Actor failed to import on the worker. This may be because needed library "
        "dependencies are not installed in the worker environment:\n\n"
        "ModuleNotFoundError: No module named 'xlwh'"
    )
    future = Future()
    future.set_exception(RuntimeError(said))
    loading = SimpleNamespace(remote=lambda: SimpleNamespace(future=lambda: future))
    actor = Actor(SimpleNamespace(is_lost=lambda error: True), 0, SimpleNamespace(load=loading), 0)
    with pytest.raises(XlwhError, match=r"cannot load xlwh .*No module named 'xlwh'.*on every node"):
        assert actor.is_dead


def test_what_takes_connections_and_is_no_cluster(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setattr(cluster, "_HEALTHY_S", 4.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        _require_answer(address)
        with pytest.raises(XlwhError, match=f"connections at {address}, and has not answered .* for 4 s"):
            cluster._show_token(address)


@pytest.fixture
def own_cluster(monkeypatch):
    """A cluster as users start it, which asks for the token in their home: its address, and what ends it at once."""
    folder = Path(tempfile.mkdtemp(prefix="xlwh-ray-"))  # short: it holds sockets
    (folder / ".ray").mkdir()
    (folder / ".ray" / "auth_token").write_text("f" * 64)
    monkeypatch.setenv("HOME", str(folder))
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    for name, value in cluster._LOOPBACK.items():
        monkeypatch.setenv(name, value)
    port = next(port for port in range(6500, 9900) if not _is_taken(port))
    asked = f"--head --num-cpus 2 --node-ip-address 127.0.0.1 --port {port} --include-dashboard false"
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *asked.split()]
    done = subprocess.run([*command, "--temp-dir", folder / "t"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def end():
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if str(folder / "t") in place.read_text():
                    os.kill(int(place.parent.name), signal.SIGKILL)

    yield f"127.0.0.1:{port}", end
    end()
    shutil.rmtree(folder, ignore_errors=True)


def _is_taken(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_the_command_on_a_cluster_that_is_there_and_then_is_not(tiny_study, tmp_path, own_cluster):
    address, end = own_cluster
    program = "import sys; from xlwh.cli import main; sys.exit(main())"
    asked = f"materialize examples parallelism models tokens --workers ray:{address}".split()
    where = ["--study", str(tiny_study), "--warehouse", str(tmp_path / "warehouse")]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *asked, *where],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    said = ""
    while "models: 3 partitions" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    assert "examples: 4 written" in said
    end()
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.search(f"The Ray cluster at {address} is lost: its (node|head)", rest), rest
    assert "the same command goes on from there" in rest
    assert "Traceback" not in said + rest
    assert len(Warehouse(tmp_path / "warehouse").entries("examples")) == 4


@pytest.mark.slow
def test_a_node_that_joins_is_used_and_one_that_is_lost_is_survived(context):
    ray, tuned = cluster._library(""), Key("tuned")
    from ray.cluster_utils import Cluster

    for step in ("examples", "parallelism"):
        for key in partitions(context.study, STEPS[step]):
            runner.run(STEPS[step], context, key)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    first, begins, notes = nodes.add_node(num_cpus=1), list[Key](), list[str]()

    def begun(key):
        begins.append(key)
        if key == tuned and begins.count(tuned) == 1:
            # A second node comes, and the one that is at it goes: its workers cannot have ended by then.
            nodes.add_node(num_cpus=1)
            pids = [worker._start.result() for worker in crew._workers if worker.is_idle]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)

            def lose():
                nodes.remove_node(first, allow_graceful=False)
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)

            threading.Timer(0.5, lose).start()
        return lambda *report: None

    choice = Choice(2, "as asked for", ray=nodes.address)
    try:
        with closing(choice.hire(context.study, context.warehouse.root)) as crew:
            crew.tell = notes.append
            made = dict(
                crew.make(STEPS["models"], context, partitions(context.study, STEPS["models"]), begun)
            )
        assert {key.model: result.status for key, result in made.items()} == dict.fromkeys(
            ("base", "plain", "tuned"), "written"
        )
        assert begins.count(tuned) == 2
        assert any("tuned: its worker ended" in note for note in notes), notes
    finally:
        ray.shutdown()
        nodes.shutdown()
