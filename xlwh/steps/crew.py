"""Workers that make the partitions of a step side by side, and live as long as the command."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from xlwh import interrupts
from xlwh.errors import XlwhError
from xlwh.models import threads
from xlwh.steps import runner
from xlwh.steps.ahead import Ahead
from xlwh.steps.base import Key, Progress, StepResult, no_progress
from xlwh.steps.bench import tried
from xlwh.steps.context import Context
from xlwh.steps.deal import TRIES, Deal, Made
from xlwh.steps.history import History
from xlwh.steps.plan import Step, command
from xlwh.steps.rates import Rates
from xlwh.study import Study

_PUMPED_S = 0.1
"""What workers reported is read that often at least."""

Begun = Callable[[Key], Progress]
"""Told that a partition is begun; gives what its progress goes to."""


class Worker(Protocol):
    """The command's side of one worker."""

    models: deque[str]
    """The models that it has loaded, the last one last."""
    starts: int
    """Workers that were started in this place since one last was ready."""

    @property
    def awaited(self) -> Future[Any]:
        """What it does: it starts, or makes a partition."""

    @property
    def is_idle(self) -> bool:
        """Whether it has started, and makes nothing."""

    @property
    def is_dead(self) -> bool:
        """Whether it is gone, and what it made is known to have come to nothing."""

    @property
    def end(self) -> str:
        """How it ended, once it is gone."""

    def begin(self, step: Step, key: Key, force: bool, report: Progress) -> None:
        """Make a partition. XlwhError where it could not start."""

    def ended(self) -> tuple[Key, StepResult | Exception | None] | None:
        """The partition that it has made and what became of it, None where it died; None if it is not done."""

    def pump(self) -> None:
        """Pass on what it has reported."""

    def kill(self) -> None:
        """End it, whatever it is doing."""


class Kind(Protocol):
    """A kind of workers: where they are, and how they are started and ended."""

    makes_all: bool
    """Whether they make partitions of large models too, which else this process makes while they rest."""

    def start(self, place: int, starts: int = 0) -> Worker:
        """Start the worker in a place, the first or, after `starts` others that did not come to be ready, one more."""

    def notice(self) -> str | None:
        """Something that is to be told now, such as that there is no room for workers."""

    def close(self) -> None:
        """Nothing more is asked of it; its workers were ended."""


def alone(step: Step, context: Context, keys: Sequence[Key], begun: Begun) -> Generator[Made]:
    """Make partitions one after the other in this process. One that fails leaves the others alone."""
    deal = Deal(step, context.study, keys)
    while deal.is_open:
        interrupts.require_none()
        yield from deal.look(context)
        if (key := deal.begin(deal.models)) is None:
            time.sleep(_PUMPED_S)  # others are making all that is left
        else:
            yield from deal.end(key, _here(step, context, key, begun), context.waits)


def _here(step: Step, context: Context, key: Key, begun: Begun) -> StepResult | Exception:
    context.progress = begun(key)
    return tried(step, context, key)


@dataclass
class _Task:
    """What a worker makes, and who is told how far it is."""

    step: Step
    key: Key
    report: Progress

    def progress(self, what: str, done: int, total: int) -> None:
        """Pass on what the worker reports."""
        self.report(what, done, total)


class Crew:
    """Workers for one study and warehouse; `close` ends them."""

    def __init__(self, study: Study, root: Path, kind: Kind, number: int) -> None:
        """Start the workers. They load their libraries while the caller goes on."""
        self.tell: Callable[[str], None] = lambda text: None
        """Told what happens to workers."""
        self.early: Callable[[Step, Key], Progress] = lambda step, key: no_progress
        """Told that a partition is begun before its step's turn; gives what its progress goes to."""
        self._study, self._root, self._kind = study, root, kind
        self._rates: Rates | None = None
        self._workers = [kind.start(place) for place in range(number)]
        self._at: dict[int, _Task] = {}
        """Place of a worker -> what it makes."""
        self._ahead = Ahead(study, {})

    def plan(self, todo: Mapping[Step, Collection[Key]]) -> None:
        """What is to be made, step by step: a worker for which its step has nothing makes something of a later one."""
        self._ahead = Ahead(self._study, todo)

    def close(self) -> None:
        """End all workers at once. What they had finished is stored."""
        for worker in self._workers:
            worker.kill()
        self._kind.close()

    def make(self, step: Step, context: Context, keys: Sequence[Key], begun: Begun) -> Generator[Made]:
        """Make partitions of one step side by side; they come in the order in which they end.

        Those that are expected to take longest are begun first, by what like ones took on this machine. A partition
        waits for those of the same step that it reads, and for one that may write the same files. One whose model uses
        all cores is made in this process, while the workers rest. If the caller does not take all results, as when it is
        interrupted, the workers are ended. XlwhError where workers cannot be started.
        """
        early = self._ahead.take(step, keys)
        yield from early.items()
        keys = [key for key in keys if key not in early]
        deal = Deal(step, self._study, keys, self._seconds(step, context, keys), self._ahead.died)
        for task in self._at.values():
            if task.step is step and task.key in keys:
                deal.is_begun(task.key)
                task.report = begun(task.key)
        is_shared = cache(lambda model: self._is_shared(context, model))
        try:
            while deal.is_open:
                interrupts.require_none()
                yield from deal.look(context)
                self._replace_the_dead()
                for place, worker in enumerate(self._workers):
                    if not worker.is_idle:
                        continue
                    if (next_key := self._next(worker, deal, is_shared)) is not None:
                        task = _Task(step, next_key, begun(next_key))
                    elif (later := self._later(worker, step, deal, is_shared)) is not None:
                        task = _Task(*later, self.early(*later))
                    else:
                        continue
                    worker.begin(task.step, task.key, context.force, task.progress)
                    self._at[place] = task
                here = self._for_this_process(step, deal, is_shared)
                if here is not None:
                    result = _here(step, context, here, begun)
                    self._ahead.end(step, here, result)
                    yield from deal.end(here, result, context.waits)
                    continue
                self._wait()
                for place, worker in enumerate(self._workers):
                    worker.pump()
                    if (ended := worker.ended()) is None:
                        continue
                    key, made = ended
                    of = self._at.pop(place).step
                    is_early = of is not step or key not in deal.running
                    self._ahead.end(of, key, made, is_early)
                    if is_early:
                        continue
                    if made is None:
                        if deal.again(key):
                            self.tell(
                                f"{step.name} {key}: its worker ended ({worker.end}); it is made once more"
                            )
                            continue
                        made = _died(step, key, worker.end)
                    yield from deal.end(key, made, context.waits)
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
        if pending:
            wait(pending, _PUMPED_S, FIRST_COMPLETED)
        else:
            time.sleep(_PUMPED_S)  # other processes are making all that is left
        if (notice := self._kind.notice()) is not None:
            self.tell(notice)

    def _replace_the_dead(self) -> None:
        for place, worker in enumerate(self._workers):
            worker.pump()
            if worker.is_dead:
                if worker.starts >= TRIES:
                    raise XlwhError(
                        f"Workers end while they start, {TRIES} times one after the other ({worker.end}). See the "
                        "messages above; --workers in_process does without them."
                    )
                worker.kill()
                self._workers[place] = self._kind.start(place, worker.starts)

    def _next(self, worker: Worker, deal: Deal, is_shared: Callable[[str | None], bool]) -> Key | None:
        """What a worker is to make next: of a model that it has loaded, else of one that no other is at."""
        taken = {other.models[-1] for other in self._workers if other is not worker and other.models}
        models = [model for model in deal.models if is_shared(model)]
        return deal.begin(
            sorted(models, key=lambda model: 0 if model in worker.models else 1 + (model in taken))
        )

    def _later(
        self, worker: Worker, step: Step, deal: Deal, is_shared: Callable[[str | None], bool]
    ) -> tuple[Step, Key] | None:
        """What a worker is to make of a later step: nothing where it is to rest soon."""
        if not all(map(is_shared, deal.models)):
            return None
        return self._ahead.begin(
            step, lambda model: (model not in worker.models) if is_shared(model) else None
        )

    def _for_this_process(
        self, step: Step, deal: Deal, is_shared: Callable[[str | None], bool]
    ) -> Key | None:
        """What is made here now: work without a model while workers start; what uses all cores when they rest."""
        if deal.running:
            return None
        if "model" not in step.dimensions and not any(worker.is_idle for worker in self._workers):
            return deal.begin(deal.models)
        if self._at or any(is_shared(model) for model in deal.models):
            return None
        return deal.begin(deal.models)

    def _is_shared(self, context: Context, model: str | None) -> bool:
        """Whether as many partitions of a model as there are workers can be made side by side."""
        number = len(self._workers)
        return self._kind.makes_all or (
            number * runner.threads_of(context.zoo, Key(model)) <= max(number, threads.cores())
        )


def _died(step: Step, key: Key, end: str) -> XlwhError:
    return XlwhError(
        f"The worker that made it ended, {TRIES} times ({end}). "
        f"Run: {command(step.tables[0], key)} --workers in_process"
    )
