"""Materialise a study from the command line: the same assets, in runs of this process, as few as possible.

A Dagster run costs most of a second and each partition in it some milliseconds, so the caller leaves out what is
fresh, and what is left goes into one run per kind of partition wherever that can be.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
from dagster import DagsterInstance

from dagster_project import turns
from dagster_project.definitions import build
from dagster_project.instance import instance_of
from dagster_project.partitions import to_partition
from dagster_project.resources import FORCE_TAG, RANGE_END, RANGE_START, Reporter, Staff
from dagster_project.settled import log_settled
from xlwh import interrupts
from xlwh.errors import MissingDataError, XlwhError
from xlwh.steps.base import Key, Progress
from xlwh.steps.crew import Crew
from xlwh.steps.plan import Outcome, Step, in_order, positions, upstream, values
from xlwh.steps.planning import Planner
from xlwh.steps.workers import IN_PROCESS, Workers, take_turns
from xlwh.store.locks import this_process
from xlwh.study import Study

_QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}

_LOST = re.compile(r"(?:psycopg2|sqlalchemy\.exc)\.(?:Operational|Interface)Error\b")
"""How errors of Dagster's own storage begin, which waits for a server when it connects, and not in the middle."""

Block = tuple[Key, Key]
"""First and last partition of a block that is contiguous in every dimension."""


class Display(Protocol):
    """Whoever shows the progress of a materialisation."""

    def begin(self, step: Step, keys: Sequence[Key]) -> None:
        """These partitions are next."""

    def progress(self, step: Step, key: Key) -> Progress:
        """What to call while one of them is made."""

    def note(self, text: str) -> None:
        """Something is to be known meanwhile, such as whom they wait for."""

    def end(self, outcome: Outcome) -> None:
        """One of them is done, or failed."""

    def keeping(self, name: str, done: int, total: int) -> None:
        """So many parts of a view's rows are computed."""

    def view(self, name: str, rows: int, duration_s: float) -> None:
        """A view's rows are there."""


@dataclass
class _Collector(Reporter):
    """Keeps the outcomes and shows them."""

    display: Display | None = None
    outcomes: dict[tuple[str, Key], Outcome] = field(default_factory=dict)

    def begin(self, step: Step, keys: Sequence[Key]) -> None:
        if self.display is not None:
            self.display.begin(step, keys)

    def progress(self, context: dg.AssetExecutionContext, step: Step, key: Key) -> Progress:
        return self.display.progress(step, key) if self.display else super().progress(context, step, key)

    def note(self, context: dg.AssetExecutionContext, text: str) -> None:
        super().note(context, text)
        if self.display is not None:
            self.display.note(text)

    def end(self, context: dg.AssetExecutionContext, outcome: Outcome) -> None:
        self.outcomes[outcome.step.name, outcome.key] = outcome
        if self.display is not None:
            self.display.end(outcome)

    def keeping(self, context: dg.AssetExecutionContext, name: str, done: int, total: int) -> None:
        if self.display is not None:
            self.display.keeping(name, done, total)
        else:
            super().keeping(context, name, done, total)

    def view(self, context: dg.AssetExecutionContext, name: str, rows: int, duration_s: float) -> None:
        if self.display is not None:
            self.display.view(name, rows, duration_s)


class Launcher:
    """Makes partitions and views of one study, in this process or by a crew, whatever fails on the way."""

    def __init__(
        self,
        study: Study,
        root: Path,
        display: Display,
        force: bool = False,
        planner: Planner | None = None,
        crew: Crew | None = None,
        workers: Workers = IN_PROCESS,
        waits: bool = True,
    ) -> None:
        """`crew` is what the setting `workers` came to; `waits`: whether what other processes are making is waited for."""
        self._study = study
        self._root = root
        self._force = force
        self._display = display
        self._crew = crew
        self._take_turns = take_turns(workers)
        self._collector = _Collector(display=display)
        definitions = build(
            study, root, self._collector, planner, Staff(workers, crew, is_chosen=True, waits=waits)
        )
        self._job = definitions.resolve_implicit_global_asset_job_def()
        self.problems: list[str] = []
        """What went wrong other than in a partition: checks that failed, views that cannot be built."""
        self.warnings: list[str] = []

    @property
    def outcomes(self) -> list[Outcome]:
        """What became of every partition so far."""
        return list(self._collector.outcomes.values())

    def launch(
        self, todo: Mapping[Step, set[Key]], views: Sequence[str], settled: Iterable[Outcome] = ()
    ) -> None:
        """Make partitions, their steps given in the order of the plan, then query the views.

        Of what is `settled` without a run, Dagster is told what does not apply, and why.
        """
        if self._crew is not None and not self._take_turns:
            self._crew.plan(todo)
            self._crew.early = self._display.progress
        with instance_of(self._root) as (instance, tags):
            log_settled(instance, self._study, settled)
            for _, wave in groupby(todo, key=lambda step: step.dimensions):
                self._wave(instance, tags, list(wave), todo)
            if views:
                self._run(instance, tags, views, {})

    def _wave(
        self,
        instance: DagsterInstance,
        tags: Mapping[str, str],
        steps: list[Step],
        todo: Mapping[Step, set[Key]],
    ) -> None:
        together = blocks(self._study, steps[0], set().union(*(todo[step] for step in steps)))
        waiting = any(self._blocked(step, todo[step]) for step in steps)
        if len(steps) > 1 and len(together) == 1 and not waiting:
            self._tables(instance, tags, steps, together[0])
        # Nothing is left of most waves here. A step that failed for one partition has kept those after it from
        # running at all; and several blocks have to go step by step, since a partition may read other languages.
        for step in steps:
            left = self._left(step, todo[step])
            blocked = self._blocked(step, left)
            if len(blocked) < len(left):
                for block in blocks(self._study, step, left):
                    self._tables(instance, tags, [step], block, blocked)
            for key in in_order(self._study, step, self._left(step, todo[step])):
                error = (
                    MissingDataError(blocked[key]) if key in blocked else XlwhError("the run ended before it")
                )
                self._collect(Outcome(step, key, None, error, blocked=key in blocked))

    def _left(self, step: Step, keys: Iterable[Key]) -> set[Key]:
        return {key for key in keys if (step.name, key) not in self._collector.outcomes}

    def _blocked(self, step: Step, keys: set[Key]) -> dict[Key, str]:
        """The partitions that read one that failed for the same model, dataset and language, with what they wait for."""
        blocked: dict[Key, str] = {}
        failed = any(outcome.error is not None for outcome in self._collector.outcomes.values())
        for key in keys if failed else ():
            for source, other in upstream(self._study, step, key, needed=True, same_cell=True):
                outcome = self._collector.outcomes.get((source.name, other))
                if outcome is not None and outcome.error is not None:
                    blocked.setdefault(key, f"waits for {source.name} {other}, which failed")
        return blocked

    def _collect(self, outcome: Outcome) -> None:
        self._collector.outcomes[outcome.step.name, outcome.key] = outcome
        self._display.end(outcome)

    def _tables(
        self,
        instance: DagsterInstance,
        tags: Mapping[str, str],
        steps: list[Step],
        block: Block,
        blocked: Mapping[Key, str] | None = None,
    ) -> None:
        first, last = (to_partition(steps[0], key) for key in block)
        if first:
            tags = {**tags, RANGE_START: first, RANGE_END: last}
        waiting = {to_partition(steps[0], key): reason for key, reason in (blocked or {}).items()}
        if self._force:
            tags = {**tags, FORCE_TAG: "true"}
        config = {"ops": {step.name: {"config": {"blocked": waiting}} for step in steps}}
        self._run(instance, tags, [table for step in steps for table in step.tables], config)

    def _run(
        self,
        instance: DagsterInstance,
        tags: Mapping[str, str],
        assets: Sequence[str],
        config: Mapping[str, Any],
    ) -> None:
        run_id = str(uuid.uuid4())
        if self._take_turns:
            tags = {**tags, **turns.make_room(instance)}
        turn = turns.told(instance, run_id, self._display.note) if self._take_turns else nullcontext()
        with turn, interrupts.watched():
            result = self._job.execute_in_process(
                run_config={**config, "loggers": _QUIET},
                instance=instance,
                asset_selection=[dg.AssetKey(asset) for asset in assets],
                tags={**tags, turns.BY_TAG: this_process()},
                raise_on_error=False,
                run_id=run_id,
            )
        for event in result.all_events:
            if event.is_step_failure:
                error = event.step_failure_data.error
                # A failure of ours says which partitions failed, and those are outcomes already.
                if error is not None and error.cls_name != "Failure":
                    self._add_problem(event.step_key or "", (error.cause or error).message.strip())
        for check in result.get_asset_check_evaluations():
            if not check.passed:
                place = f"{check.check_name} of {check.asset_key.to_user_string()}"
                told = f"check {place}: {check.description}"
                warn = check.severity is dg.AssetCheckSeverity.WARN
                (self.warnings if warn else self.problems).append(told)

    def _add_problem(self, step: str, told: str) -> None:
        """What ended a step, once where it ends several, such as a cluster that is lost."""
        told = told.removeprefix(f"{XlwhError.__module__}.{XlwhError.__name__}: ")
        if _LOST.match(told):
            told = (
                f"Dagster's connection to its history in PostgreSQL was lost ({' '.join(told.split())}). What was made is "
                "stored; the same command goes on."
            )
        for number, known in enumerate(self.problems):
            if known.endswith(f": {told}"):
                self.problems[number] = f"{known.removesuffix(f': {told}')}, {step}: {told}"
                return
        self.problems.append(f"{step}: {told}")


def blocks(study: Study, step: Step, keys: set[Key]) -> list[Block]:
    """The fewest blocks that are contiguous in every dimension, and together just these partitions (greedily)."""
    if not keys:
        return []
    if not step.dimensions:
        return [(Key(), Key())]
    *outer, inner = step.dimensions
    places = [positions(study, dimension) for dimension in step.dimensions]
    rows: dict[Any, list[tuple[int, int]]] = {}
    for key in keys:
        at = tuple(
            place[str(getattr(key, each))] for each, place in zip(step.dimensions, places, strict=True)
        )
        rows.setdefault(at[:-1], []).append((at[-1], at[-1]))
    runs = {row: tuple(_join(found)) for row, found in rows.items()}
    found: list[Block] = []
    for same, group in groupby(sorted(runs, key=lambda row: (runs[row], row)), key=runs.__getitem__):
        spans = _join([(row[0], row[0]) for row in group]) if outer else [None]
        for span, (start, end) in product(spans, same):
            ends = [{inner: values(study, inner)[edge]} for edge in (start, end)]
            if span is not None:
                for edge, index in zip(ends, span, strict=True):
                    edge[outer[0]] = values(study, outer[0])[index]
            found.append((Key(**ends[0]), Key(**ends[1])))
    return found


def _join(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbouring spans of numbers as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start == joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
