"""What the assets are given: the warehouse, the models, and somebody to tell how it goes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import dagster as dg
from pydantic import PrivateAttr

from xlwh.errors import MissingDataError
from xlwh.models import Zoo
from xlwh.steps.base import Key, Progress
from xlwh.steps.context import Context
from xlwh.steps.crew import Begun, Crew, Made, alone
from xlwh.steps.plan import Outcome, Step
from xlwh.steps.planning import Planner
from xlwh.steps.workers import IN_PROCESS, Workers, choose
from xlwh.store import Warehouse
from xlwh.study import Study

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Run tags of Dagster: first and last of the partitions of a run, those between in every dimension included."""

FORCE_TAG = "xlwh/force"
"""Run tag: `true` makes partitions anew even where they are fresh. Jobs have it, and any launch may be given it."""


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

    def of(self, context: Context, keys: Sequence[Key]) -> Make:
        """What makes these partitions. Workers are first started where there are several to make."""
        if self.crew is None and len(keys) > 1:
            models = {key.model for key in keys if key.model is not None}
            choice = choose(self.workers, context.zoo, models, len(keys))
            if choice.processes:
                self.crew = Crew(context.study, context.warehouse.root, choice.processes)
        return alone if self.crew is None else self.crew.make


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

    def end(self, context: dg.AssetExecutionContext, outcome: Outcome) -> None:
        """A partition is done, or failed."""
        if outcome.result is not None:
            result = outcome.result
            note = f" ({result.reason})" if result.reason else ""
            told = {
                "written": f", {result.rows:,} rows, {result.duration_s:.1f} s",
                "fresh": f", {result.rows:,} rows kept",
                "not_applicable": "",
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
    for key in keys:
        if key in blocked:
            yield ended(Outcome(step, key, None, MissingDataError(blocked[key]), blocked=True))
    todo = [key for key in keys if key not in blocked]
    make, begun = staff.of(bench, todo), partial(reporter.progress, context, step)
    # Closed when this is left early, as by Ctrl-C: then workers end.
    with closing(make(step, bench, todo, begun)) as made:
        for key, result in made:
            error = result if isinstance(result, Exception) else None
            yield ended(Outcome(step, key, None if isinstance(result, Exception) else result, error))
