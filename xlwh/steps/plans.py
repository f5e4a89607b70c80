"""What was found of each partition, kept for as long as what it rests on stays as it is.

What a plan rests on is known by who asked: files that it looked at, partitions of tables that it listed, plans of other
partitions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xlwh.errors import XlwhError
from xlwh.steps.base import Key
from xlwh.steps.job import Planned
from xlwh.store import Entry, Slot

Name = tuple[str, Key]
"""Step and key of a partition."""
Folder = tuple[str, tuple[str, ...]]
"""Table and keys of a stored partition."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a job says of the files that it writes: all that is kept of most jobs."""

    fingerprint: str
    folder: Path | None


@dataclass(slots=True)
class Plan:
    """What was found of one partition."""

    jobs: tuple[Planned, ...] | None = ()
    """None where they were let go: they are found again when they are asked for."""
    error: Exception | None = None
    remark: str = ""
    superseded: list[Slot] = field(default_factory=list)
    """Out-of-date files that others, under other slots, take the place of."""
    behind: set[Name] = field(default_factory=set)
    """Partitions whose plans were asked."""
    lacking: bool = False
    """Whether it goes without files that it would look at: with them there may be more jobs."""
    writing: Mapping[Slot, Planned | Made] = field(default_factory=dict)
    """Everything that is written, and from what."""

    def let_go(self, entries: Mapping[Slot, Entry]) -> None:
        """Keep of the jobs only what they say of their files, in the words of the entries that are there."""
        kept = dict[Slot, Planned | Made]()
        try:
            for slot, planned in self.writing.items():
                made, entry = Made(planned.fingerprint, planned.folder), entries.get(slot)
                if entry is not None and entry.fingerprint == made.fingerprint:
                    slot, made = entry.slot, Made(entry.fingerprint, made.folder)
                kept[slot] = made
        except XlwhError:
            return  # a job without a fingerprint: whoever asks for it is told why
        self.writing, self.jobs = kept, None

    def says(self) -> tuple[object, ...]:
        """What who rests on it is told."""
        written = {slot: (_fingerprint(made), made.folder) for slot, made in self.writing.items()}
        return type(self.error), str(self.error), written


def _fingerprint(made: Planned | Made) -> str:
    try:
        return made.fingerprint
    except XlwhError as error:
        return str(error)


_KEPT = 2_000
"""Plans whose jobs are kept; of all others, only what they say of their files."""


class Plans:
    """The plans of partitions by name, and what each rests on."""

    def __init__(self) -> None:
        self._plans: dict[Name, Plan] = {}
        self._complete: deque[Plan] = deque()
        """Plans that have their jobs, the oldest first."""
        self._looking: dict[Slot, set[Name]] = {}
        """Slot -> plans that looked at it."""
        self._listing: dict[Folder, set[Name]] = {}
        """Partition of a table -> plans that listed it."""
        self._resting: dict[Name, set[Name]] = {}
        """Plan -> plans that asked it."""

    def get(self, name: Name) -> Plan | None:
        """What was found of a partition, if it is known still."""
        return self._plans.get(name)

    def known(self) -> Mapping[Name, Plan]:
        """All that are known now."""
        return dict(self._plans)

    def put(self, name: Name, plan: Plan, entries: Mapping[Slot, Entry]) -> None:
        """What was found of a partition now. Where it says something else than before, what rests on it is forgotten."""
        known = self._plans.get(name)
        if known is not None and plan.says() != known.says():
            self._forget(self._resting.pop(name, ()))
        self._plans[name] = plan
        self._complete.append(plan)
        if len(self._complete) > _KEPT:
            self._complete.popleft().let_go(entries)

    def forget_changed(self, slots: Iterable[Slot]) -> None:
        """Forget the plans that looked at one of these slots, or listed where it lies."""
        if self._plans:
            for slot in slots:
                self._forget(self._looking.pop(slot, ()))
                self._forget(self._listing.pop((slot.table, slot.keys), ()))

    def _forget(self, names: Iterable[Name]) -> None:
        """Forget plans, and those that rest on them."""
        left = list(names)
        while left:
            name = left.pop()
            if self._plans.pop(name, None) is not None:
                left += self._resting.pop(name, ())

    def note(self, looking: Name, slot: Slot) -> None:
        """A plan is forgotten when this slot changes."""
        self._looking.setdefault(slot, set()).add(looking)

    def note_listing(self, listing: Name, folder: Folder) -> None:
        """A plan is forgotten when anything in this partition of a table changes."""
        self._listing.setdefault(folder, set()).add(listing)

    def note_resting(self, resting: Name, behind: Name) -> None:
        """A plan is forgotten with this other one."""
        self._resting.setdefault(behind, set()).add(resting)
