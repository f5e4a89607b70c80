"""Which damaged files a study can make again, and taking them out of the warehouse.

What cannot be made again stays as it is: damaged rows may still be worth something to their owner, and rows that are gone
are not. What is about to be taken out is written down first, so that the next `repair` goes on where one was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from xlwh.errors import StoreError
from xlwh.jsons import parsed, typed
from xlwh.models import Zoo
from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS, Step, partitions
from xlwh.steps.planning import Planner
from xlwh.store import Entry, Slot, Warehouse
from xlwh.store.files import remove, write_whole
from xlwh.store.manifest import ConflictError
from xlwh.store.rewrite import Pending
from xlwh.study import Study
from xlwh.upkeep.drop import drop
from xlwh.upkeep.imagined import StepPlan
from xlwh.upkeep.preflight import look
from xlwh.upkeep.scope import folders
from xlwh.upkeep.survey import surveyed

_Partition = tuple[Step, Key]

NOTE = "staging/repair.json"
"""Slots that a repair takes out, as JSON: slot -> the damaged file that it had."""


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


def taken_out(warehouse: Warehouse) -> list[Entry]:
    """What a repair that was stopped took out and did not make again, by slot; of an entry only slot and file are known.

    StoreError for a note that cannot be read.
    """
    path = warehouse.root / NOTE
    if not path.is_file():
        return []
    try:
        noted = typed(dict[str, str], parsed(path.read_text(encoding="utf-8")))
        found = {Slot.parse(slot): file for slot, file in noted.items()}
    except (OSError, ValueError, StoreError) as error:
        raise StoreError(
            f"{path} cannot be read: {error}. Remove it: `xlwh materialize` makes what it names."
        ) from None
    now, current = datetime.now(UTC), {entry.slot for entry in warehouse.entries()}
    return [
        Entry(slot, found[slot], "", 0, 0, 0, now, 0, None) for slot in sorted(found) if slot not in current
    ]


def note_taken_out(root: Path, entries: Iterable[Entry]) -> None:
    """Write down what is taken out and to be made again, in place of what was written before."""
    noted = {str(entry.slot): entry.file for entry in entries}
    if noted:
        write_whole(root / NOTE, (json.dumps(noted, indent=1, sort_keys=True) + "\n").encode())
    else:
        remove(root / NOTE)


def drop_untouched(warehouse: Warehouse, entries: Sequence[Entry]) -> None:
    """Take files out of the warehouse in one commit, but for those that another process replaced meanwhile.

    StoreError naming the process where another run works on one of them.
    """
    left, is_dropped = list(entries), False
    while left and not is_dropped:
        left = [e for e in left if (now := warehouse.current(e.slot)) is not None and now.file == e.file]
        # One less the next time, at least.
        with suppress(ConflictError):
            drop(warehouse, left)
            is_dropped = True


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
