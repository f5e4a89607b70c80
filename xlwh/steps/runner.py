"""What every step does, written once: what is fresh, staging, resuming, taking over, progress, one commit per job."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import reduce
from pathlib import Path

import polars as pl

from xlwh.errors import StoreError, XlwhError
from xlwh.models import Zoo, threads
from xlwh.steps.base import Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.context import Context
from xlwh.steps.history import CHECKPOINT, EVALUATED_ROWS, History, Made, name_of, parameters, size_of
from xlwh.steps.job import RECIPE, ROWS, Planned, Stored
from xlwh.steps.plan import Step
from xlwh.steps.planning import Definition, NotApplicable, definition_of
from xlwh.steps.work import Pieced, Whole, Work
from xlwh.store import Entry, Slot, Staging, typed
from xlwh.store.files import files_in
from xlwh.store.integrity import require_undamaged
from xlwh.store.parquet import metadata_of
from xlwh.store.reading import scan, source

_TAKEN_AT_ONCE = 2048
"""Pieces whose rows are taken over at a time: the bound on memory."""
_HELD_S = 2.0
"""Seconds of work that `kill -9` may cost; any other end costs none."""


def fresh(step: Step, context: Context, key: Key) -> StepResult | None:
    """What is to be said of a partition that needs no work; None if it has to be made.

    None too where it cannot be told yet, such as with inputs that are missing: `run` says what is wrong. By the commits
    that the planner has taken in.
    """
    planner, definition = context.planner, definition_of(step)
    try:
        if not all(planner.written(step, key).values()):
            return None
        if definition.judges:
            _judge(definition, context, planner.jobs(step, key))
    except NotApplicable as reason:
        return not_applicable(str(reason))
    except XlwhError:
        return None
    return _fresh(step, context, key)


def run(step: Step, context: Context, key: Key) -> StepResult:
    """Make what is not fresh of one partition, and look after what it wrote earlier.

    Its files are claimed first. `HeldError`, before anything is made, where another process is making one of them.
    """
    threads.limit(threads_of(context.zoo, key))
    planner, watch, work = context.planner, Stopwatch(), Work(context)
    definition, made, ended, tried = definition_of(step), dict[Slot, Entry](), dict[str, float](), set[str]()
    with _Claimed(context) as claimed:
        while True:
            planner.refresh()
            try:
                jobs = planner.jobs(step, key, again=True)
                if any(_try_out(context, planned, tried) for planned in jobs):
                    jobs = planner.jobs(step, key, again=True)
            except NotApplicable as reason:
                return not_applicable(str(reason))
            stale = [planned for planned in jobs if _is_due(context, planned, made)]
            # Of steps that go on all that is there is claimed too: else another process could get ahead in between.
            if stale and claimed.more(jobs if definition.goes_on else stale):
                continue
            if definition.goes_on:
                stale = _next(stale, ended)
            if not stale:
                break
            if superseded := planner.superseded(step, key):
                # Before the first of those that take their place: they must not be seen beside each other.
                slots = [entry.slot for entry in superseded]
                context.warehouse.manifest.set_scope(superseded, among=slots)
            for together in _passes(stale):
                made |= _made(definition, context, work, together)
            if not definition.goes_on:
                break
    planner.refresh()
    if definition.judges:
        _judge(definition, context, jobs)
    if not made:
        return _fresh(step, context, key)
    rows = sum(entry.rows for slot, entry in made.items() if slot.table in _counted(step))
    remarks = "; ".join(filter(None, (*work.remarks, planner.remark(step, key))))
    return StepResult("written", rows, work.examples, watch.seconds, remarks, metadata=work.told)


class _Claimed(ExitStack):
    """What a run has claimed, for as long as it goes on."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._slots: set[Slot] = set()

    def more(self, jobs: Sequence[Planned]) -> bool:
        """Claim the files of these jobs too; whether something was committed meanwhile, so that they are planned anew."""
        slots = {slot for planned in jobs for slot in planned.job.slots.values()} - self._slots
        if not slots:
            return False
        self.enter_context(self._context.warehouse.claims.claim(sorted(slots)))
        self._slots |= slots
        return self._context.warehouse.manifest.head() != self._context.planner.head


def threads_of(zoo: Zoo, key: Key) -> int:
    """Threads that a partition is made with: by its model, wherever that is done."""
    return threads.threads_of(None if key.model is None else zoo.size(key.model))


def _fresh(step: Step, context: Context, key: Key) -> StepResult:
    planner = context.planner
    entries = [planner.entry(slot) for slot in planner.written(step, key) if slot.table in _counted(step)]
    rows = sum(entry.rows for entry in entries if entry is not None)
    return StepResult("fresh", rows, reason=planner.remark(step, key))


def _counted(step: Step) -> tuple[str, ...]:
    return definition_of(step).counted or step.tables[:1]


def _is_due(context: Context, planned: Planned, made: Mapping[Slot, Entry]) -> bool:
    """Whether a job is to be made now: it is not fresh, or all are made anew."""
    was_made = made.keys() >= set(planned.job.slots.values())
    return not context.planner.is_fresh(planned) or (context.force and not was_made)


def _next(jobs: Sequence[Planned], ended: dict[str, float]) -> list[Planned]:
    """The first job whose pass has time left, which counts from its own first job on; that one is made in any case."""
    for planned in jobs:
        job, now = planned.job, time.monotonic()
        if job.minutes is None or now <= ended.setdefault(job.together, now + 60 * job.minutes):
            return [planned]
    return []


def _passes(jobs: Sequence[Planned]) -> list[list[Planned]]:
    """Jobs that are made at once."""
    found: dict[str, list[Planned]] = {}
    for number, planned in enumerate(jobs):
        found.setdefault(planned.job.together or f"#{number}", []).append(planned)
    return list(found.values())


def _try_out(context: Context, planned: Planned, tried: set[str]) -> bool:
    """Run the self-test of a model that is about to be used for the first time: it decides which jobs there are."""
    use = planned.job.model
    if use is None or use.key in tried or context.planner.is_fresh(planned):
        return False
    tried.add(use.key)
    if context.self_tests.known(context.zoo.pin(use.key)) is not None:
        return False
    context.self_tests.of(context.zoo.load(use.key))
    return True


def _judge(definition: Definition, context: Context, jobs: Sequence[Planned]) -> None:
    for planned in jobs:
        entries = {slot: context.planner.entry(slot) for slot in planned.job.slots.values()}
        if None not in entries.values():
            try:
                definition.judge(planned.job, _stored(context, planned, entries))
            except (pl.exceptions.ComputeError, pl.exceptions.PanicException) as error:
                raise StoreError(
                    f"A stored file of {planned.step} cannot be read ({error}). Run: xlwh repair"
                ) from error


def _stored(context: Context, planned: Planned, entries: Mapping[Slot, Entry | None]) -> Stored:
    """The rows of a job's files."""
    return {
        table: scan(context.warehouse.root, [entry])
        for table, slot in planned.job.slots.items()
        if (entry := entries[slot]) is not None
    }


def _made(definition: Definition, context: Context, work: Work, jobs: Sequence[Planned]) -> dict[Slot, Entry]:
    """Make the jobs of one pass and commit each."""
    watch, work.share, sizes = Stopwatch(), 1.0, [size_of(planned, _rows) for planned in jobs]
    if isinstance(definition, Pieced):
        entries = _in_pieces(definition, context, work, jobs)
    else:
        assert isinstance(definition, Whole)
        entries = _in_one(definition, context, work, jobs)
    found = {entry.slot: entry for entry in entries}
    _note(context, work, jobs, sizes, found, watch.seconds)
    for planned in jobs:
        work.told.update(definition.summary(planned.job, _stored(context, planned, found)))
    return found


def _note(
    context: Context,
    work: Work,
    jobs: Sequence[Planned],
    sizes: Sequence[float],
    found: Mapping[Slot, Entry],
    seconds: float,
) -> None:
    """Write down what a pass took, each job its share of it, as estimates of later work."""
    if work.share <= 0:
        return
    if EVALUATED_ROWS in work.provenance:
        sizes = [float(work.provenance[EVALUATED_ROWS])]
    # Torch is loaded where a model was.
    device = context.zoo.device().type if "torch" in sys.modules else "cpu"
    made, total = [], sum(sizes)
    for planned, size in zip(jobs, sizes, strict=True):
        use, slots = planned.job.model, planned.job.slots
        trained = planned.step == "models" and planned.job.folder is not None
        folder = planned.job.folder if trained else None if use is None else use.pin.folder
        tables = {table: (found[slot].rows, found[slot].size_bytes) for table, slot in slots.items()}
        if trained and folder is not None:
            tables[CHECKPOINT] = 0, sum(file.st_size for _, file in files_in(folder))
        made.append(
            Made(
                planned.step,
                name_of(planned),
                size * work.share,
                seconds * (size / total if total else 1 / len(jobs)),
                tables,
                str(next(iter(slots.values()))),
                planned.job.name if trained else None if use is None else use.key,
                None if folder is None else parameters(folder),
                device,
            )
        )
    History(context.warehouse.root).add(made)


def _rows(entry: Entry) -> float:
    return entry.rows


def _in_one(definition: Whole, context: Context, work: Work, jobs: Sequence[Planned]) -> list[Entry]:
    entries = []
    for number, planned in enumerate(jobs):
        job, work.provenance, work.artefacts = planned.job, {}, []
        if job.together and not definition.goes_on:
            work.at(f"{job.together}: {job.name}", number, len(jobs), 1)
        frames = definition.make(work, job)
        rows = {job.slots[table]: typed(frames[table], table) for table in job.slots}
        metadata = _metadata(planned, work)
        entries += context.warehouse.write(rows, planned.fingerprint, metadata, work.artefacts)
    if jobs[0].job.together and not definition.goes_on:
        work.at(jobs[0].job.together, len(jobs), len(jobs))
    return entries


def _in_pieces(definition: Pieced, context: Context, work: Work, jobs: Sequence[Planned]) -> list[Entry]:
    on, pieces = list(definition.piece), definition.pieces(work, [planned.job for planned in jobs])
    what = _title(jobs)
    work.provenance = {}
    # Rows too large to be sorted are too large to wait in memory.
    held_s = _HELD_S if definition.apart is None else 0.0
    with ExitStack() as held:
        stagings = [
            held.enter_context(
                context.warehouse.staging(
                    list(planned.job.slots.values()), planned.fingerprint, held_s, is_claimed=True
                )
            )
            for planned in jobs
        ]
        if not context.force:
            for planned, staging in zip(jobs, stagings, strict=True):
                _take_over(definition, context, work, planned, pieces, staging)
        # A kill can leave one job ahead of the others: what it has is not stored twice.
        done = [staging.pieces(on) for staging in stagings]
        complete = reduce(lambda one, other: one.join(other, on=on, how="semi"), done)
        left = _without(pieces, complete, on)
        work.share = left.height / max(1, pieces.height)
        count = pieces.height - left.height
        work.at(what, count, pieces.height)
        for start in range(0, left.height, definition.at_once):
            part = left[start : start + definition.at_once]
            work.at(what, count, pieces.height, part.height)
            for each in definition.make(work, [planned.job for planned in jobs], part):
                for planned, staging, known, frames in zip(jobs, stagings, done, each, strict=True):
                    staging.append(
                        {
                            planned.job.slots[table]: typed(_without(frame, known, on), table)
                            for table, frame in frames.items()
                        }
                    )
                # Nothing of it is to be in memory while the next part is made.
                del each, frames
            count += part.height
        work.at(what, count, pieces.height)
        entries = []
        for planned, staging in zip(jobs, stagings, strict=True):
            entries += staging.finish(provenance=_metadata(planned, work), apart=definition.apart)
    work.examples += pieces.height
    return entries


def _without(frame: pl.DataFrame, known: pl.DataFrame, on: list[str]) -> pl.DataFrame:
    """The rows of other pieces than some, in their order."""
    return frame if known.is_empty() else frame.join(known, on=on, how="anti", maintain_order="left")


def _title(jobs: Sequence[Planned]) -> str:
    together = jobs[0].job.together
    names = [planned.job.name for planned in jobs if planned.job.name not in together]
    return f"{together} ({', '.join(names)})" if names else together


def _take_over(
    definition: Pieced,
    context: Context,
    work: Work,
    planned: Planned,
    pieces: pl.DataFrame,
    staging: Staging,
) -> None:
    """Stage what the current files have of the pieces, if its rows were made from the same in the same way."""
    job, on, root = planned.job, list(definition.piece), context.warehouse.root
    entries = [entry for slot in job.slots.values() if (entry := context.planner.entry(slot)) is not None]
    if len(entries) < len(job.slots) or not all(
        _made_so(root, entry, planned.rows_fingerprint) for entry in entries
    ):
        return
    try:
        for entry in entries:
            require_undamaged(root, entry)
    except StoreError as error:
        work.remarks.append(f"nothing was taken over: {error}")
        return
    left = pieces.select(on).join(staging.pieces(on), on=on, how="anti")
    for start in range(0, left.height, _TAKEN_AT_ONCE):
        part = left[start : start + _TAKEN_AT_ONCE].lazy()
        scans = [scan(root, [entry]) for entry in entries]
        frames = dict(
            zip(job.slots, (scan.join(part, on=on, how="semi").collect() for scan in scans), strict=True)
        )
        if any(frame.height for frame in frames.values()):
            kept = definition.taken_over(job, frames)
            staging.append({job.slots[table]: frame for table, frame in kept.items()})


def _made_so(root: Path, entry: Entry, rows_fingerprint: str) -> bool:
    return (metadata_of(source(root, entry)) or {}).get(ROWS) == rows_fingerprint


def _metadata(planned: Planned, work: Work) -> dict[str, str]:
    return {**provenance(planned), **work.provenance}


def provenance(planned: Planned) -> dict[str, str]:
    """What the files of a job say of what they were made from."""
    use = planned.job.model
    return {
        **(use.pin.provenance if use is not None else {}),
        ROWS: planned.rows_fingerprint,
        RECIPE: json.dumps(planned.recipe, sort_keys=True),
    }
