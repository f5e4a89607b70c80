"""What makes partitions wherever that is: in the command's own process, in a worker process, or in an actor of Ray."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from xlwh import failures
from xlwh.errors import XlwhError
from xlwh.models import Zoo
from xlwh.steps import runner
from xlwh.steps.base import Key, Progress, StepResult
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, Step
from xlwh.steps.planning import Planner, definition_of
from xlwh.store import Warehouse
from xlwh.store.locks import this_process
from xlwh.study import Study

_REPORTED_S = 0.2
"""A worker reports its progress that often at most."""


def tried(step: Step, context: Context, key: Key) -> StepResult | Exception:
    """What became of a partition: whatever its code does, short of ending the process, concerns it alone."""
    try:
        return replace(runner.run(step, context, key), worker=this_process())
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # libraries of Rust panic with an error that is no Exception
        if failures.was_stopped(error):
            raise KeyboardInterrupt from error
        return failures.as_error(error, [context.warehouse.root])


class Bench:
    """What a worker works with, for as long as it lives."""

    def __init__(self, study: Study, root: Path) -> None:
        warehouse = Warehouse(root)
        self.context = Context(study, warehouse, Zoo(study, warehouse))
        # With a zoo of its own: it asks what models are and loads none, so it keeps none in memory.
        self.context.planner = Planner(study, warehouse, Zoo(study, warehouse))

    def make(self, name: str, key: Key, force: bool, progress: Progress) -> StepResult:
        """Make a partition of a step. Raises what it failed with, as an error that can be sent."""
        self.context.force, self.context.progress = force, progress
        made = tried(STEPS[name], self.context, key)
        if isinstance(made, StepResult):
            return made
        if can_be_sent(made):
            raise made
        raise XlwhError(str(made))


def load_libraries() -> None:
    """Load what takes long, while nothing is to be made yet."""
    import xlwh.models.loading  # noqa: F401 - for torch and transformers

    for step in STEPS.values():
        definition_of(step)


def reporting(send: Callable[[tuple[str, int, int]], object]) -> Progress:
    """What a worker calls while it makes something: sends a report now and then."""
    last = 0.0

    def report(what: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORTED_S:
            last = now
            send((what, done, total))

    return report


def can_be_sent(error: Exception) -> bool:
    """Whether an error arrives as what it is."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # an error's own code, which may do anything
        return False
    return type(copy) is type(error) and str(copy) == str(error)
