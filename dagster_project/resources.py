"""What the assets are given: the warehouse, the models, and somebody to tell how it goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg
from pydantic import PrivateAttr

from xlwh.errors import MissingDataError
from xlwh.models import Zoo
from xlwh.steps import runner
from xlwh.steps.base import Key, Progress
from xlwh.steps.context import Context
from xlwh.steps.plan import Outcome, Step
from xlwh.steps.planning import Planner
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

    def view(self, context: dg.AssetExecutionContext, name: str, rows: int, duration_s: float) -> None:
        """A view was counted."""

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
    step: Step,
    keys: list[Key],
    blocked: Mapping[Key, str],
) -> Iterator[Outcome]:
    """Make partitions one after the other. One that fails, or is blocked, leaves the others alone."""
    reporter.begin(step, keys)
    for key in keys:
        if key in blocked:
            outcome = Outcome(step, key, None, MissingDataError(blocked[key]), blocked=True)
        else:
            bench.progress = reporter.progress(context, step, key)
            outcome = _attempt(bench, step, key)
        if outcome.error is not None:
            context.log.error(
                f"{step.name} {key}: {outcome.error}", exc_info=None if outcome.blocked else outcome.error
            )
        reporter.end(context, outcome)
        yield outcome


def _attempt(bench: Context, step: Step, key: Key) -> Outcome:
    try:
        return Outcome(step, key, runner.run(step, bench, key))
    except (
        Exception
    ) as error:  # whatever it is, it concerns this partition only, and fails the run at its end
        return Outcome(step, key, None, error)
