"""What every step shares: the partition it is for, and what it reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total) while a step works."""


def no_progress(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class Key:
    """A partition of the study: which of the two names apply depends on the table."""

    model: str | None = None
    dataset: str | None = None
    language: str | None = None

    def __str__(self) -> str:
        return " × ".join(x for x in (self.model, self.dataset, self.language) if x is not None) or "all"


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one partition."""

    status: Literal["written", "fresh", "not_applicable", "held"]
    """`held`: another process is making it, and was not waited for."""
    rows: int = 0
    examples: int = 0
    duration_s: float = 0.0
    reason: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)
    worker: str = ""
    """Process and host that made it."""


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
