"""Partitions of later steps that are made as soon as all that they read is there, by workers that have nothing else to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from xlwh.steps.base import Key, StepResult
from xlwh.steps.plan import STEPS, Marked, Step, in_order
from xlwh.study import Study
from xlwh.tables import TABLES

_LOOKED_S = 0.3
"""What may be begun is looked for that often at most."""
_PLACES = {name: number for number, name in enumerate(STEPS)}


class Ahead:
    """What a command is to make, step by step, and what of it was made before its step's turn."""

    def __init__(self, study: Study, todo: Mapping[Step, Collection[Key]]) -> None:
        self._study = study
        self._todo = {step: in_order(study, step, keys) for step, keys in todo.items()}
        self._pending = {(step.name, key) for step, keys in self._todo.items() for key in keys}
        """What was not made, or failed: what reads it is not begun."""
        self._begun = set[tuple[str, Key]]()
        self._made: dict[tuple[str, Key], StepResult] = {}
        self.died = set[tuple[str, Key]]()
        """Partitions that were begun before their step's turn, and whose worker died."""
        self._marked: Marked | None = None
        self._looked = 0.0

    def end(self, step: Step, key: Key, made: StepResult | Exception | None, is_early: bool = False) -> None:
        """What became of a partition; `is_early`: before its step's turn. What came to nothing then is tried again in it."""
        if made is None and is_early:
            self.died.add((step.name, key))
        if not isinstance(made, StepResult) or made.status == "held":
            return
        self._pending.discard((step.name, key))
        self._marked = None
        if is_early:
            self._made[step.name, key] = made

    def take(self, step: Step, keys: Collection[Key]) -> dict[Key, StepResult]:
        """Those of a step whose turn it is that were made before."""
        found = {key: self._made.pop((step.name, key), None) for key in keys}
        return {key: made for key, made in found.items() if made is not None}

    def begin(self, current: Step, rank: Callable[[str | None], int | None]) -> tuple[Step, Key] | None:
        """Begin a partition of a step after the current one: the first one of the model that ranks lowest (None: none of it)."""
        now = time.monotonic()
        if now - self._looked < _LOOKED_S:
            return None
        self._looked = now
        if self._marked is None:
            self._marked = Marked(self._study)
            for name, key in self._pending:
                self._marked.add(STEPS[name], key)
        best: tuple[int, Step, Key] | None = None
        for step, keys in self._todo.items():
            if _PLACES[step.name] <= _PLACES[current.name] or not _is_free(step):
                continue
            for key in keys:
                place = rank(key.model)
                if (
                    place is not None
                    and (best is None or place < best[0])
                    and (step.name, key) in self._pending
                    and (step.name, key) not in self._begun
                    and not self._marked.is_read_by(step, key)
                ):
                    best = place, step, key
            if best is not None:
                break
        if best is None:
            return None
        self._looked = 0.0
        _, step, key = best
        self._begun.add((step.name, key))
        return step, key


def _is_free(step: Step) -> bool:
    """Whether partitions of a step neither read each other nor may write the same file."""
    columns = [
        {column.removeprefix("target_") for column in TABLES[table].partition_by} for table in step.tables
    ]
    own = all(name in names for names in columns for name in step.dimensions)
    return own and all(read.step != step.name for read in step.reads)
