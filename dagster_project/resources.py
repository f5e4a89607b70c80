"""What the assets are given: the warehouse, the models, and somebody to tell how it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.util import Finalize
from typing import Protocol

import dagster as dg
from pydantic import PrivateAttr

from xlwh.errors import HeldError, MissingDataError
from xlwh.models import Zoo
from xlwh.steps.base import Key, Progress, StepResult
from xlwh.steps.context import Context
from xlwh.steps.crew import Begun, Crew, alone
from xlwh.steps.deal import Made
from xlwh.steps.plan import Outcome, Step, upstream
from xlwh.steps.planning import Planner
from xlwh.steps.workers import IN_PROCESS, Workers, choose
from xlwh.store import Warehouse
from xlwh.study import Study

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Run tags of Dagster: first and last of the partitions of a run, those between in every dimension included."""

FORCE_TAG = "xlwh/force"
"""Run tag: `true` makes partitions anew even where they are fresh. Jobs have it, and any launch may be given it."""

WORKERS_TAG = "xlwh/workers"
"""Run tag: where partitions of this run are made, as `--workers` says it; by default as XLWH_WORKERS says."""

POOL = "gpu"
"""Dagster's pool of the steps that run models on this machine's accelerator: runs take turns at it."""


class WarehouseResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The folder that holds the tables."""

    root: str

    def open(self) -> Warehouse:
        """The warehouse, made where there is none yet."""
        return Warehouse(self.root, create=True)


class ZooResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The study's models, kept loaded from one partition to the next."""

    device: str = "auto"
    _zoo: Zoo | None = PrivateAttr(None)

    def of(self, study: Study, warehouse: Warehouse) -> Zoo:
        """The models of a study: the same object for as long as the resource lives."""
        if self._zoo is None:
            self._zoo = Zoo(study, warehouse, self.device)
        return self._zoo


@dataclass
class Plans:
    """What there is to do, worked out once and kept from run to run of a process."""

    planner: Planner | None = None

    def of(self, study: Study, warehouse: Warehouse) -> Planner:
        """The plans of a study: the same object for as long as the resource lives."""
        if self.planner is None:
            # With a zoo of its own: it asks what models are and loads none, so it keeps none in memory.
            self.planner = Planner(study, warehouse, Zoo(study, warehouse))
        return self.planner


class Make(Protocol):
    """What makes partitions of a step: `alone`, or the `make` of a crew."""

    def __call__(
        self, step: Step, context: Context, keys: Sequence[Key], begun: Begun
    ) -> Generator[Made]: ...


@dataclass
class Staff:
    """Who makes partitions: this process, or workers, started once and kept from run to run of a process."""

    workers: Workers = IN_PROCESS
    crew: Crew | None = None
    is_chosen: bool = False
    """Whether `crew` is what makes everything, also where it is None."""
    waits: bool = True
    """Whether what other processes are making is waited for."""
    held: dict[tuple[str, Key], str] = field(default_factory=dict)
    """Partitions that were left to other processes, with who makes them."""
    _of: Workers | None = field(default=None, repr=False)

    def of(
        self, context: Context, keys: Sequence[Key], setting: str | None, tell: Callable[[str], None]
    ) -> Make:
        """What makes these partitions. Workers are first started where there are several to make.

        `setting`: the run's own, instead of the one that all have; `tell`: told what happens to workers.
        """
        workers = self.workers if setting is None else Workers.parse(setting)
        if not self.is_chosen and len(keys) > (workers.ray is None):
            if self.crew is not None and self._of != workers:
                self.crew.close()
                self.crew = None
            if self.crew is None:
                models = {key.model for key in keys if key.model is not None}
                choice = choose(workers, context.zoo, models, len(keys))
                if choice.number:
                    tell(str(choice))
                    self.crew, self._of = choice.hire(context.study, context.warehouse.root), workers
                    if self.crew is not None:
                        # The process of a run waits for its children when it ends, which nobody else ends.
                        Finalize(None, self.crew.close, exitpriority=10)
        if self.crew is None:
            return alone
        self.crew.tell = tell
        return self.crew.make


@dataclass
class Reporter:
    """Follows the partitions as they are made. This one writes to the run's log; the command line draws bars."""

    every_s: float = 5.0
    _last: float = field(default=0.0, repr=False)

    def begin(self, step: Step, keys: Sequence[Key]) -> None:
        """A step is about to make these partitions."""

    def progress(self, context: dg.AssetExecutionContext, step: Step, key: Key) -> Progress:
        """What a step calls while it works on one partition: one line every few seconds."""

        def report(what: str, done: int, total: int) -> None:
            if time.monotonic() - self._last >= self.every_s:
                self._last = time.monotonic()
                context.log.info(f"{step.name} {key}: {what}, {done} of {total}")

        return report

    def keeping(self, context: dg.AssetExecutionContext, name: str, done: int, total: int) -> None:
        """So many parts of a view's rows are computed: one line every few seconds."""
        if time.monotonic() - self._last >= self.every_s:
            self._last = time.monotonic()
            context.log.info(f"{name}: {done} of {total}")

    def view(self, context: dg.AssetExecutionContext, name: str, rows: int, duration_s: float) -> None:
        """A view's rows are there; computing what was missing took so many seconds."""

    def note(self, context: dg.AssetExecutionContext, text: str) -> None:
        """Something is to be known while partitions are made, such as whom they wait for."""
        context.log.info(text)

    def end(self, context: dg.AssetExecutionContext, outcome: Outcome) -> None:
        """A partition is done, or failed."""
        if outcome.result is not None:
            result = outcome.result
            note = f" ({result.reason})" if result.reason else ""
            told = {
                "written": f", {result.rows:,} rows, {result.duration_s:.1f} s, {result.worker}",
                "fresh": f", {result.rows:,} rows kept",
                "not_applicable": "",
                "held": "",
            }[result.status]
            status = result.status.replace("_", " ")
            context.log.info(f"{outcome.step.name} {outcome.key}: {status}{note}{told}")


def attempts(
    context: dg.AssetExecutionContext,
    bench: Context,
    reporter: Reporter,
    staff: Staff,
    step: Step,
    keys: list[Key],
    blocked: Mapping[Key, str],
) -> Iterator[Outcome]:
    """Make partitions, side by side where there are workers. One that fails, or is blocked, leaves the others alone."""

    def ended(outcome: Outcome) -> Outcome:
        if outcome.error is not None:
            context.log.error(
                f"{step.name} {outcome.key}: {outcome.error}",
                exc_info=None if outcome.blocked else outcome.error,
            )
        reporter.end(context, outcome)
        return outcome

    reporter.begin(step, keys)
    todo = []
    for key in keys:
        if key in blocked:
            yield ended(Outcome(step, key, None, MissingDataError(blocked[key]), blocked=True))
        elif (holder := _held(bench, staff, step, key)) is not None:
            staff.held[step.name, key] = holder
            yield ended(Outcome(step, key, StepResult("held", reason=holder)))
        else:
            todo.append(key)
    bench.waits = staff.waits
    tell, begun = partial(reporter.note, context), partial(reporter.progress, context, step)
    make = staff.of(bench, todo, context.run.tags.get(WORKERS_TAG), tell)
    # Closed when this is left early, as by Ctrl-C: then workers end.
    with closing(make(step, bench, todo, begun)) as made:
        for key, result in made:
            if isinstance(result, HeldError) and result.slot is not None:
                tell(f"{step.name} {key}: waits for {result.holder}")
                continue
            if isinstance(result, StepResult) and result.status == "held":
                staff.held[step.name, key] = result.reason
            error = result if isinstance(result, Exception) else None
            yield ended(Outcome(step, key, None if isinstance(result, Exception) else result, error))


def _held(bench: Context, staff: Staff, step: Step, key: Key) -> str | None:
    """Who makes something that a partition needs, where that was left to another process."""
    for source, other in upstream(bench.study, step, key, needed=True) if staff.held else ():
        if (holder := staff.held.get((source.name, other))) is not None:
            return f"waits for {source.name} {other}; {holder.rpartition('; ')[2]}"
    return None
