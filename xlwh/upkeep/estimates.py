"""How long a run will take and how much disk, from what like work took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xlwh.steps.history import OVERHEAD, Made
from xlwh.steps.plan import Step
from xlwh.steps.rates import APART, Estimate, Line, Rates, line, usual
from xlwh.store import Entry, Slot
from xlwh.upkeep.imagined import Imagined, StepPlan


def estimates(
    planner: Imagined, plans: Mapping[Step, StepPlan], made: Iterable[Made]
) -> dict[Step, Estimate]:
    """Of every step that has something to make; what is still to be read is counted from its files and limits."""
    rates, found = Rates(list(made)), dict[Step, Estimate]()
    expected: dict[Slot, float] = {slot: float(count or 0) for slot, count in planner.rows.items()}

    def rows(entry: Entry) -> float:
        return expected.get(entry.slot, float(entry.rows))

    for step, plan in plans.items():
        for jobs in plan.made.values():
            for planned in jobs:
                estimate, told = rates.of(planner, planned, rows)
                for table, slot in planned.job.slots.items():
                    if table in told:
                        expected.setdefault(slot, told[table])
                found.setdefault(step, Estimate()).add(estimate)
    return found


def overhead(plans: Mapping[Step, StepPlan], made: Iterable[Made]) -> Estimate | None:
    """What a run takes beside its partitions (planning, Dagster, views, the catalogue); None where none was timed."""
    told = [(each.size, each.seconds) for each in made if each.step == OVERHEAD]
    partitions = sum(len(plan.made) for plan in plans.values())
    if not told or not partitions:
        return None
    sizes = [size for size, _ in told]
    # Much of it is the same for every run: one size alone says nothing of what each partition adds.
    alike = max(sizes) <= APART * min(sizes)
    found = Line(usual([seconds for _, seconds in told]), 0.0, 1.0, 1.0) if alike else line(told)
    seconds = found.at(partitions)
    return Estimate(seconds, seconds * found.low, seconds * found.high)
