"""What one sees while a study is materialised, and the table at the end."""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from xlwh.cli.render import console, counted, grid
from xlwh.errors import XlwhError
from xlwh.failures import told as in_words
from xlwh.steps.base import Key, Progress
from xlwh.steps.history import OVERHEAD, History, Made
from xlwh.steps.plan import STEPS, Outcome, Step
from xlwh.upkeep.preflight import told

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import TaskID

    from xlwh.store import Warehouse
    from xlwh.store.keeping import Keeping
    from xlwh.upkeep.survey import Survey

_SHOWN_ERRORS = 10
_STATES = ("written", "fresh", "not_applicable", "held", "waiting", "failed")


class Lines:
    """Plain lines for logs and pipes: where a step begins and ends, how far it is every few seconds, and what fails."""

    def __init__(self, every_s: float = 10.0) -> None:
        self._console = console(stderr=True)
        self._every_s = every_s
        self._last = time.monotonic()
        self._step: Step | None = None
        self._begun = time.monotonic()
        self._ended: list[Outcome] = []
        self._views = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish()

    def begin(self, step: Step, keys: Sequence[Key]) -> None:
        if step is not self._step:
            self._finish()
            self._step = step
            self._print(f"{step.name}: {counted(len(keys), 'partition')}")

    def progress(self, step: Step, key: Key) -> Progress:
        def report(what: str, done: int, total: int) -> None:
            self._now_and_then(f"{step.name} {key}: {what}, {done} of {total}")

        return report

    def note(self, text: str) -> None:
        self._print(text)

    def end(self, outcome: Outcome) -> None:
        self._ended.append(outcome)
        if state(outcome) == "failed":
            self._print(_line(outcome))

    def keeping(self, name: str, done: int, total: int) -> None:
        if not self._views and self._ended:
            self._finish()
        self._now_and_then(f"view {name}: {done} of {total} parts")

    def view(self, name: str, rows: int, duration_s: float) -> None:
        if not self._views and self._ended:
            self._finish()
        self._views += 1
        self._now_and_then(f"view {name}: {counted(rows, 'row')}, {duration_s:.2f} s")

    def _now_and_then(self, text: str) -> None:
        if time.monotonic() - self._last >= self._every_s:
            self._last = time.monotonic()
            self._print(text)

    def _finish(self) -> None:
        """Say what became of the step, or of the views, that were gone through last."""
        took = time.monotonic() - self._begun
        by_step: dict[str, list[Outcome]] = {}
        for outcome in self._ended:
            by_step.setdefault(outcome.step.name, []).append(outcome)
        for name, outcomes in by_step.items():
            counts = Counter(state(outcome) for outcome in outcomes)
            rows = sum(each.result.rows for each in outcomes if each.result is not None and each.written)
            told = [f"{number:,} {what.replace('_', ' ')}" for what in _STATES if (number := counts[what])]
            self._print(f"{name}: {', '.join(told)}; {counted(rows, 'row')}, {took:.1f} s")
        if self._views:
            self._print(f"views: {self._views}, {took:.1f} s")
        self._step, self._ended, self._views, self._begun = None, [], 0, time.monotonic()

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False)


class Bars:
    """A bar per step and one for each partition being made: for terminals."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
        )
        self._steps: dict[str, TaskID] = {}
        self._inner: dict[tuple[str, Key], TaskID] = {}
        self._kept: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._inner.values():
            self._progress.remove_task(task)
        self._progress.stop()

    def begin(self, step: Step, keys: Sequence[Key]) -> None:
        if step.name in self._steps:
            task = self._progress.tasks[self._progress.task_ids.index(self._steps[step.name])]
            self._progress.update(self._steps[step.name], total=(task.total or 0) + len(keys))
        else:
            self._steps[step.name] = self._progress.add_task(step.name, total=len(keys), note="")

    def progress(self, step: Step, key: Key) -> Progress:
        if step.name in self._steps:  # else it is begun before its step's turn
            self._progress.update(self._steps[step.name], note=str(key))
        place = step.name, key

        def report(what: str, done: int, total: int) -> None:
            if place not in self._inner:
                self._inner[place] = self._progress.add_task("", note=str(key), total=None)
            self._progress.update(self._inner[place], description=f"  {what}", completed=done, total=total)

        return report

    def note(self, text: str) -> None:
        self._console.print(text, markup=False)

    def end(self, outcome: Outcome) -> None:
        if (task := self._inner.pop((outcome.step.name, outcome.key), None)) is not None:
            self._progress.remove_task(task)
        if outcome.step.name in self._steps:
            self._progress.update(self._steps[outcome.step.name], advance=1, note="")
        if state(outcome) == "failed":
            self._console.print(_line(outcome), markup=False)

    def keeping(self, name: str, done: int, total: int) -> None:
        if self._kept is None:
            self._kept = self._progress.add_task("", note="", total=None)
        self._progress.update(
            self._kept, visible=done < total, description=f"  {name}", completed=done, total=total
        )

    def view(self, name: str, rows: int, duration_s: float) -> None:
        if "views" not in self._steps:
            self._steps["views"] = self._progress.add_task("views", total=0, note="")
        task = self._progress.tasks[self._progress.task_ids.index(self._steps["views"])]
        self._progress.update(task.id, total=(task.total or 0) + 1, advance=1, note=name)


def display() -> Lines | Bars:
    """Bars on a terminal, lines elsewhere."""
    return Bars() if console(stderr=True).is_terminal else Lines()


def keep(warehouse: Warehouse, names: Collection[str]) -> list[str]:
    """Compute the rows of these views where they are not kept, and keep them; why some of them are not."""
    return _kept(warehouse, lambda watching: warehouse.keep_views(names, watching.keeping))


def keep_again(warehouse: Warehouse, but: Collection[str] = ()) -> list[str]:
    """After a change of what is stored: keep the rows of the views again that were kept before it; why some are not.

    Without those in `but`. The catalogue shows the change then.
    """
    return _kept(warehouse, lambda watching: warehouse.keep_again(watching.keeping, but))


def _kept(warehouse: Warehouse, compute: Callable[[Lines | Bars], Mapping[str, Keeping]]) -> list[str]:
    try:
        with display() as watching:
            made = compute(watching)
    except OSError as error:
        # In a folder that may only be read nothing is kept, and all works.
        unwritable = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        why = in_words(error, [warehouse.root])
        return [] if unwritable else [f"The rows of views are not kept in {warehouse.root}: {why}"]
    return [each.error for each in made.values() if each.error is not None]


def warn(warnings: Iterable[str]) -> None:
    """Print what does not fail a command, but should be known."""
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


def summary(outcomes: Sequence[Outcome], rows: dict[str, int], duration_s: float) -> None:
    """Per step: partitions by what became of them, rows now stored, seconds of work."""
    lines = []
    for step in STEPS.values():
        of_step = [outcome for outcome in outcomes if outcome.step is step]
        if not of_step:
            continue
        counts = Counter(state(outcome) for outcome in of_step)
        seconds = sum(outcome.result.duration_s for outcome in of_step if outcome.result is not None)
        lines.append(
            [
                " + ".join(step.tables),
                *(counts[name] or None for name in _STATES),
                sum(rows.get(table, 0) for table in step.tables),
                f"{seconds:.1f}",
            ]
        )
    heads = [
        "table",
        "written",
        "fresh",
        "not applicable",
        "held by others",
        "waiting",
        "failed",
        "rows stored",
        "seconds",
    ]
    empty = [n for n in (3, 4, 5, 6) if not any(line[n] for line in lines)]
    kept = [n for n in range(len(heads)) if n not in empty]
    grid([heads[n] for n in kept], [[line[n] for n in kept] for line in lines])
    console().print(f"{counted(len(outcomes), 'partition')} in {duration_s:.1f} s")


def faults(survey: Survey, study_file: Path) -> None:
    """Everything that is missing or wrong, with the line of the study that names it, and what else is to be known."""
    for fault in told(survey.looked.faults, study_file):
        click.echo(f"Error: {fault}", err=True)
    waiting = survey.waiting
    for text, number in list(waiting.items())[:_SHOWN_ERRORS]:
        more = f" ({counted(number, 'partition')})" if number > 1 else ""
        click.echo(f"Error: {text}{more}", err=True)
    if len(waiting) > _SHOWN_ERRORS:
        click.echo(f"… and {len(waiting) - _SHOWN_ERRORS} other inputs that this run does not make", err=True)
    # Behind the errors, since they say what mends many of them at once.
    for note in survey.looked.notes:
        click.echo(f"Note: {note}", err=True)


def left_to_others(outcomes: Sequence[Outcome]) -> None:
    """What other processes are making, and was not waited for."""
    left = [outcome for outcome in outcomes if state(outcome) == "held"]
    for outcome in left[:_SHOWN_ERRORS]:
        assert outcome.result is not None
        click.echo(f"Left out: {outcome.step.name} {outcome.key}: {outcome.result.reason}", err=True)
    if len(left) > _SHOWN_ERRORS:
        click.echo(
            f"… and {counted(len(left) - _SHOWN_ERRORS, 'other partition')} that others are making", err=True
        )


def note_overhead(root: Path, outcomes: Sequence[Outcome], duration_s: float) -> None:
    """Write down how long a run took beside its partitions: planning, Dagster, views, the catalogue."""
    inside = sum(outcome.result.duration_s for outcome in outcomes if outcome.result is not None)
    History(root).add(
        [
            Made(
                OVERHEAD,
                "",
                float(sum(outcome.written for outcome in outcomes)),
                max(0.0, duration_s - inside),
                {},
            )
        ]
    )


def explain(outcomes: Sequence[Outcome]) -> None:
    """Why partitions failed, each reason once; those that only waited for them are not repeated."""
    reasons: dict[str, list[str]] = {}
    for outcome in outcomes:
        if state(outcome) == "failed":
            reasons.setdefault(_reason(outcome), []).append(f"{outcome.step.name} {outcome.key}")
    out = console(stderr=True)
    for reason, places in list(reasons.items())[:_SHOWN_ERRORS]:
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        out.print(f"Error: {places[0]}{more}: {reason}", markup=False)
    if len(reasons) > _SHOWN_ERRORS:
        out.print(
            f"… and {len(reasons) - _SHOWN_ERRORS} other errors; `xlwh ui` shows all runs with their logs"
        )


def state(outcome: Outcome) -> str:
    """written, fresh, not_applicable, held by another process, failed, or waiting for one that failed."""
    if outcome.result is not None:
        return outcome.result.status
    return "waiting" if outcome.blocked else "failed"


def _reason(outcome: Outcome) -> str:
    error = outcome.error
    return str(error) if isinstance(error, XlwhError) else f"{type(error).__name__}: {error}"


def _line(outcome: Outcome) -> str:
    return f"{outcome.step.name} {outcome.key}: failed: {_reason(outcome)}"
