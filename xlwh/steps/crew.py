"""Worker processes that make the partitions of a step side by side, and live as long as the command.

Each worker is an executor of one process, so that partitions of a model can go to the process that has it loaded, and
the death of one breaks no other. A worker and its parent share a connection: the worker sends its progress, and ends
when the connection does, however that comes about.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import types
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from xlwh import failures
from xlwh.errors import XlwhError
from xlwh.models import Zoo, threads
from xlwh.models.zoo import KEEP
from xlwh.steps import runner
from xlwh.steps.base import Key, Progress, StepResult
from xlwh.steps.context import Context
from xlwh.steps.history import History
from xlwh.steps.plan import STEPS, Step, upstream
from xlwh.steps.planning import Planner, command, definition_of
from xlwh.steps.rates import Rates
from xlwh.store import Warehouse
from xlwh.study import Study
from xlwh.tables import TABLES

TRIES = 2
"""Times that a partition is begun, or a worker started, where the process dies."""
_REPORTED_S = 0.2
"""A worker reports its progress that often at most."""
_GONE_S = 10.0
"""A process that broke off is gone by then."""
_PUMPED_S = 0.1
"""Its parent reads what it reported that often at least."""

Made = tuple[Key, StepResult | Exception]
"""A partition, and what became of it."""
Begun = Callable[[Key], Progress]
"""Told that a partition is begun; gives what its progress goes to."""


def alone(step: Step, context: Context, keys: Sequence[Key], begun: Begun) -> Generator[Made]:
    """Make partitions one after the other in this process. One that fails leaves the others alone."""
    for key in keys:
        context.progress = begun(key)
        yield key, _tried(step, context, key)


def _tried(step: Step, context: Context, key: Key) -> StepResult | Exception:
    """What became of a partition: whatever its code does, short of ending the process, concerns it alone."""
    try:
        return runner.run(step, context, key)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # libraries of Rust panic with an error that is no Exception
        if failures.was_stopped(error):
            raise KeyboardInterrupt from error
        return failures.as_error(error, [context.warehouse.root])


class Crew:
    """Worker processes for one study and warehouse; `close` ends them."""

    def __init__(self, study: Study, root: Path, number: int) -> None:
        """Start the processes. They load their libraries while the caller goes on."""
        self._study, self._root = study, root
        self._rates: Rates | None = None
        self._workers = [_Worker(study, root) for _ in range(number)]

    def close(self) -> None:
        """End all workers at once. What they had finished is stored."""
        for worker in self._workers:
            worker.kill()

    def make(self, step: Step, context: Context, keys: Sequence[Key], begun: Begun) -> Generator[Made]:
        """Make partitions of one step side by side; they come in the order in which they end.

        Those that are expected to take longest are begun first, by what like ones took on this machine. A partition
        waits for those of the same step that it reads, and for one that may write the same files. One whose model uses
        all cores is made in this process, while the workers rest. If the caller does not take all results, as when it is
        interrupted, the workers are ended. XlwhError where workers cannot be started.
        """
        deal = _Deal(step, self._study, keys, self._seconds(step, context, keys))
        is_shared = cache(lambda model: self._is_shared(context, model))
        try:
            while deal.left or deal.running:
                self._replace_the_dead()
                for worker in self._workers:
                    if worker.is_idle and (key := self._next(worker, deal, is_shared)) is not None:
                        worker.begin(step, key, context.force, begun(key))
                here = self._for_this_process(step, deal, is_shared)
                if here is not None:
                    yield from alone(step, context, [here], begun)
                    deal.end(here)
                    continue
                self._wait()
                for worker in self._workers:
                    worker.pump()
                    if (ended := worker.ended()) is None:
                        continue
                    key, made = ended
                    if made is None and deal.again(key):
                        continue
                    deal.end(key)
                    yield key, _died(step, key, worker.end) if made is None else made
        finally:
            if deal.running:
                self.close()

    def _seconds(self, step: Step, context: Context, keys: Sequence[Key]) -> Mapping[Key, float]:
        """What partitions are expected to take; nothing where it does not matter."""
        if len(keys) <= len(self._workers):
            return {}
        if self._rates is None:
            self._rates = Rates(History(self._root).of_this_machine())
        context.planner.refresh()
        return self._rates.seconds(context.planner, step, keys, context.force)

    def _wait(self) -> None:
        pending = [worker.awaited for worker in self._workers if not worker.is_idle]
        assert pending, "nothing is being made, and nothing can be begun"
        wait(pending, _PUMPED_S, FIRST_COMPLETED)

    def _replace_the_dead(self) -> None:
        for number, worker in enumerate(self._workers):
            worker.pump()
            if worker.is_dead:
                if worker.starts >= TRIES:
                    raise XlwhError(
                        f"Worker processes end while they start, {TRIES} times one after the other. See the messages "
                        "above; --workers in_process does without them."
                    )
                worker.kill()
                self._workers[number] = _Worker(self._study, self._root, worker.starts)

    def _next(self, worker: _Worker, deal: _Deal, is_shared: Callable[[str | None], bool]) -> Key | None:
        """What a worker is to make next: of a model that it has loaded, else of one that no other is at."""
        taken = {other.models[-1] for other in self._workers if other is not worker and other.models}
        models = [model for model in deal.models if is_shared(model)]
        return deal.begin(
            sorted(models, key=lambda model: 0 if model in worker.models else 1 + (model in taken))
        )

    def _for_this_process(
        self, step: Step, deal: _Deal, is_shared: Callable[[str | None], bool]
    ) -> Key | None:
        """What is made here now: work without a model while workers start; what uses all cores when they rest."""
        if deal.running:
            return None
        if "model" not in step.dimensions and not any(worker.is_idle for worker in self._workers):
            return deal.begin(deal.models)
        if any(is_shared(model) for model in deal.models):
            return None
        return deal.begin(deal.models)

    def _is_shared(self, context: Context, model: str | None) -> bool:
        """Whether as many partitions of a model as there are workers can be made side by side."""
        number = len(self._workers)
        return number * runner.threads_of(context.zoo, Key(model)) <= max(number, threads.cores())


class _Deal:
    """The partitions of a step that are still to be made, by model, and those that are being made.

    Models whose partitions are expected to take longest together come first, and of a model its longest ones.
    """

    def __init__(
        self, step: Step, study: Study, keys: Sequence[Key], seconds: Mapping[Key, float] | None = None
    ) -> None:
        self.running: set[Key] = set()
        expected, of_model = seconds or {}, dict[str | None, float]()
        for key in keys:
            of_model[key.model] = of_model.get(key.model, 0.0) + expected.get(key, 0.0)
        self._left: dict[str | None, deque[Key]] = {}
        for key in sorted(keys, key=lambda key: (-of_model[key.model], -expected.get(key, 0.0))):
            self._left.setdefault(key.model, deque()).append(key)
        self._open, self._tries = set(keys), Counter[Key]()
        within = any(read.step == step.name for read in step.reads)
        self._reads: Mapping[Key, set[Key]] = {
            key: {other for source, other in upstream(study, step, key) if source is step}
            for key in (keys if within else ())
        }
        columns = [
            {column.removeprefix("target_") for column in TABLES[table].partition_by} for table in step.tables
        ]
        own = [name for name in step.dimensions if all(name in names for names in columns)]
        self._place = own if len(own) < len(step.dimensions) else None

    @property
    def left(self) -> bool:
        """Whether some were not begun."""
        return bool(self._left)

    @property
    def models(self) -> list[str | None]:
        """Models of those that were not begun, in order."""
        return list(self._left)

    def begin(self, models: Iterable[str | None]) -> Key | None:
        """Begin the first partition of these models that waits for no other, if there is one."""
        places = {self._place_of(key) for key in self.running} - {None}
        for model in models:
            for key in self._left[model]:
                waits = self._place_of(key) in places or self._reads.get(key, set()) & self._open
                if not waits:
                    self._left[model].remove(key)
                    if not self._left[model]:
                        del self._left[model]
                    self.running.add(key)
                    self._tries[key] += 1
                    return key
        return None

    def end(self, key: Key) -> None:
        """A partition was made, or failed."""
        self.running.remove(key)
        self._open.remove(key)

    def again(self, key: Key) -> bool:
        """Whether a partition whose worker died is to be made once more; it then is the next one of its model."""
        if self._tries[key] >= TRIES:
            return False
        self.running.remove(key)
        self._left.setdefault(key.model, deque()).appendleft(key)
        return True

    def _place_of(self, key: Key) -> tuple[str | None, ...] | None:
        """Where a partition writes, if others may write there too, such as models that share a space of words."""
        return None if self._place is None else tuple(getattr(key, name) for name in self._place)


class _Worker:
    """The parent's side of one worker process."""

    def __init__(self, study: Study, root: Path, starts: int = 0) -> None:
        self.starts = starts + 1
        """Processes that were started in this place since one last was ready."""
        self.models: deque[str] = deque(maxlen=KEEP)
        """The models that it has loaded, the last one last."""
        spawn = multiprocessing.get_context("spawn")
        self._line, other = spawn.Pipe()
        self._executor = ProcessPoolExecutor(1, spawn, _begin, (study, root, other))
        with _spawning():
            self._start: Future[int] = self._executor.submit(_load)
        [self._process] = (self._executor._processes or {}).values()
        # The worker's end is its own now: when it dies, ours must find that nobody is there.
        other.close()
        self._task: Future[StepResult] | None = None
        self._key: Key | None = None
        self._report: Progress | None = None
        self._cut = False

    @property
    def awaited(self) -> Future[Any]:
        """What it does: it starts, or makes a partition."""
        return self._start if self._task is None else self._task

    @property
    def is_idle(self) -> bool:
        """Whether it has started, and makes nothing."""
        return not self.is_dead and self._task is None and self._start.done()

    @property
    def is_dead(self) -> bool:
        """Whether its process is gone, and what it made is known to have come to nothing."""
        began = self._start.done() and isinstance(self._start.exception(), BrokenProcessPool)
        return (self._cut or began) and self._task is None

    @property
    def end(self) -> str:
        """How its process ended, once it is gone."""
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
        """Make a partition."""
        self._start.result()  # raises where it could not load its libraries
        self.starts = 0
        if key.model is not None:
            with suppress(ValueError):
                self.models.remove(key.model)
            self.models.append(key.model)
        self._key, self._report = key, report
        try:
            self._task = self._executor.submit(_make, step.name, key, force)
        except BrokenProcessPool as error:
            self._task = Future()
            self._task.set_exception(error)

    def ended(self) -> tuple[Key, StepResult | Exception | None] | None:
        """The partition that it has made and what became of it, None where its process died; None if it is not done."""
        if self._task is None or not self._task.done():
            return None
        assert self._key is not None
        key, task = self._key, self._task
        self._task = self._key = self._report = None
        error = task.exception()
        if isinstance(error, BrokenProcessPool):
            self._cut = True
            return key, None
        if error is not None and not isinstance(error, Exception):
            raise error
        return key, task.result() if error is None else error

    def pump(self) -> None:
        """Pass on what it has reported."""
        try:
            while not self._cut and self._line.poll():
                report = self._line.recv()
                if self._report is not None:
                    self._report(*report)
        except (EOFError, OSError):
            self._cut = True

    def kill(self) -> None:
        """End its process, whatever it is doing."""
        self._process.kill()
        self._line.close()
        self._cut = True
        self._executor.shutdown(wait=False, cancel_futures=True)


def _died(step: Step, key: Key, end: str) -> XlwhError:
    return XlwhError(
        f"The worker process that made it ended, {TRIES} times ({end}). "
        f"Run: {command(step.tables[0], key)} --workers in_process"
    )


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


class _Bench:
    """What a worker process works with, for as long as it lives."""

    context: Context
    line: Connection


def _begin(study: Study, root: Path, line: Connection) -> None:
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()
    warehouse = Warehouse(root)
    _Bench.context = Context(study, warehouse, Zoo(study, warehouse))
    # With a zoo of its own: it asks what models are and loads none, so it keeps none in memory.
    _Bench.context.planner = Planner(study, warehouse, Zoo(study, warehouse))
    _Bench.line = line


def _end_with(line: Connection) -> None:
    """End this process when the other end of the connection is closed, such as by its parent's death."""
    with suppress(EOFError, OSError):
        line.recv()
    os._exit(1)


def _load() -> int:
    """Load what takes long, while nothing is to be made yet; the process id."""
    import xlwh.models.loading  # noqa: F401 - for torch and transformers

    for step in STEPS.values():
        definition_of(step)
    return os.getpid()


def _make(name: str, key: Key, force: bool) -> StepResult:
    context = _Bench.context
    context.force, context.progress = force, _reporting()
    made = _tried(STEPS[name], context, key)
    if isinstance(made, StepResult):
        return made
    if _can_be_sent(made):
        raise made
    raise XlwhError(str(made))


def _reporting() -> Progress:
    last = 0.0

    def report(what: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORTED_S:
            last = now
            with suppress(OSError):  # the parent is gone, and so is this process in a moment
                _Bench.line.send((what, done, total))

    return report


def _can_be_sent(error: Exception) -> bool:
    """Whether an error arrives as what it is."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # an error's own code, which may do anything
        return False
    return type(copy) is type(error) and str(copy) == str(error)
