"""What every step shares: the context it runs in, the partition it is for, and what it reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from xlwh.store import Warehouse
from xlwh.study import Study

if TYPE_CHECKING:
    from xlwh.models import LoadedModel, Zoo
    from xlwh.selftest import Capability
    from xlwh.steps.planning import Planner

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total) while a step works."""


def no_progress(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Key:
    """A partition of the study: which of the two names apply depends on the table."""

    model: str | None = None
    dataset: str | None = None
    language: str | None = None

    def __str__(self) -> str:
        return " × ".join(x for x in (self.model, self.dataset, self.language) if x is not None) or "all"


@dataclass(frozen=True)
class StepResult:
    """What became of one partition."""

    status: Literal["written", "fresh", "not_applicable"]
    rows: int = 0
    examples: int = 0
    duration_s: float = 0.0
    reason: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass
class Context:
    """The study, the warehouse it fills, the loaded models, and how to report progress."""

    study: Study
    warehouse: Warehouse
    zoo: Zoo
    force: bool = False
    progress: Progress = no_progress

    @cached_property
    def planner(self) -> Planner:
        """What there is to do."""
        from xlwh.steps.planning import Planner

        return Planner(self.study, self.warehouse, self.zoo)

    def load(self, model: str, capability: Capability) -> LoadedModel:
        """A model that is to be used for something; ModelError by name where its self-test refuses that."""
        from xlwh.steps.models.selftests import require

        loaded = self.zoo.load(model)
        require(self, loaded, capability)
        return loaded


def not_applicable(reason: str) -> StepResult:
    """The partition does not apply to the study: a success that says so."""
    return StepResult(status="not_applicable", reason=reason)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start
