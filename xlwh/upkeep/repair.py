"""Which partitions of a study make damaged files again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from xlwh.models import Zoo
from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS, Step, partitions
from xlwh.steps.planning import Planner
from xlwh.store import Entry, Warehouse
from xlwh.store.rewrite import Pending
from xlwh.study import Study
from xlwh.upkeep.scope import folders


@dataclass(frozen=True)
class Repair:
    """What a study can make again of damaged files."""

    steps: dict[Step, list[Key]]
    """The partitions that write them, in the order of the plan."""
    entries: tuple[Entry, ...]
    """The files that these write."""
    foreign: tuple[Entry, ...]
    """Those that no partition of the study writes."""


def planned(study: Study, warehouse: Warehouse, damaged: Collection[Entry]) -> Repair:
    """Which partitions of a study write damaged files. Nothing is written, and none of these files is read.

    Where it cannot be told what a partition writes, since its own inputs are damaged too, it counts for all that lies in
    it.
    """
    ahead = Warehouse(warehouse.root)
    ahead.manifest = Pending(warehouse.manifest)
    ahead.manifest.commit(drop=[entry.slot for entry in damaged])
    planner = Planner(study, ahead, Zoo(study, ahead))
    planner.refresh()
    steps, found = dict[Step, list[Key]](), set[Entry]()
    for step in STEPS.values():
        wanted = [entry for entry in damaged if entry.slot.table in step.tables]
        for key in partitions(study, step) if wanted else ():
            lying = set(folders(study, step, key))
            within = [entry for entry in wanted if (entry.slot.table, entry.slot.keys) in lying]
            names = planner.names(step, key) if within else ()
            own = [entry for entry in within if names is None or entry.slot in names]
            if own:
                steps.setdefault(step, []).append(key)
                found.update(own)
    entries = tuple(entry for entry in damaged if entry in found)
    return Repair(steps, entries, tuple(entry for entry in damaged if entry not in found))
