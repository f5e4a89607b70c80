"""What one sees while a study is materialised, and the table at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from xlwh.cli.render import console, grid, shown
from xlwh.errors import XlwhError
from xlwh.steps.base import Key, Progress
from xlwh.steps.plan import STEPS, Outcome, Step

if TYPE_CHECKING:
    from rich.progress import TaskID

_SHOWN_ERRORS = 10


class Lines:
    """One plain line per partition: for logs and pipes."""

    def __init__(self, every_s: float = 10.0) -> None:
        self._console = console(stderr=True)
        self._every_s = every_s
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def begin(self, step: Step, keys: Sequence[Key]) -> None:
        self._console.print(f"{step.name}: {len(keys)} partitions", markup=False)

    def progress(self, step: Step, key: Key) -> Progress:
        def report(what: str, done: int, total: int) -> None:
            if time.monotonic() - self._last >= self._every_s:
                self._last = time.monotonic()
                self._console.print(f"{step.name} {key}: {what}, {done} of {total}", markup=False)

        return report

    def end(self, outcome: Outcome) -> None:
        self._console.print(_line(outcome), markup=False)

    def keeping(self, name: str, done: int, total: int) -> None:
        if time.monotonic() - self._last >= self._every_s:
            self._last = time.monotonic()
            self._console.print(f"view {name}: {done} of {total} parts", markup=False)

    def view(self, name: str, rows: int, duration_s: float) -> None:
        self._console.print(f"view {name}: {rows:,} rows, {duration_s:.2f} s", markup=False)


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
        self._progress.update(self._steps[step.name], note=str(key))
        place = step.name, key

        def report(what: str, done: int, total: int) -> None:
            if place not in self._inner:
                self._inner[place] = self._progress.add_task("", note=str(key), total=None)
            self._progress.update(self._inner[place], description=f"  {what}", completed=done, total=total)

        return report

    def end(self, outcome: Outcome) -> None:
        if (task := self._inner.pop((outcome.step.name, outcome.key), None)) is not None:
            self._progress.remove_task(task)
        if outcome.step.name in self._steps:
            self._progress.update(self._steps[outcome.step.name], advance=1, note="")
        if outcome.error is not None:
            self._console.print(_line(outcome), markup=False)

    def keeping(self, name: str, done: int, total: int) -> None:
        self._progress.update(
            self._inner, visible=done < total, description=f"  {name}", completed=done, total=total, note=""
        )

    def view(self, name: str, rows: int, duration_s: float) -> None:
        if "views" not in self._steps:
            self._steps["views"] = self._progress.add_task("views", total=0, note="")
        task = self._progress.tasks[self._progress.task_ids.index(self._steps["views"])]
        self._progress.update(task.id, total=(task.total or 0) + 1, advance=1, note=name)


def display() -> Lines | Bars:
    """Bars on a terminal, lines elsewhere."""
    return Bars() if console(stderr=True).is_terminal else Lines()


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
                *(
                    counts[name] or None
                    for name in ("written", "fresh", "not_applicable", "waiting", "failed")
                ),
                sum(rows.get(table, 0) for table in step.tables),
                f"{seconds:.1f}",
            ]
        )
    heads = ["table", "written", "fresh", "not applicable", "waiting", "failed", "rows stored", "seconds"]
    empty = [n for n in (3, 4, 5) if not any(line[n] for line in lines)]
    kept = [n for n in range(len(heads)) if n not in empty]
    grid([heads[n] for n in kept], [[line[n] for n in kept] for line in lines])
    console().print(f"{len(outcomes)} partitions in {duration_s:.1f} s")


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
    """written, fresh, not_applicable, failed, or waiting for one that failed."""
    if outcome.result is not None:
        return outcome.result.status
    return "waiting" if outcome.blocked else "failed"


def _reason(outcome: Outcome) -> str:
    error = outcome.error
    return str(error) if isinstance(error, XlwhError) else f"{type(error).__name__}: {error}"


def _line(outcome: Outcome) -> str:
    told = f"{outcome.step.name} {outcome.key}: {state(outcome).replace('_', ' ')}"
    if outcome.result is None:
        return f"{told}: {_reason(outcome)}"
    if outcome.result.reason:
        told += f" ({outcome.result.reason})"
    if outcome.result.status == "written":
        told += f", {shown(outcome.result.rows)} rows, {outcome.result.duration_s:.1f} s"
    return told
