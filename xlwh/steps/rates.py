"""What jobs will take, in time and on disk, from what like ones took.

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
from xlwh.steps.base import Key
from xlwh.steps.history import Made, Rows, name_of, parameters, size_of
from xlwh.steps.job import Planned
from xlwh.steps.plan import Step
from xlwh.steps.planning import Planner

APART = 1.5
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
    with_models: float = 0.0
    """Of the seconds, those of jobs that a model works in: on the device. The rest is work of the processor."""

    def add(self, other: Estimate) -> None:
        """Take another one in."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True)
class Line:
    """What grows with the size of a job: seconds, or bytes."""

    fixed: float
    per_unit: float
    low: float
    """How many times as much it was for like jobs with little of it."""
    high: float

    def at(self, size: float, factor: float = 1.0) -> float:
        """What a job of this size comes to, whose units cost so many times as much."""
        return self.fixed + self.per_unit * size * factor


@dataclass
class Rates:
    """What jobs took, to be asked for like ones."""

    made: Sequence[Made]
    _by_step: dict[str, list[Made]] = field(default_factory=dict)
    _paces: dict[tuple[str, str | None, str | None], Line | None] = field(default_factory=dict)

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
        estimate = Estimate(
            seconds,
            seconds * pace.low,
            seconds * pace.high,
            size_bytes,
            scaled=int(scaled),
            with_models=0.0 if model is None else seconds,
        )
        return estimate, rows

    def of(self, planner: Planner, planned: Planned, rows: Rows) -> tuple[Estimate, Mapping[str, float]]:
        """The same of a job of a study, whose inputs have about so many rows."""
        use = planned.job.model
        pin = None if use is None else planner.pin(use.key)
        if planned.step == "models":
            pin = planner.pin(planner.study.models[planned.job.name].base or planned.job.name)
        return self.estimate(planned, size_of(planned, rows), pin)

    def seconds(self, planner: Planner, step: Step, keys: Iterable[Key], force: bool) -> dict[Key, float]:
        """Of partitions of a step, without what is fresh in them; empty where nothing like them was ever made."""
        return (
            {key: self._seconds(planner, step, key, force) for key in keys}
            if step.name in self._by_step
            else {}
        )

    def _seconds(self, planner: Planner, step: Step, key: Key, force: bool) -> float:
        try:
            due = [each for each in planner.jobs(step, key) if force or not planner.is_fresh(each)]
            return sum(self.of(planner, each, lambda entry: entry.rows)[0].seconds for each in due)
        except Exception:  # what is wrong with a partition is told when it is made
            return 0.0

    def _like(self, step: str, name: str | None, model: str | None) -> list[Made]:
        return [
            each
            for each in self._by_step.get(step, ())
            if (name is None or each.name == name) and (model is None or each.model == model)
        ]

    def _pace(self, step: str, name: str | None, model: str | None) -> Line | None:
        key = (step, name, model)
        if key not in self._paces:
            like = self._like(step, name, model)
            told = _jobs(like)
            self._paces[key] = line(told) if told else None
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
                size_bytes += line([(unit, float(held)) for (_, held), unit in told]).at(size)
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


def line(told: Sequence[tuple[float, float]]) -> Line:
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
    quick, slow = usual(small[1]), usual(large[1])
    fixed, per_unit = 0.0, 0.0
    if other > APART * one and slow > quick:
        per_unit = (slow - quick) / (other - one)
        fixed = max(0.0, quick - per_unit * one)
    elif other > APART * one or other <= 0:
        fixed = usual([value for _, value in told])
    else:
        per_unit = usual([value / size for size, value in told if size > 0])
    ratios = sorted(value / expected for size, value in told if (expected := fixed + per_unit * size) > 0)
    if len(ratios) < 2:
        return Line(fixed, per_unit, 1.0, 1.0)
    low, high = (ratios[round(share * (len(ratios) - 1))] for share in _SPREAD)
    return Line(fixed, per_unit, min(1.0, low), max(1.0, high))


def usual(values: Sequence[float]) -> float:
    """The first quartile."""
    return sorted(values)[len(values) // 4]
