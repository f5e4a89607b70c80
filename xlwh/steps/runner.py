"""What every step does, written once: what is fresh, staging, resuming, taking over, progress, one commit per job."""

from __future__ import annotations

import json
import tempfile
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import polars as pl

from xlwh.errors import ModelError, XlwhError
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.definition import Definition, Frames
from xlwh.steps.job import Job, Planned
from xlwh.steps.models.selftests import load, results_of, was_tested
from xlwh.steps.plan import Step
from xlwh.steps.planning import NotApplicable, planner_of, slots_of
from xlwh.store import Entry, Slot, Staging, schema, typed

if TYPE_CHECKING:
    import torch

    from xlwh.models import LoadedModel
    from xlwh.selftest import Capability

RECIPE = "xlwh.recipe"
"""Metadata of a file: what it was made from, as JSON."""
ROWS = "xlwh.rows_fingerprint"
"""Metadata of a file: fingerprint of what each of its rows depends on."""

_SHOWN = 50
"""Rows of a table in a run's metadata."""

_TAKEN_AT_ONCE = 2048
"""Pieces whose rows are taken over at a time: the bound on memory."""


class Work:
    """What a definition works with: the inputs that its jobs declare, models, and somebody to tell. No study."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.root = Path(context.warehouse.root)
        """Folder of the warehouse."""
        self.provenance: dict[str, str] = {}
        """More metadata for the files of the job that is being made."""
        self.kept: dict[Any, Any] = {}
        """What one job may leave to the next of the same run, such as a loaded engine: never what decides rows."""
        self.told: dict[str, object] = {}
        self.examples = 0
        self.remarks: list[str] = []
        self._what, self._done, self._total, self._width = "", 0, 0, 0

    def scan(self, job: Job, table: str, **keys: str) -> pl.LazyFrame:
        """The rows of a table among a job's inputs, in the order of its files; `keys` choose partitions and `part`."""
        columns = schema(table)
        chosen = self.files(job, table, **keys)
        if not chosen:
            return pl.LazyFrame(schema=columns)
        return pl.scan_parquet(chosen, schema=columns, hive_partitioning=False, glob=False)

    def pieces_of(self, job: Job, table: str, pieces: pl.DataFrame, **keys: str) -> pl.DataFrame:
        """The rows of a table among a job's inputs that belong to some examples, in their order there."""
        ids = pieces.lazy().select("example_id").unique()
        found = self.scan(job, table, **keys).join(ids, on="example_id", how="semi", maintain_order="left")
        return found.collect()

    def files(self, job: Job, table: str, **keys: str) -> list[Path]:
        """The files of a table among a job's inputs."""
        return [
            self.root / entry.file
            for entry in job.inputs
            if entry.slot.table == table
            and all((entry.slot.partition | {"part": entry.slot.part})[k] == v for k, v in keys.items())
        ]

    def load(self, job: Job, capability: Capability) -> LoadedModel:
        """The job's model; ModelError where its self-test refuses that, or its files are others by now."""
        assert job.model is not None
        loaded = load(self._context, job.model.key, capability)
        if loaded.pin.identity != job.model.pin.identity:
            raise ModelError(
                f"Model `{job.model.key}`: its files changed while it was being used. Run the command again."
            )
        return loaded

    def device(self) -> torch.device:
        """Where to compute."""
        return self._context.zoo.device()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A temporary folder beside the tables."""
        with tempfile.TemporaryDirectory(dir=self.root, prefix=".tmp-work-") as folder:
            yield Path(folder)

    def tell(self, name: str, value: object) -> None:
        """Something for the run's metadata."""
        self.told[name] = value

    def count(self, name: str, number: int) -> None:
        """Add to a number in the run's metadata."""
        self.told[name] = cast("int", self.told.get(name, 0)) + number

    def table(self, name: str, rows: pl.DataFrame) -> None:
        """Add to a table in the run's metadata, which holds the first few."""
        before = cast("list[pl.DataFrame]", [self.told[name]] if name in self.told else [])
        self.told[name] = pl.concat([*before, rows]).head(_SHOWN)

    def remark(self, text: str) -> None:
        """Something for whoever reads the result; nothing where it is empty."""
        if text:
            self.remarks.append(text)

    def progress(self, what: str, done: int, total: int) -> None:
        """How far a job is."""
        self._context.progress(what, done, total)

    def within(self, done: int, total: int) -> None:
        """How far `make` is with the pieces that it was given."""
        self._context.progress(
            self._what, self._done + round(self._width * done / max(1, total)), self._total
        )

    def at(self, what: str, done: int, total: int, width: int = 0) -> None:
        """The runner's own count; `width` pieces are about to be made."""
        self._what, self._done, self._total, self._width = what, done, total, width
        self._context.progress(what, done, total)


class _Made(Definition):
    """A definition that the runner makes the rows of."""

    def run(self, step: Step, context: Context, key: Key) -> StepResult:
        """Make what is not fresh of one partition."""
        return run(step, context, key)


class Whole(_Made):
    """A step whose jobs are made in one piece each."""

    @abstractmethod
    def make(self, work: Work, job: Job) -> Frames:
        """All rows of a job."""


class Pieced(_Made):
    """A step whose jobs consist of many pieces: finished ones survive a kill, and are taken over where they can be."""

    piece: ClassVar[tuple[str, ...]] = ("example_id",)
    """Columns that tell the pieces of work apart; every table of the step has them."""
    at_once: ClassVar[int]
    """Pieces that `make` is given at a time: the bound on memory."""
    apart: ClassVar[str | None] = None
    """Column of which no value is in two chunks, where rows are too large to be sorted: they stay in order of making."""

    @abstractmethod
    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """What there is to do for the jobs of one pass, in order: the columns `piece`, and what `make` needs beside."""

    @abstractmethod
    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """The rows of some pieces for each job, in as many parts as are to survive a kill on their own."""

    def taken_over(self, job: Job, frames: Frames) -> Frames:
        """Rows of an earlier file that stay, with those columns renewed that `which` parameters decide."""
        return frames


def fresh(step: Step, context: Context, key: Key) -> StepResult | None:
    """What is to be said of a partition that needs no work; None if it has to be made.

    None too where it cannot be told yet, such as with inputs that are missing: `run` says what is wrong.
    """
    planner_of(context).refresh()
    try:
        jobs = planner_of(context).jobs(step, key)
        if not all(map(planner_of(context).is_fresh, jobs)):
            return None
        _judge(step.definition, context, jobs)
    except NotApplicable as reason:
        return not_applicable(str(reason))
    except XlwhError:
        return None
    return _fresh(step, context, key)


def run(step: Step, context: Context, key: Key) -> StepResult:
    """Make what is not fresh of one partition, and look after what it wrote earlier."""
    planner, watch, work = planner_of(context), Stopwatch(), Work(context)
    definition, made, ended = step.definition, dict[Slot, Entry](), dict[str, float]()
    while True:
        planner.refresh()
        try:
            jobs = planner.jobs(step, key, again=True)
            if any(_try_out(context, planned) for planned in jobs):
                jobs = planner.jobs(step, key, again=True)
        except NotApplicable as reason:
            return not_applicable(str(reason))
        stale = [planned for planned in jobs if _is_due(context, planned, made, ended)]
        if not stale:
            break
        for together in _passes(stale):
            made |= _made(definition, context, work, together)
        if not definition.goes_on:
            break
    planner.refresh()
    _judge(definition, context, jobs)
    if not made:
        return _fresh(step, context, key)
    rows = sum(entry.rows for slot, entry in made.items() if slot.table in _counted(step))
    remarks = "; ".join(filter(None, (*work.remarks, planner.remark(step, key))))
    return StepResult("written", rows, work.examples, watch.seconds, remarks, metadata=work.told)


def _fresh(step: Step, context: Context, key: Key) -> StepResult:
    planner = planner_of(context)
    entries = [
        planner.entry(slot) for slot in slots_of(planner.jobs(step, key)) if slot.table in _counted(step)
    ]
    rows = sum(entry.rows for entry in entries if entry is not None)
    return StepResult("fresh", rows, reason=planner.remark(step, key))


def _counted(step: Step) -> tuple[str, ...]:
    return step.definition.counted or step.tables[:1]


def _is_due(context: Context, planned: Planned, made: Mapping[Slot, Entry], ended: dict[str, float]) -> bool:
    """Whether a job is to be made now: it is not fresh (or all are made anew), and its pass has time left."""
    job = planned.job
    if planner_of(context).is_fresh(planned) and not (
        context.force and not made.keys() >= set(job.slots.values())
    ):
        return False
    if job.minutes is not None:
        return time.monotonic() < ended.setdefault(job.together, time.monotonic() + 60 * job.minutes)
    return True


def _passes(jobs: Sequence[Planned]) -> list[list[Planned]]:
    """Jobs that are made at once."""
    found: dict[str, list[Planned]] = {}
    for number, planned in enumerate(jobs):
        found.setdefault(planned.job.together or f"#{number}", []).append(planned)
    return list(found.values())


def _try_out(context: Context, planned: Planned) -> bool:
    """Run the self-test of a model that is about to be used for the first time: it decides which jobs there are."""
    use = planned.job.model
    if use is None or planner_of(context).is_fresh(planned) or was_tested(context, use.key):
        return False
    results_of(context, context.zoo.load(use.key))
    return True


def _judge(definition: Definition, context: Context, jobs: Sequence[Planned]) -> None:
    for planned in jobs:
        files = {
            table: pl.scan_parquet(context.warehouse.root / entry.file, hive_partitioning=False, glob=False)
            for table, slot in planned.job.slots.items()
            if (entry := planner_of(context).entry(slot)) is not None
        }
        if len(files) == len(planned.job.slots):
            definition.judge(planned.job, files)


def _made(definition: Definition, context: Context, work: Work, jobs: Sequence[Planned]) -> dict[Slot, Entry]:
    """Make the jobs of one pass and commit each."""
    if isinstance(definition, Pieced):
        entries = _in_pieces(definition, context, work, jobs)
    else:
        assert isinstance(definition, Whole)
        entries = []
        for number, planned in enumerate(jobs):
            job, work.provenance = planned.job, {}
            if job.together:
                work.at(f"{job.together}: {job.name}", number, len(jobs), 1)
            frames = definition.make(work, job)
            made = {job.slots[table]: typed(frames[table], table) for table in job.slots}
            entries += context.warehouse.write(made, planned.fingerprint, _metadata(planned, work))
        if jobs[0].job.together:
            work.at(jobs[0].job.together, len(jobs), len(jobs))
    found = {entry.slot: entry for entry in entries}
    for planned in jobs:
        rows = {
            table: pl.scan_parquet(
                context.warehouse.root / found[slot].file, hive_partitioning=False, glob=False
            )
            for table, slot in planned.job.slots.items()
        }
        work.told.update(definition.summary(planned.job, rows))
    return found


def _in_pieces(definition: Pieced, context: Context, work: Work, jobs: Sequence[Planned]) -> list[Entry]:
    on, pieces = list(definition.piece), definition.pieces(work, [planned.job for planned in jobs])
    what = _title(jobs)
    work.provenance = {}
    with ExitStack() as held:
        stagings = [
            held.enter_context(
                context.warehouse.staging(list(planned.job.slots.values()), planned.fingerprint)
            )
            for planned in jobs
        ]
        if not context.force:
            for planned, staging in zip(jobs, stagings, strict=True):
                _take_over(definition, context, planned, pieces, staging)
        # A kill can leave one job ahead of the others: what it has is not stored twice.
        done = [staging.pieces(on) for staging in stagings]
        missing = pl.concat([pieces.join(known, on=on, how="anti") for known in done])
        left = pieces.join(missing, on=on, how="semi", maintain_order="left")
        count = pieces.height - left.height
        work.at(what, count, pieces.height)
        for start in range(0, left.height, definition.at_once):
            part = left[start : start + definition.at_once]
            work.at(what, count, pieces.height, part.height)
            for each in definition.make(work, [planned.job for planned in jobs], part):
                for planned, staging, known, frames in zip(jobs, stagings, done, each, strict=True):
                    staging.append(
                        {
                            planned.job.slots[table]: typed(frame.join(known, on=on, how="anti"), table)
                            for table, frame in frames.items()
                        }
                    )
            count += part.height
        work.at(what, count, pieces.height)
        entries = []
        for planned, staging in zip(jobs, stagings, strict=True):
            entries += staging.finish(provenance=_metadata(planned, work), apart=definition.apart)
    work.examples += pieces.height
    return entries


def _title(jobs: Sequence[Planned]) -> str:
    together = jobs[0].job.together
    names = [planned.job.name for planned in jobs if planned.job.name not in together]
    return f"{together} ({', '.join(names)})" if names else together


def _take_over(
    definition: Pieced, context: Context, planned: Planned, pieces: pl.DataFrame, staging: Staging
) -> None:
    """Stage what the current files have of the pieces, if its rows were made from the same in the same way."""
    job, on = planned.job, list(definition.piece)
    entries = [planner_of(context).entry(slot) for slot in job.slots.values()]
    files = [context.warehouse.root / entry.file for entry in entries if entry is not None]
    if len(files) < len(job.slots) or not all(_made_so(file, planned.rows_fingerprint) for file in files):
        return
    left = pieces.select(on).join(staging.pieces(on), on=on, how="anti")
    for start in range(0, left.height, _TAKEN_AT_ONCE):
        part = left[start : start + _TAKEN_AT_ONCE].lazy()
        scans = [pl.scan_parquet(file, hive_partitioning=False, glob=False) for file in files]
        frames = dict(
            zip(job.slots, (scan.join(part, on=on, how="semi").collect() for scan in scans), strict=True)
        )
        if any(frame.height for frame in frames.values()):
            kept = definition.taken_over(job, frames)
            staging.append({job.slots[table]: frame for table, frame in kept.items()})


def _made_so(file: Path, rows_fingerprint: str) -> bool:
    return file.is_file() and pl.read_parquet_metadata(file).get(ROWS) == rows_fingerprint


def _metadata(planned: Planned, work: Work) -> dict[str, str]:
    use = planned.job.model
    return {
        **(use.pin.provenance if use is not None else {}),
        **work.provenance,
        ROWS: planned.rows_fingerprint,
        RECIPE: json.dumps(planned.recipe, sort_keys=True),
    }
