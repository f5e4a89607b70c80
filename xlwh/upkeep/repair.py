"""Which damaged files a study can make again.

They are marked (see `xlwh.store.marks`), so that a run makes them, and each stays in the manifest until the one that was
made again takes its place, in the commit of that one. So nothing is ever missing, and whatever is left where a repair was
stopped is found by the next one as it was by the first.

What cannot be made again stays as it is: damaged rows may still be worth something to their owner, and rows that are gone
are not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from xlwh.models import Zoo
from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS, Step, partitions
from xlwh.steps.planning import Planner
from xlwh.store import Entry, Warehouse
from xlwh.store.rewrite import Pending
from xlwh.study import Study
from xlwh.upkeep.imagined import StepPlan
from xlwh.upkeep.preflight import look
from xlwh.upkeep.scope import folders
from xlwh.upkeep.survey import surveyed

_Partition = tuple[Step, Key]


@dataclass(frozen=True)
class Repair:
    """What a study can make again of damaged files."""

    steps: dict[Step, list[Key]]
    """The partitions that write them, in the order of the plan."""
    entries: tuple[Entry, ...]
    """The files that these write."""
    foreign: tuple[Entry, ...]
    """Those that no partition of the study writes."""
    refused: dict[Entry, str]
    """Those that cannot be made again now -> why."""


def planned(study: Study, warehouse: Warehouse, damaged: Collection[Entry]) -> Repair:
    """Which damaged files a study can make again, by all that is found before work begins. Nothing is written.

    Where it cannot be told what a partition writes, since its own inputs are damaged too, it counts for all that lies in
    it.
    """
    writing = _writing(study, warehouse, damaged)
    refused = dict[_Partition, str]()
    while True:
        able = {where: entries for where, entries in writing.items() if where not in refused}
        again = {entry for entries in able.values() for entry in entries}
        steps = dict[Step, list[Key]]()
        for step, key in able:
            steps.setdefault(step, []).append(key)
        found = _impossible(study, warehouse, steps, again, {e.file for e in damaged if e not in again})
        if not found:
            break
        # What is made from these may be impossible now, too.
        refused |= found
    reasons = {entry: refused[where] for where in refused for entry in writing[where] if entry not in again}
    return Repair(
        steps,
        tuple(entry for entry in damaged if entry in again),
        tuple(entry for entry in damaged if entry not in again and entry not in reasons),
        reasons,
    )


def _writing(study: Study, warehouse: Warehouse, damaged: Collection[Entry]) -> dict[_Partition, list[Entry]]:
    """Partition -> the damaged files that it writes, in the order of the plan. None of these files is read."""
    ahead = Warehouse(warehouse.root)
    ahead.manifest = Pending(warehouse.manifest)
    ahead.manifest.commit(drop=[entry.slot for entry in damaged])
    planner = Planner(study, ahead, Zoo(study, ahead))
    planner.refresh()
    found = dict[_Partition, list[Entry]]()
    for step in STEPS.values():
        wanted = [entry for entry in damaged if entry.slot.table in step.tables]
        for key in partitions(study, step) if wanted else ():
            lying = set(folders(study, step, key))
            within = [entry for entry in wanted if (entry.slot.table, entry.slot.keys) in lying]
            names = planner.names(step, key) if within else ()
            own = [entry for entry in within if names is None or entry.slot in names]
            if own:
                found[step, key] = own
    return found


def _impossible(
    study: Study,
    warehouse: Warehouse,
    steps: Mapping[Step, Sequence[Key]],
    again: Collection[Entry],
    staying: Collection[str],
) -> dict[_Partition, str]:
    """Which of some partitions cannot be made once the files `again` are gone, and why. `staying`: other damaged files."""
    if not steps:
        return {}
    found, plans = dict[_Partition, str](), dict[Step, StepPlan]()
    with surveyed(study, warehouse.root, steps, without=again) as survey:
        for step, plan in survey.plans.items():
            found |= {(step, key): str(error) for key, error in (plan.waiting | plan.faults).items()}
            plans[step] = StepPlan(made=dict(plan.made))
            for key, jobs in plan.made.items():
                read = [entry.file for job in jobs for entry in job.job.inputs if entry.file in staying]
                if read:
                    found[step, key] = f"it is made from {read[0]}, which is damaged too"
                    del plans[step].made[key]
        if look(study, plans).faults:
            for step, plan in plans.items():
                for key, jobs in plan.made.items():
                    faults = look(study, {step: StepPlan(made={key: jobs})}).faults
                    if faults:
                        found[step, key] = " ".join(fault.text for fault in faults)
    return found
