"""How long work will take and how much disk, from what like work took.

Jobs are compared by step and name (a method, a sampler, a kind of making) and by model. A pace is seconds per unit of the
step's size, and a fixed part where jobs of different sizes tell it. In order: jobs of the same model; else jobs of others,
their pace scaled by the models' weights outside of the embeddings, since an example's cost is about proportional to
them; else, where a name was never seen, the step's other names. What no like job was made of has no estimate.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from xlwh.models.pins import Pin
from xlwh.steps.history import OVERHEAD, Made, name_of, parameters, size_of
from xlwh.steps.job import Planned
from xlwh.steps.plan import Step
from xlwh.store import Entry, Slot
from xlwh.upkeep.imagined import Imagined, StepPlan

_APART = 1.5
"""Sizes that differ by this factor tell the fixed part of a job from its pace."""
_SPREAD = (0.1, 0.9)
"""Quantiles of how like jobs turned out that a range goes from and to."""


@dataclass
class Estimate:
    """Of a step: its jobs together."""

    seconds: float = 0.0
    low: float = 0.0
    high: float = 0.0
    size_bytes: float = 0.0
    unknown: int = 0
    """Jobs that nothing is known of."""
    scaled: int = 0
    """Jobs whose pace is that of another model."""

    def add(self, other: Estimate) -> None:
        """Take another one in."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True)
class _Line:
    """What grows with the size of a job: seconds, or bytes."""

    fixed: float
    per_unit: float
    low: float
    """How many times as much it was for like jobs with little of it."""
    high: float

    def at(self, size: float, factor: float = 1.0) -> float:
        return self.fixed + self.per_unit * size * factor


@dataclass
class Rates:
    """What jobs took, to be asked for like ones."""

    made: Sequence[Made]
    _by_step: dict[str, list[Made]] = field(default_factory=dict)
    _paces: dict[tuple[str, str | None, str | None], _Line | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in self.made:
            self._by_step.setdefault(each.step, []).append(each)

    def knows(self, planned: Planned) -> bool:
        """Whether there is anything to estimate a job from."""
        return planned.step in self._by_step

    def estimate(
        self, planned: Planned, size: float, pin: Pin | None
    ) -> tuple[Estimate, Mapping[str, float]]:
        """Of one job, and about how many rows each of its tables will have."""
        name = name_of(planned)
        use = planned.job.model
        model = planned.job.name if planned.step == "models" else None if use is None else use.key
        own = model is not None and self._pace(planned.step, name, model) is not None
        pace = (
            self._pace(planned.step, name, model)
            or self._pace(planned.step, name, None)
            or self._pace(planned.step, None, None)
        )
        if pace is None:
            return Estimate(unknown=1), {}
        factor, scaled = (1.0, False) if own or pin is None else self._factor(planned.step, name, pin)
        seconds = pace.at(size, factor)
        rows, size_bytes = self._output(planned, name, model if own else None, size)
        estimate = Estimate(seconds, seconds * pace.low, seconds * pace.high, size_bytes, scaled=int(scaled))
        return estimate, rows

    def _like(self, step: str, name: str | None, model: str | None) -> list[Made]:
        return [
            each
            for each in self._by_step.get(step, ())
            if (name is None or each.name == name) and (model is None or each.model == model)
        ]

    def _pace(self, step: str, name: str | None, model: str | None) -> _Line | None:
        key = (step, name, model)
        if key not in self._paces:
            like = self._like(step, name, model)
            told = _jobs(like)
            self._paces[key] = _line(told) if told else None
        return self._paces[key]

    def _factor(self, step: str, name: str, pin: Pin) -> tuple[float, bool]:
        """How much more an example costs a model than those that were timed, by their weights."""
        own = parameters(pin.folder)
        timed = [each.parameters for each in self._like(step, name, None) if each.parameters]
        if not own or not timed:
            return 1.0, False
        usual = statistics.median(timed)
        return own / usual, abs(own / usual - 1) > 0.01

    def _output(
        self, planned: Planned, name: str, model: str | None, size: float
    ) -> tuple[dict[str, float], float]:
        like = self._like(planned.step, name, model) or self._like(planned.step, None, None)
        rows, size_bytes = {}, 0.0
        for table in dict.fromkeys(table for each in like for table in each.tables):
            told = [
                (each.tables[table], each.size) for each in like if table in each.tables and each.size > 0
            ]
            if told:
                rows[table] = size * statistics.median(count / unit for (count, _), unit in told)
                size_bytes += _line([(unit, float(held)) for (_, held), unit in told]).at(size)
        return rows, size_bytes


def _jobs(like: Iterable[Made]) -> list[tuple[float, float]]:
    """(size, seconds) of jobs; each of those that were made together is their usual one.

    What they took together was divided among them by their sizes, so that their own times say nothing of what is fixed.
    The same pace to nine digits tells them.
    """
    together: dict[str, list[Made]] = {}
    for each in like:
        pace = f"{each.seconds / each.size:.9g}" if each.size > 0 else ""
        together.setdefault(pace, []).append(each)
    found = []
    for group in together.values():
        size, seconds = (
            statistics.fmean(values) for values in zip(*((e.size, e.seconds) for e in group), strict=True)
        )
        found += [(size, seconds)] * len(group)
    return found


def _line(told: Sequence[tuple[float, float]]) -> _Line:
    """From (size, value) of like jobs: through the usual small and large one; through nothing where sizes are alike.

    The usual value is the first quartile: other work on the machine makes some jobs slower, and none quicker.
    """
    ordered = sorted(told)
    third = max(1, len(ordered) // 3)
    # All of one size belong together: a cut among them would choose by what they took.
    least, most = ordered[third - 1][0], ordered[-third][0]
    small, large = (
        [list(each) for each in zip(*part, strict=True)]
        for part in (
            [each for each in ordered if each[0] <= least],
            [each for each in ordered if each[0] >= most],
        )
    )
    one, other = statistics.median(small[0]), statistics.median(large[0])
    quick, slow = _usual(small[1]), _usual(large[1])
    fixed, per_unit = 0.0, 0.0
    if other > _APART * one and slow > quick:
        per_unit = (slow - quick) / (other - one)
        fixed = max(0.0, quick - per_unit * one)
    elif other > _APART * one or other <= 0:
        fixed = _usual([value for _, value in told])
    else:
        per_unit = _usual([value / size for size, value in told if size > 0])
    ratios = sorted(value / expected for size, value in told if (expected := fixed + per_unit * size) > 0)
    if len(ratios) < 2:
        return _Line(fixed, per_unit, 1.0, 1.0)
    low, high = (ratios[round(share * (len(ratios) - 1))] for share in _SPREAD)
    return _Line(fixed, per_unit, min(1.0, low), max(1.0, high))


def _usual(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 4]


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
                use = planned.job.model
                pin = planner.pin(use.key) if use is not None else None
                if step.name == "models":
                    base = planner.study.models[planned.job.name].base
                    pin = planner.pin(base or planned.job.name)
                estimate, told = rates.estimate(planned, size_of(planned, rows), pin)
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
    alike = max(sizes) <= _APART * min(sizes)
    line = _Line(_usual([seconds for _, seconds in told]), 0.0, 1.0, 1.0) if alike else _line(told)
    seconds = line.at(partitions)
    return Estimate(seconds, seconds * line.low, seconds * line.high)
