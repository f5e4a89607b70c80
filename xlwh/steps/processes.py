"""Workers that are processes of this machine.

Each is an executor of one process, so that partitions of a model can go to the process that has it loaded, and the death
of one breaks no other. A worker and its parent share a connection: the worker sends its progress, and ends when the
connection does, however that comes about.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from xlwh.models import devices
from xlwh.steps.base import Key, Progress, StepResult
from xlwh.steps.bench import Bench, load_libraries, reporting
from xlwh.steps.errand import Errand
from xlwh.steps.plan import Step
from xlwh.study import Study

_GONE_S = 10.0
"""A process that broke off is gone by then."""


class Processes:
    """Worker processes, each with an accelerator of its own where there are some."""

    def __init__(self, study: Study, root: Path, devices: Sequence[str] = ()) -> None:
        self.makes_all = bool(devices)
        self._study, self._root, self._devices = study, root, devices

    def start(self, place: int, starts: int = 0) -> Process:
        """See `Kind.start`."""
        device = self._devices[place] if self._devices else None
        return Process(self._study, self._root, device, starts)

    def notice(self) -> str | None:
        """Nothing is to be told."""
        return None

    def close(self) -> None:
        """Nothing is left when its workers were ended."""


class Process(Errand):
    """The parent's side of one worker process."""

    def __init__(self, study: Study, root: Path, device: str | None = None, starts: int = 0) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._line, other = spawn.Pipe()
        self._executor = ProcessPoolExecutor(1, spawn, _begin, (study, root, device, other))
        with _spawning():
            super().__init__(self._executor.submit(_load), starts)
        [self._process] = (self._executor._processes or {}).values()
        # The worker's end is its own now: when it dies, ours must find that nobody is there.
        other.close()
        self._cut = False

    @property
    def is_dead(self) -> bool:
        """See `Worker.is_dead`."""
        began = self._start.done() and isinstance(self._start.exception(), BrokenProcessPool)
        return (self._cut or began) and self._task is None

    @property
    def end(self) -> str:
        """See `Worker.end`."""
        # The executor waits for it in a thread of its own, and is a moment behind.
        deadline = time.monotonic() + _GONE_S
        while (code := self._process.exitcode) is None:
            if time.monotonic() > deadline:
                return "lost connection"
            time.sleep(0.01)
        if code == -signal.SIGKILL:
            return "killed from outside, as the system does where memory is short"
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    def begin(self, step: Step, key: Key, force: bool, report: Progress) -> None:
        """See `Worker.begin`."""
        self._start.result()  # raises where it could not load its libraries
        self._take(key, report)
        try:
            self._task = self._executor.submit(_make, step.name, key, force)
        except BrokenProcessPool as error:
            self._task = Future()
            self._task.set_exception(error)

    def ended(self) -> tuple[Key, StepResult | Exception | None] | None:
        """See `Worker.ended`."""
        if (finished := self._finished()) is None:
            return None
        key, task = finished
        error = task.exception()
        if isinstance(error, BrokenProcessPool):
            self._cut = True
            return key, None
        if error is not None and not isinstance(error, Exception):
            raise error
        return key, task.result() if error is None else error

    def pump(self) -> None:
        """See `Worker.pump`."""
        try:
            while not self._cut and self._line.poll():
                report = self._line.recv()
                if self._report is not None:
                    self._report(*report)
        except (EOFError, OSError):
            self._cut = True

    def kill(self) -> None:
        """See `Worker.kill`."""
        self._process.kill()
        self._line.close()
        self._cut = True
        self._executor.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _spawning() -> Iterator[None]:
    """Start a process that Ctrl-C does not reach, and that does not import this one's main module.

    Ctrl-C goes to all processes of a terminal; the workers are ended by their parent, once. The main module may be
    Dagster's, which takes long to import, or a script that would start everything again.
    """
    resource_tracker.ensure_running()
    main = sys.modules["__main__"]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# What follows runs in the workers.


class _Worker:
    """What a worker process works with, for as long as it lives."""

    bench: Bench
    line: Connection


def _begin(study: Study, root: Path, device: str | None, line: Connection) -> None:
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()
    if device is not None:
        # It is the only one that this process sees, whichever the setting names.
        os.environ[devices.VISIBLE], os.environ[devices.VARIABLE] = device, "cuda"
    _Worker.bench, _Worker.line = Bench(study, root), line


def _end_with(line: Connection) -> None:
    """End this process when the other end of the connection is closed, such as by its parent's death."""
    with suppress(EOFError, OSError):
        line.recv()
    os._exit(1)


def _load() -> int:
    """Load what takes long, while nothing is to be made yet; the process id."""
    load_libraries()
    return os.getpid()


def _make(name: str, key: Key, force: bool) -> StepResult:
    return _Worker.bench.make(name, key, force, reporting(_send))


def _send(report: tuple[str, int, int]) -> None:
    with suppress(OSError):  # the parent is gone, and so is this process in a moment
        _Worker.line.send(report)
