"""In which order partitions of a step are made, whoever makes them, and what becomes of those that others are making."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from xlwh.errors import HeldError
from xlwh.steps.base import Key, StepResult
from xlwh.steps.context import Context
from xlwh.steps.plan import Step, upstream
from xlwh.study import Study
from xlwh.tables import TABLES

TRIES = 2
"""Times that a partition is begun, or a worker started, where the process dies."""
_ASKED_S = 1.0
"""Who holds what is put off is asked that often at most."""

Made = tuple[Key, StepResult | Exception]
"""A partition, and what became of it. With a `HeldError` it is not done: it waits for the process that holds it."""


class Deal:
    """The partitions of a step that are still to be made, by model, and those that are being made.

    Models whose partitions are expected to take longest together come first, and of a model its longest ones. One that
    another process is making is put off until that has let go of it.
    """

    def __init__(
        self,
        step: Step,
        study: Study,
        keys: Sequence[Key],
        seconds: Mapping[Key, float] | None = None,
        died: Collection[tuple[str, Key]] = (),
    ) -> None:
        """`seconds` that partitions are expected to take; those whose worker `died` before have a try less."""
        self.running: set[Key] = set()
        expected, of_model = seconds or {}, dict[str | None, float]()
        for key in keys:
            of_model[key.model] = of_model.get(key.model, 0.0) + expected.get(key, 0.0)
        self._left: dict[str | None, deque[Key]] = {}
        for key in sorted(keys, key=lambda key: (-of_model[key.model], -expected.get(key, 0.0))):
            self._left.setdefault(key.model, deque()).append(key)
        self._open, self._tries = set(keys), Counter(key for key in keys if (step.name, key) in died)
        self._held: dict[Key, HeldError] = {}
        self._told: dict[Key, str] = {}
        """Partitions that were put off, with the process that held them last."""
        self._asked = 0.0
        self._is_stuck = False
        """Whether nothing could be begun when it was last asked for."""
        within = any(read.step == step.name for read in step.reads)
        self._reads: Mapping[Key, set[Key]] = {
            key: {other for source, other in upstream(study, step, key) if source is step}
            for key in (keys if within else ())
        }
        columns = [
            {column.removeprefix("target_") for column in TABLES[table].partition_by} for table in step.tables
        ]
        own = [name for name in step.dimensions if all(name in names for names in columns)]
        self._place = own if len(own) < len(step.dimensions) else None

    @property
    def is_open(self) -> bool:
        """Whether some are not done."""
        return bool(self._open)

    @property
    def models(self) -> list[str | None]:
        """Models of those that were not begun, in order."""
        return list(self._left)

    def begin(self, models: Iterable[str | None]) -> Key | None:
        """Begin the first partition of these models that waits for no other, if there is one."""
        places = {self._place_of(key) for key in self.running} - {None}
        for model in models:
            for key in self._left[model]:
                waits = self._place_of(key) in places or self._reads.get(key, set()) & self._open
                if not waits:
                    self._remove(key)
                    self.running.add(key)
                    self._tries[key] += 1
                    self._is_stuck = False
                    return key
        self._is_stuck = True
        return None

    def is_begun(self, key: Key) -> None:
        """A partition was begun before its step's turn."""
        self._remove(key)
        self.running.add(key)
        self._tries[key] += 1

    def _remove(self, key: Key) -> None:
        self._left[key.model].remove(key)
        if not self._left[key.model]:
            del self._left[key.model]

    def again(self, key: Key) -> bool:
        """Whether a partition whose worker died is to be made once more; it then is the next one of its model."""
        if self._tries[key] >= TRIES:
            return False
        self.running.remove(key)
        self._left.setdefault(key.model, deque()).appendleft(key)
        return True

    def end(self, key: Key, made: StepResult | Exception, waits: bool = True) -> list[Made]:
        """A partition was tried: what is to be told of it, and of those that come to nothing with it.

        One that another process is making comes last, or, unless it `waits`, is left out with all that read it here.
        """
        self.running.remove(key)
        if not isinstance(made, HeldError) or made.slot is None:
            self._open.remove(key)
            if (holder := self._told.get(key)) and isinstance(made, StepResult) and made.status == "fresh":
                made = replace(made, reason="; ".join(filter(None, (f"made by {holder}", made.reason))))
            return [(key, made)]
        self._tries[key] -= 1
        if waits:
            self._held[key] = made
            return []
        return [(each, is_held(made.holder)) for each in self._leave_out(key)]

    def _leave_out(self, key: Key) -> list[Key]:
        self._open.remove(key)
        found = [key]
        for other in [
            each for queue in self._left.values() for each in queue if key in self._reads.get(each, ())
        ]:
            if other in self._open:
                self._remove(other)
                found += self._leave_out(other)
        return found

    def look(self, context: Context) -> list[Made]:
        """Take up again what nobody holds any more; once nothing else can be begun, tell who holds what is waited for."""
        now = time.monotonic()
        if not self._held or now - self._asked < _ASKED_S:
            return []
        self._asked = now
        told = list[Made]()
        for key, error in list(self._held.items()):
            holder = context.warehouse.claims.holder(error.slot)
            if holder is None:
                del self._held[key]
                self._told[key] = error.holder.partition(", since ")[0]
                self._left.setdefault(key.model, deque()).append(key)
            elif self._is_stuck and self._told.get(key) != holder:
                self._told[key] = holder
                self._held[key] = HeldError(str(error), holder, error.slot)
                told.append((key, self._held[key]))
        return told

    def _place_of(self, key: Key) -> tuple[str | None, ...] | None:
        """Where a partition writes, if others may write there too, such as models that share a space of words."""
        return None if self._place is None else tuple(getattr(key, name) for name in self._place)


def is_held(holder: str) -> StepResult:
    """What is said of a partition that another process is making, where that is not waited for."""
    return StepResult("held", reason=f"{holder} is making it")
