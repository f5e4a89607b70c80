"""Which jobs there are, and whether the files that they read are up to date: nothing is written here, no model loaded.

A definition's `jobs` is given a `Partition`: the study, and the up-to-date files of the steps that the plan says it
reads. An input that is missing, or was made from other inputs or settings than now, is refused by name; whether it was
is found out by planning the step that makes it, so a change reaches everything behind it.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
from pydantic import BaseModel

from xlwh.errors import CorpusError, MissingDataError, StoreError, XlwhError
from xlwh.models import Zoo
from xlwh.models.pins import Pin
from xlwh.selftest import Result
from xlwh.selftest.stored import SelfTests
from xlwh.steps.base import Key
from xlwh.steps.job import Job, ModelUse, Planned, Stored
from xlwh.steps.plan import Reads, Step, of_same_weights, step_of
from xlwh.store import Entry, Slot, Warehouse
from xlwh.store.slots import contract
from xlwh.study import Study


class NotApplicable(Exception):  # noqa: N818 - a reason, no error
    """A partition does not apply to the study; the text says why."""


class Definition(ABC):
    """What all steps have. Instances hold nothing: one serves every partition."""

    version: ClassVar[str]
    """Raised where the same inputs and parameters would give other rows."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Packages whose numbers or random streams reach the rows: another version makes them stale."""
    counted: ClassVar[tuple[str, ...]] = ()
    """Tables whose rows a result counts; default: the first one of the step."""
    goes_on: ClassVar[bool] = False
    """Whether what was made decides if there is more to make: `jobs` is asked again after each pass."""

    @abstractmethod
    def jobs(self, partition: Partition) -> Iterable[Job]:
        """Everything that a partition asks for, found without writing anything or loading a model.

        Raises NotApplicable with the reason where it asks for nothing, MissingDataError for an input.
        """

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """What a run says of a job that it has made."""
        return {}

    def judge(self, job: Job, rows: Stored) -> None:  # noqa: B027 - most have nothing to say
        """Raise if what is stored, now or since earlier, must not be used."""


def definition_of(step: Step) -> Definition:
    """What a step says of itself: `STEP` of its module."""
    found: Definition = importlib.import_module(step.module).STEP
    return found


@dataclass
class _Plan:
    """What was found of one partition, and which files it rests on."""

    jobs: tuple[Planned, ...] = ()
    error: Exception | None = None
    remark: str = ""
    looked: dict[Slot, str | None] = field(default_factory=dict)
    """Slot -> its file when it was looked at."""
    listed: dict[tuple[str, tuple[str, ...]], frozenset[str]] = field(default_factory=dict)
    """Table and keys -> all files there when they were looked at."""
    superseded: list[Slot] = field(default_factory=list)
    """Out-of-date files that others, under other slots, take the place of."""
    behind: set[tuple[str, Key]] = field(default_factory=set)
    """Partitions whose plans were asked."""
    lacking: bool = False
    """Whether it goes without files that it would look at: with them there may be more jobs."""


class Planner:
    """The jobs of every partition of a study, each found once for as long as what it rests on stays as it is."""

    def __init__(self, study: Study, warehouse: Warehouse, zoo: Zoo) -> None:
        self.study, self.warehouse, self.zoo = study, warehouse, zoo
        self.opened: set[tuple[str, str]] = set()
        """(step, table that it looked at): what the declared inputs are compared with."""
        self.head = -1
        """Number of the last commit that was taken in."""
        self._entries: dict[Slot, Entry] = {}
        self._listed: dict[tuple[str, tuple[str, ...]], list[Entry]] = {}
        self._plans: dict[tuple[str, Key], _Plan] = {}
        self._pins: dict[str, Pin] = {}

    def refresh(self) -> None:
        """Take in what was committed since: plans that rest on other files than now are forgotten."""
        head = self.warehouse.manifest.head()
        if head == self.head:
            return
        self.head = head
        self._entries, self._listed = {}, {}
        for entry in self.warehouse.entries():
            self._entries[entry.slot] = entry
            self._listed.setdefault((entry.slot.table, entry.slot.keys), []).append(entry)
        self._pins.clear()
        gone = {
            name
            for name, plan in self._plans.items()
            if isinstance(plan.error, XlwhError)
            or any(self._file(slot) != file for slot, file in plan.looked.items())
            or any(self._files(*where) != files for where, files in plan.listed.items())
        }
        while gone:
            for name in gone:
                del self._plans[name]
            gone = {name for name, plan in self._plans.items() if not plan.behind <= self._plans.keys()}

    def entry(self, slot: Slot) -> Entry | None:
        """The current entry of a slot, whatever it was made from."""
        return self._entries.get(slot)

    def entries(self, table: str) -> list[Entry]:
        """Current entries of a table, whatever they were made from."""
        return [entry for slot, entry in self._entries.items() if slot.table == table]

    def entries_in(self, table: str, keys: tuple[str, ...]) -> list[Entry]:
        """Current entries of one partition of a table, whatever they were made from."""
        return self._listed.get((table, keys), [])

    def jobs(self, step: Step, key: Key, again: bool = False) -> tuple[Planned, ...]:
        """The jobs of a partition; `again`: whatever was found before.

        Raises NotApplicable, MissingDataError for inputs that are missing or out of date, and what else is wrong with
        the study or its files.
        """
        plan = self._plan(step, key, again)
        if plan.error is not None:
            raise plan.error
        return plan.jobs

    def remark(self, step: Step, key: Key) -> str:
        """What is to be said of a partition's jobs, such as methods that were left out."""
        return self._plan(step, key).remark

    def superseded(self, step: Step, key: Key) -> list[Entry]:
        """Out-of-date files of a partition that others, under other slots, take the place of."""
        slots = self._plan(step, key).superseded
        return [entry for slot in slots if (entry := self._entries.get(slot)) is not None]

    def lacks_inputs(self, step: Step, key: Key) -> bool:
        """Whether a partition is planned without files that are missing or out of date: with them it asks for more."""
        return self._plan(step, key).lacking

    def names(self, step: Step, key: Key) -> set[Slot] | None:
        """Every slot that a partition writes; None where that cannot be told, such as while its inputs are missing."""
        plan = self._plan(step, key)
        if plan.lacking or isinstance(plan.error, XlwhError):
            return None
        return slots_of(plan.jobs)

    def is_fresh(self, planned: Planned) -> bool:
        """Whether all files of a job are there and were made from what it says."""
        return all(self._is_made(slot, planned) for slot in planned.job.slots.values())

    def is_current(self, entry: Entry, key: Key) -> bool:
        """Whether a file that is there was made from what the partition that writes it says now.

        Raises what planning that partition raises.
        """
        return any(self._is_made(entry.slot, planned) for planned in self._asking(entry, key))

    def is_asked_for(self, entry: Entry, key: Key) -> bool:
        """The same, whether or not its file, or the checkpoint that belongs to it, is still there."""
        return bool(self._asking(entry, key))

    def _asking(self, entry: Entry, key: Key) -> list[Planned]:
        try:
            jobs = self.jobs(step_of(entry.slot.table), key)
        except NotApplicable:
            return []
        return [
            planned
            for planned in jobs
            if entry.slot in planned.job.slots.values() and entry.fingerprint == planned.fingerprint
        ]

    def pin(self, model: str) -> Pin:
        """The identity of a model's files, as they are now."""
        if model not in self._pins:
            self._pins[model] = self.zoo.pin(model)
        return self._pins[model]

    def _is_made(self, slot: Slot, planned: Planned) -> bool:
        entry, folder = self._entries.get(slot), planned.job.folder
        return (
            entry is not None
            and entry.fingerprint == planned.fingerprint
            and (self.warehouse.root / entry.file).is_file()
            and (folder is None or folder.is_dir())
        )

    def _file(self, slot: Slot) -> str | None:
        entry = self._entries.get(slot)
        return None if entry is None else entry.file

    def _files(self, table: str, keys: tuple[str, ...]) -> frozenset[str]:
        return frozenset(entry.file for entry in self.entries_in(table, keys))

    def _plan(self, step: Step, key: Key, again: bool = False) -> _Plan:
        name = (step.name, key)
        if again or name not in self._plans:
            plan, definition = _Plan(), definition_of(step)
            try:
                plan.jobs = tuple(
                    Planned(job, step.name, definition.version, definition.libraries)
                    for job in definition.jobs(Partition(self, step, key, plan))
                )
            except (NotApplicable, XlwhError) as error:
                plan.error = error
            except pl.exceptions.ComputeError as error:
                plan.error = StoreError(
                    f"A stored file that {step.name} {key} is planned from cannot be read ({error}). Run: xlwh check"
                )
            self._plans[name] = plan
        return self._plans[name]


@dataclass(frozen=True)
class Partition:
    """One partition of a step while its jobs are found: the study, and the files that it may rest on."""

    planner: Planner
    step: Step
    key: Key
    _found: _Plan

    @property
    def study(self) -> Study:
        """The study."""
        return self.planner.study

    @property
    def root(self) -> Path:
        """Folder of the warehouse."""
        return self.planner.warehouse.root

    @property
    def model(self) -> str:
        """Model of the partition."""
        return str(self.key.model)

    @property
    def language(self) -> str:
        """Language of the partition."""
        return str(self.key.language)

    @property
    def dataset(self) -> str:
        """Dataset of the partition."""
        return str(self.key.dataset)

    def required(self, slot: Slot) -> Entry:
        """An up-to-date file of a step that this one reads.

        MissingDataError with the command that makes it if there is none, or if it is out of date.
        """
        key, entry = self._look(slot), self.planner.entry(slot)
        if entry is None:
            raise MissingDataError(f"There is no {slot} yet. Run: {command(slot.table, key)}")
        if not self.planner.is_current(entry, key):
            gone = self.planner.is_asked_for(entry, key)
            why = "is not all there any more" if gone else "was made from other inputs or settings than now"
            raise MissingDataError(f"{slot} {why}. Run: {command(slot.table, key)}")
        return entry

    def current(self, slot: Slot) -> Entry | None:
        """The same, but None where it is missing or out of date."""
        key, entry = self._look(slot), self.planner.entry(slot)
        try:
            if entry is not None and self.planner.is_current(entry, key):
                return entry
        except XlwhError:
            pass
        self._found.lacking = True
        return None

    def made(self, job: Job) -> Entry | None:
        """The file of a job of this very step, if it is up to date: for steps that go on from what they made."""
        definition = definition_of(self.step)
        planned = Planned(job, self.step.name, definition.version, definition.libraries)
        (slot,) = job.slots.values()
        self._note(slot)
        return self.planner.entry(slot) if self.planner.is_fresh(planned) else None

    def stored(self, table: str) -> list[Entry]:
        """All files of a table in this very partition, whatever they were made from."""
        return self._list(table, self.key)

    def supersede(self, slots: Iterable[Slot]) -> None:
        """Name files of this very partition that others take the place of, under other slots: a run hides them first."""
        self._found.superseded += slots

    def written(self, table: str, key: Key) -> list[Entry]:
        """All up-to-date files of a table that a partition of another step writes, such as rounds of samples.

        Raises what planning that partition raises, unless nothing of it is there.
        """
        self._check_declared(table, key)
        self._found.behind.add((step_of(table).name, key))
        stored = self._list(table, key)
        found = [entry for entry in stored if self.planner.is_current(entry, key)]
        self._found.lacking |= len(found) < len(stored)
        return found

    def read(self, entry: Entry) -> pl.LazyFrame:
        """The rows of a file that was `required`."""
        return pl.scan_parquet(self.root / entry.file, hive_partitioning=False, glob=False)

    def use(self, model: str, *options: str, only_tokens: bool = False) -> ModelUse:
        """A model with those of its options that reach the rows of this step."""
        return ModelUse(model, self.pin(model), self.options(model, *options), only_tokens)

    def options(self, model: str, *names: str) -> dict[str, object]:
        """Some options of a model; its labels are those of the model whose weights it has, unless it has its own."""
        spec = self.study.models[model]
        chosen = {name: _json(getattr(spec, name)) for name in names}
        if "labels" in chosen and spec.labels is None and spec.weights_of is not None:
            chosen["labels"] = _json(self.study.models[spec.weights_of].labels)
        return chosen

    def pin(self, model: str) -> Pin:
        """The identity of a model; MissingDataError where it is made here and was not, or is out of date."""
        for each in of_same_weights(self.study, model):
            spec = self.study.models[each]
            if spec.finetune is not None or spec.scratch is not None:
                self.required(Slot("models", (each,)))
        return self.planner.pin(model)

    def self_test(self, model: str) -> tuple[Result, ...]:
        """The results of a model's self-test; none where it was never tried."""
        return SelfTests(self.study, self.planner.warehouse).known(self.pin(model)) or ()

    def digest(self, path: Path, named: str) -> str:
        """Identity of a file of the user's; CorpusError that says what names it (`named`) where it is not there."""
        if not path.is_file():
            raise CorpusError(f"No file {path}, which {named} in the study names.")
        return f"{path.name} {self.planner.warehouse.hashes.digest([path])}"

    def remark(self, text: str) -> None:
        """Something to be said of the partition whenever it is looked at."""
        if text:
            self._found.remark = f"{self._found.remark}; {text}" if self._found.remark else text

    def _look(self, slot: Slot) -> Key:
        key = self._key_of(slot)
        self._check_declared(slot.table, key)
        self._note(slot)
        self._found.behind.add((step_of(slot.table).name, key))
        return key

    def _list(self, table: str, key: Key) -> list[Entry]:
        keys = tuple(
            str(getattr(key, column.removeprefix("target_"))) for column in contract(table).partition_by
        )
        entries = self.planner.entries_in(table, keys)
        self._found.listed[table, keys] = frozenset(entry.file for entry in entries)
        return entries

    def _note(self, slot: Slot) -> None:
        entry = self.planner.entry(slot)
        self._found.looked[slot] = None if entry is None else entry.file

    def _key_of(self, slot: Slot) -> Key:
        """The partition that writes a slot: its own columns, else those of this partition."""
        columns = {name.removeprefix("target_"): value for name, value in slot.partition.items()}
        return Key(
            **{
                dimension: columns.get(dimension, getattr(self.key, dimension))
                for dimension in step_of(slot.table).dimensions
            }
        )

    def _check_declared(self, table: str, key: Key) -> None:
        """An input that the plan does not say is a mistake in the program: Dagster's lineage would be wrong."""
        source = step_of(table)
        self.planner.opened.add((self.step.name, table))
        for read in self.step.reads:
            if read.step == source.name and self._covers(read, source, key):
                return
        raise AssertionError(
            f"{self.step.name} {self.key} looks at {source.name} {key}, which xlwh/steps/plan.py does not say it reads"
        )

    def _covers(self, read: Reads, source: Step, key: Key) -> bool:
        free = source.name == self.step.name or (
            source.name == "models" and key.model in of_same_weights(self.study, self.model)
        )
        return all(
            free or dimension in read.across or getattr(key, dimension) == getattr(self.key, dimension)
            for dimension in source.dimensions
            if dimension in self.step.dimensions
        )


def command(table: str, key: Key) -> str:
    """The command that makes a partition of a table."""
    options = (("model", key.model), ("dataset", key.dataset), ("language", key.language))
    return f"xlwh materialize {step_of(table).name}" + "".join(f" --{k} {v}" for k, v in options if v)


def slots_of(jobs: Iterable[Planned]) -> set[Slot]:
    """Everything that some jobs write."""
    return {slot for planned in jobs for slot in planned.job.slots.values()}


def _json(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
