"""Workers that are actors of Ray, on a cluster that is there or on one of this machine that lasts as long as the command.

Ray places them, starts one anew elsewhere where one or its node is lost, and asks for more nodes where the cluster can
grow: as many are asked for as a step has partitions, and those that have no room yet wait for it. Its dashboard shows
what runs where.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from xlwh.errors import StoreError, XlwhError
from xlwh.models import threads
from xlwh.models.devices import CPU, Devices
from xlwh.steps.base import Key, Progress, StepResult
from xlwh.steps.bench import Bench, load_libraries, reporting
from xlwh.steps.errand import Errand
from xlwh.steps.plan import STEPS, Step
from xlwh.steps.planning import definition_of
from xlwh.store import Warehouse
from xlwh.store.claims import FileClaims
from xlwh.store.host import host_name, machine
from xlwh.store.manifest_file import has_manifest
from xlwh.store.objects import root_of
from xlwh.store.roots import name_of
from xlwh.study import Study
from xlwh.texts import whole_number

_ANSWERS_S = 10.0
"""A cluster that is there takes a connection by then."""
_HEALTHY_S = 30.0
"""One that runs says so by then."""
_PLACED_S = 20.0
"""Workers that have no place by then are told of, and again after as long times ten."""
_READ_S = 0.3
"""What actors reported is read that often at most."""
_LOST_S = {"head": 30.0, "node": 3.0}
"""A cluster whose head, or the command's own node of it, takes no connection for that long is lost. Where a node is gone, Ray
ends the process itself some seconds later.
"""
_ASKED_S = 2.0
"""Whether it takes one is looked at that often."""
_OBJECTS_BYTES = 100_000_000
"""Of the object store of a cluster that is started here: only studies and results go through it."""
_LOOPBACK = {
    # The only setting of Ray that keeps all of its servers on the loopback interface.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_TOKENS = "RAY_AUTH_MODE"
"""Environment variable: whether Ray shows its token, `token` or `disabled`."""
_PASSED_ON = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS")
"""Environment variables that actors are given, with all of xlwh's own."""


@dataclass(frozen=True)
class Facts:
    """What is to be the same wherever partitions are made, and what tells machines apart."""

    host: str
    machine: str
    versions: Mapping[str, str]

    @classmethod
    def here(cls) -> Facts:
        """Of this process."""
        libraries = {name for step in STEPS.values() for name in definition_of(step).libraries}
        names = sorted({"xlwh", "torch", "transformers", "tokenizers", "numpy", "polars", *libraries})
        found = {"python": ".".join(map(str, sys.version_info[:2]))} | {
            name: _version(name) for name in names
        }
        return cls(host_name(), machine(), found)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


class Cluster:
    """Actors on a Ray cluster: one per GPU where it has some, else one per so many cores as a model takes threads."""

    makes_all = True

    def __init__(self, study: Study, root: Path, address: str, cores: int) -> None:
        """Connect to the cluster at an address, or start one here where it is empty.

        XlwhError where Ray is not installed, nothing answers there, or the versions of Ray or Python differ.
        """
        if Devices.asked().kind == "cuda":
            raise XlwhError(
                "--workers ray: Ray deals out the GPUs of its cluster, one to a worker. Leave --device at auto, or set "
                "it to cpu."
            )
        threads.threads_of(None)  # notes it in the environment, which actors are given
        if address:
            _require_answer(address)
            _show_token(address)
        self._ray = ray = _library(address)
        _connect(ray, address)
        self._study, self._root = ray.put(study), root
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0 and Devices.asked().kind != CPU
        self._gpus, self._cores = int(has_gpus), cores
        self._facts, self._is_of_one_host = Facts.here(), isinstance(Warehouse(root).claims, FileClaims)
        self._board = ray.remote(_Board).options(num_cpus=0, max_restarts=-1).remote()
        self._reports: dict[int, tuple[str, int, int]] = {}
        self._reading: Future[Any] | None = None
        self._read_at = 0.0
        self._told_at = time.monotonic() - 9 * _PLACED_S
        self._address = address
        self._servers = _servers(ray, address)
        self._asked_at = time.monotonic()
        self._answered_at = dict.fromkeys(self._servers, self._asked_at)
        self._is_there = True
        self._loss: XlwhError | None = None
        """Why nothing more can be made on it."""
        self._placed = set[int]()
        """Places of workers that Ray has found room for."""

    def start(self, place: int, starts: int = 0) -> Actor:
        """See `Kind.start`."""
        self.require_there()
        options = {"num_cpus": 1 if self._gpus else self._cores, "num_gpus": self._gpus, "max_restarts": 0}
        made = self._ray.remote(_Actor).options(**options)
        actor = made.remote(
            self._study, name_of(self._root), self._facts, self._is_of_one_host, self._board, place
        )
        return Actor(self, place, actor, starts)

    def require_there(self) -> None:
        """XlwhError where the cluster was lost."""
        if self._loss is not None:
            raise self._loss

    def take(self, place: int) -> tuple[str, int, int] | None:
        """What the worker in a place reported last, once."""
        now = time.monotonic()
        if self._reading is not None and self._reading.done():
            if self._reading.exception() is None:
                found = self._reading.result()
                self._placed.update(found)
                self._reports.update(found)
            self._reading = None
        if self._reading is None and now - self._read_at >= _READ_S and self._ray.is_initialized():
            self._read_at, self._reading = now, self._board.take.remote().future()
        return self._reports.pop(place, None)

    def is_lost(self, error: BaseException | None) -> bool:
        """Whether an error says that an actor, or its node, is gone or out of reach."""
        errors = self._ray.exceptions
        return isinstance(error, errors.RayError) and not isinstance(error, errors.RayTaskError)

    def end(self, actor: Any) -> None:
        """End an actor, whatever it is doing."""
        if (
            self._is_there and self._ray.is_initialized()
        ):  # else Ray would start another cluster to kill it in
            with suppress(Exception):  # of a cluster that is gone
                self._ray.kill(actor, no_restart=True)

    def notice(self) -> str | None:
        """That Ray has found no room for any worker for a while. XlwhError where the cluster is lost."""
        now = time.monotonic()
        if (told := self._missed(now)) is not None:
            return told
        if self._placed or now - self._told_at < 10 * _PLACED_S:
            return None
        self._told_at = now
        asked = "1 GPU and 1 core" if self._gpus else f"{self._cores} cores" if self._cores > 1 else "1 core"
        free = {name: round(number, 1) for name, number in self._ray.available_resources().items()}
        cores, gpus = free.get("CPU", 0), free.get("GPU", 0)
        return (
            f"Waits for Ray to start a worker, which takes {asked} on one node; free in the cluster: {cores} cores, "
            f"{gpus} GPUs"
        )

    def _missed(self, now: float) -> str | None:
        """Told once when the cluster takes no connection any more."""
        if now - self._asked_at < _ASKED_S:
            return None
        self._asked_at, was_there, self._is_there = now, self._is_there, True
        where = f"The Ray cluster at {self._address}" if self._address else "The Ray cluster of this command"
        for name, place in self._servers.items():
            try:
                _reach(place, _ASKED_S)
                self._answered_at[name] = now
            except OSError as error:
                self._is_there = False
                if now - self._answered_at[name] > _LOST_S[name]:
                    self._loss = XlwhError(
                        f"{where} is lost: its {name} ({place}) has ended, or cannot be reached ({error.strerror or error}). "
                        "What was finished is kept: the same command goes on from there."
                    )
                    raise self._loss from error
        if was_there and not self._is_there:
            return f"{where} does not answer; it is waited for, {_LOST_S['head']:.0f} s at most"
        return None

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._ray.shutdown()


def _library(address: str) -> Any:
    # This is read when Ray is imported.
    if not address:
        os.environ.update(_LOOPBACK)
        os.environ.setdefault(_TOKENS, "token")
    try:
        import ray
    except ImportError:
        raise XlwhError(
            "--workers ray needs Ray, which is not installed. Run: pip install 'xlwh[ray]'"
        ) from None
    return ray


def _connect(ray: Any, address: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name.startswith("XLWH_")}
    environment |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    common: dict[str, Any] = {
        "log_to_driver": False,
        "configure_logging": False,
        "runtime_env": {"env_vars": environment},
    }
    if not address:
        here = {
            "num_cpus": threads.cores(),
            "object_store_memory": _OBJECTS_BYTES,
            "include_dashboard": False,
        }
        try:
            ray.init("local", _node_ip_address="127.0.0.1", **here, **common)
        except Exception as error:
            said = " ".join(str(error).split())
            raise XlwhError(f"Ray cannot start a cluster on this machine: {said[:400]}") from error
        found = {node["NodeManagerAddress"] for node in ray.nodes()}
        if found != {"127.0.0.1"}:
            ray.shutdown()
            raise XlwhError(
                f"Ray would listen at {', '.join(sorted(found))}, not on this machine's loopback interface alone: it "
                "was loaded before xlwh could say so. Start a cluster of your own and name it: --workers ray:ADDRESS"
            )
        return
    try:
        ray.init(address, **common)
    except Exception as error:  # Ray raises a dozen kinds here
        said = " ".join(str(error).split())[:400].rstrip(".")
        if "version" in said.lower():
            raise XlwhError(
                f"The Ray cluster at {address} is of other versions than this process: {said}."
            ) from error
        raise XlwhError(f"The Ray cluster at {address} cannot be used: {said}.") from error


def _show_token(address: str) -> None:
    """Have Ray show its token to a cluster of this machine that asks for one, as it does where none is named.

    XlwhError where one of another machine asks and it is not said that it may have it.
    """
    if _TOKENS in os.environ or address == "auto" or address.startswith("ray://"):
        return
    # Ray itself would try for longer, and not say why it failed.
    try:
        asked = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address],
            env={**os.environ, _TOKENS: "disabled"},
            capture_output=True,
            text=True,
            timeout=_HEALTHY_S,
        )
    except subprocess.TimeoutExpired:
        raise XlwhError(
            f"Something takes connections at {address}, and has not answered as a Ray cluster does for {_HEALTHY_S:.0f} s."
        ) from None
    if "AuthenticationError" not in asked.stderr:
        return
    host = address.rpartition(":")[0].strip("[]")
    [(family, *_, found), *_] = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    try:
        with socket.socket(family, socket.SOCK_STREAM) as local:
            local.bind(found)
    except OSError:
        raise XlwhError(
            f"The Ray cluster at {address} asks for a token. Put it into ~/.ray/auth_token (`ray get-auth-token` shows it "
            f"there), and set {_TOKENS}=token."
        ) from None
    os.environ[_TOKENS] = "token"


def _servers(ray: Any, address: str) -> dict[str, str]:
    """HOST:PORT of what has to be there as long as the command goes on, by name."""
    if address.startswith("ray://"):
        return {"head": address.removeprefix("ray://")}
    here = ray.get_runtime_context()
    found = {"head": str(here.gcs_address)}
    for node in ray.nodes():
        if node["NodeID"] == here.get_node_id():
            found["node"] = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
    return found


def _reach(place: str, within_s: float) -> None:
    """OSError where nobody takes a connection at HOST:PORT."""
    host, _, port = place.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), within_s).close()


def _require_answer(address: str) -> None:
    """XlwhError where nobody takes a connection: Ray itself would try for a minute, and say it in a page."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    number = whole_number(port, 5)
    if not host or number is None or number > 65535:
        raise XlwhError(
            f"--workers ray:ADDRESS: ADDRESS is HOST:PORT, ray://HOST:PORT or auto, not `{address[:80]}`."
        )
    try:
        _reach(f"{host}:{port}", _ANSWERS_S)
    except OSError as error:
        raise XlwhError(
            f"No Ray cluster answers at {address} ({error.strerror or error}). `ray start --head` starts one and says its "
            "address; --workers ray starts one for this command."
        ) from None


class Actor(Errand):
    """The command's side of one actor."""

    def __init__(self, cluster: Cluster, place: int, actor: Any, starts: int) -> None:
        super().__init__(actor.load.remote().future(), starts)
        self._cluster, self._place, self._actor = cluster, place, actor
        self._lost: BaseException | None = None

    @property
    def is_dead(self) -> bool:
        """See `Worker.is_dead`. XlwhError where its node has no xlwh, or a part of it."""
        if self._start.done() and self._cluster.is_lost(error := self._start.exception()):
            if (absent := re.search(r"(ModuleNotFoundError|ImportError): .*", str(error))) is not None:
                raise XlwhError(
                    f"A node of the Ray cluster cannot load xlwh ({absent[0].strip()}). Its Python needs what this one has: "
                    f"pip install 'xlwh[ray]=={_version('xlwh')}' on every node."
                )
            self._lost = error
        return self._lost is not None and self._task is None

    @property
    def end(self) -> str:
        """See `Worker.end`."""
        lines = [line.strip() for line in str(self._lost).splitlines()]
        told = [
            line for line in lines if line.startswith(("The actor is dead because", "The actor died because"))
        ]
        raised = [line for line in lines if re.match(r"\w+(Error|Exception): ", line)]
        return "; ".join(line[:250] for line in (*(told or lines)[:1], *raised[-1:]))

    def begin(self, step: Step, key: Key, force: bool, report: Progress) -> None:
        """See `Worker.begin`."""
        self._cluster.require_there()
        try:
            started = self._start.result()
        except Exception as error:
            said = " ".join(str(error).split())
            raise XlwhError(
                f"Ray cannot start a worker: {said[-400:]}. Every node needs this version of xlwh."
            ) from error
        if isinstance(started, XlwhError):
            raise started
        self._take(key, report)
        # Its name is what Ray's dashboard shows.
        make = self._actor.make.options(name=f"{step.name} {key}")
        self._task = make.remote(step.name, key, force).future()

    def ended(self) -> tuple[Key, StepResult | Exception | None] | None:
        """See `Worker.ended`."""
        if (finished := self._finished()) is None:
            return None
        key, task = finished
        error = task.exception()
        if self._cluster.is_lost(error):
            self._lost = error
            return key, None
        if error is not None:
            return key, error if isinstance(error, Exception) else XlwhError(str(error))
        made, stack = task.result()
        if isinstance(made, Exception):
            made.__cause__ = _ElsewhereError(stack)
        return key, made

    def pump(self) -> None:
        """See `Worker.pump`."""
        report = self._cluster.take(self._place)
        if report is not None and self._report is not None:
            self._report(*report)

    def kill(self) -> None:
        """See `Worker.kill`."""
        self._cluster.end(self._actor)


class _ElsewhereError(Exception):
    """The stack trace of an error in an actor."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


# What follows runs in the cluster.


class _Board:
    """Where actors put what they report, for the command to read all of it at once."""

    def __init__(self) -> None:
        self._reports: dict[int, tuple[str, int, int]] = {}

    def put(self, place: int, report: tuple[str, int, int]) -> None:
        """What an actor reports."""
        self._reports[place] = report

    def take(self) -> dict[int, tuple[str, int, int]]:
        """What was reported since it was last asked for."""
        found, self._reports = self._reports, {}
        return found


class _Actor:
    """What makes partitions in the cluster."""

    def __init__(
        self, study: Study, root: str, facts: Facts, is_of_one_host: bool, board: Any, place: int
    ) -> None:
        self._study, self._named, self._facts, self._is_of_one_host = study, root, facts, is_of_one_host
        self._board, self._place = board, place
        self._bench: Bench | None = None
        self._send(("starting", 0, 0))

    def load(self) -> int | XlwhError:
        """Load what takes long: the process id, or why nothing can be made here."""
        try:
            self._root = root_of(self._named)
            self._require_fit()
            self._bench = Bench(self._study, self._root)
            load_libraries()
        except XlwhError as error:
            return error
        return os.getpid()

    def _require_fit(self) -> None:
        here, there = Facts.here(), self._facts
        apart = [name for name in there.versions if here.versions.get(name) != there.versions[name]]
        if apart:
            told = ", ".join(
                f"{name} {here.versions.get(name, 'none')} instead of {there.versions[name]}"
                for name in apart
            )
            raise XlwhError(
                f"Ray node {here.host} has other versions than the command: {told}. Rows could differ; install the same."
            )
        if self._is_of_one_host and here.machine != there.machine:
            raise StoreError(
                f"Ray node {here.host} is another machine than {there.host}, and the manifest of {self._root} is a file "
                "of SQLite, which serves one machine only. A manifest in PostgreSQL serves several."
            )
        if not has_manifest(self._root):
            raise StoreError(
                f"There is no warehouse at {self._root} on Ray node {here.host}: its folder has to be at the same path on "
                "every node."
            )

    def make(self, name: str, key: Key, force: bool) -> tuple[StepResult | Exception, str]:
        """What became of a partition, and the stack trace where that is an error."""
        assert self._bench is not None
        try:
            return self._bench.make(name, key, force, reporting(self._send)), ""
        except Exception as error:
            return error, "".join(traceback.format_exception(error))

    def _send(self, report: tuple[str, int, int]) -> None:
        self._board.put.remote(self._place, report)
