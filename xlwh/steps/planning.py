"""Which jobs there are, and whether the files that they read are up to date: nothing is written here, no model loaded.

A definition's `jobs` is given a `Partition`: the study, and the up-to-date files of the steps that the plan says it
reads. An input that is missing, or was made from other inputs or settings than now, is refused by name; whether it was
is found out by planning the step that makes it, so a change reaches everything behind it.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import ClassVar

import polars as pl

from xlwh import corpora
from xlwh.errors import AbsentFileError, MissingDataError, StoreError, XlwhError
from xlwh.models import Zoo
from xlwh.models.pins import Pin
from xlwh.selftest import Result
from xlwh.selftest.stored import SelfTests
from xlwh.steps.base import Key
from xlwh.steps.job import Job, ModelUse, Planned, Stored, options_of_model
from xlwh.steps.plan import Reads, Step, command, of_same_weights, shared, step_of
from xlwh.steps.plans import Made, Name, Plan, Plans
from xlwh.store import Entry, Slot, Warehouse, artefacts
from xlwh.store.checkpoints import resting
from xlwh.store.integrity import require_undamaged
from xlwh.store.objects import behind
from xlwh.store.reading import StoredFile, is_stored
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

    @property
    def judges(self) -> bool:
        """Whether it has anything to say of what is stored: files are opened for that only."""
        return type(self).judge is not Definition.judge


def definition_of(step: Step) -> Definition:
    """What a step says of itself: `STEP` of its module."""
    return _definition(step.module)


@cache
def _definition(module: str) -> Definition:
    found: Definition = importlib.import_module(module).STEP
    return found


class Planner:
    """The jobs of every partition of a study, each found once for as long as what it rests on stays as it is.

    What a plan rests on is known by who asked: files that it looked at, partitions of tables that it listed, plans of
    other partitions. What is outside the warehouse (the user's files, models, self-tests) is looked at again whenever a
    partition is planned `again`; if that changes its jobs, the plans that rest on it are forgotten.
    """

    def __init__(self, study: Study, warehouse: Warehouse, zoo: Zoo) -> None:
        self.study, self.warehouse, self.zoo = study, warehouse, zoo
        self.opened: set[tuple[str, str]] = set()
        """(step, table that it looked at): what the declared inputs are compared with."""
        self.head = -1
        """Number of the last commit that was taken in; -1 before the first."""
        self._root = str(warehouse.root)
        self._entries: dict[Slot, Entry] = {}
        self._tables: dict[str, dict[tuple[str, ...], dict[str, Slot]]] = {}
        """Table -> keys -> part -> slot of a current entry."""
        self._artefacts: dict[artefacts.Name, artefacts.Artefact] = {}
        self.plans = Plans()
        self._pins: dict[str, Pin] = {}
        self._uses: dict[tuple[str, tuple[str, ...], bool], ModelUse] = {}
        self._inapplicable: dict[tuple[str, str], str] = {}

    def refresh(self) -> None:
        """Take in what was committed since: plans that rest on other files than now are forgotten.

        It takes time for what changed, not for what there is.
        """
        manifest = self.warehouse.manifest
        head = manifest.head()
        if head == self.head:
            return
        if 0 <= self.head < head:
            changes = manifest.changes(self.head)
            self.head, put, gone = changes.commit, changes.put, changes.gone
        else:
            # The first time, or the manifest is another one, such as an earlier copy.
            snapshot = manifest.snapshot()
            self.head, put = snapshot.commit, snapshot.entries
            gone = frozenset(self._entries.keys() - {entry.slot for entry in put})
        self._artefacts = manifest.artefacts()
        self._pins.clear()
        changed = {*gone, *(entry.slot for entry in put)}
        for slot in gone & self._entries.keys():
            del self._entries[slot], self._tables[slot.table][slot.keys][slot.part]
        for entry in put:
            self._take(entry)
        self.plans.forget_changed(changed)

    def _take(self, entry: Entry) -> None:
        slot = entry.slot
        self._entries[slot] = entry
        self._tables.setdefault(slot.table, {}).setdefault(slot.keys, {})[slot.part] = slot

    def entry(self, slot: Slot) -> Entry | None:
        """The current entry of a slot, whatever it was made from."""
        return self._entries.get(slot)

    def entries(self, table: str) -> Iterator[Entry]:
        """Current entries of a table, whatever they were made from."""
        for slots in self._tables.get(table, {}).values():
            yield from (self._entries[slot] for slot in slots.values())

    def entries_in(self, table: str, keys: tuple[str, ...]) -> list[Entry]:
        """Current entries of one partition of a table, by part, whatever they were made from."""
        slots = self._tables.get(table, {}).get(keys, {})
        return [self._entries[slots[part]] for part in sorted(slots)]

    def jobs(self, step: Step, key: Key, again: bool = False) -> tuple[Planned, ...]:
        """The jobs of a partition; `again`: whatever was found before.

        Raises NotApplicable, MissingDataError for inputs that are missing or out of date, and what else is wrong with
        the study or its files.
        """
        plan = self._plan(step, key, again)
        if plan.error is not None:
            # Each time from here: else every raise would make its traceback longer, and keep what that leads to.
            raise plan.error.with_traceback(None)
        if plan.jobs is None:
            plan = self._plan(step, key, again=True)
        return plan.jobs or ()

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

    def names(self, step: Step, key: Key) -> Collection[Slot] | None:
        """Every slot that a partition writes; None where that cannot be told, such as while its inputs are missing."""
        plan = self._plan(step, key)
        if plan.lacking or isinstance(plan.error, XlwhError):
            return None
        return plan.writing.keys()

    def written(self, step: Step, key: Key) -> Mapping[Slot, bool]:
        """Every slot that a partition writes, and whether its file is there and was made from what its job says.

        Raises what `jobs` raises.
        """
        plan = self._plan(step, key)
        if plan.error is not None:
            raise plan.error.with_traceback(None)
        return {slot: self._is_made(slot, made) for slot, made in plan.writing.items()}

    def is_fresh(self, planned: Planned) -> bool:
        """Whether all files of a job are there and were made from what it says."""
        return all(self._is_made(slot, planned) for slot in planned.job.slots.values())

    def is_current(self, entry: Entry, key: Key) -> bool:
        """Whether a file that is there was made from what the partition that writes it says now.

        Raises what planning that partition raises.
        """
        made = self._asking(entry, key)
        return made is not None and self._is_made(entry.slot, made)

    def is_asked_for(self, entry: Entry, key: Key) -> bool:
        """The same, whether or not its file, or the checkpoint that belongs to it, is still there."""
        return self._asking(entry, key) is not None

    def _asking(self, entry: Entry, key: Key) -> Planned | Made | None:
        plan = self._plan(step_of(entry.slot.table), key)
        if plan.error is not None and not isinstance(plan.error, NotApplicable):
            raise plan.error.with_traceback(None)
        made = plan.writing.get(entry.slot)
        return made if made is not None and entry.fingerprint == made.fingerprint else None

    def file(self, entry: Entry) -> StoredFile:
        """A file that is about to be read. StoreError where it has other bytes than were written."""
        require_undamaged(self.warehouse.root, entry)
        return StoredFile.of(self.warehouse.root, entry)

    def pin(self, model: str) -> Pin:
        """The identity of a model's files, as they are now."""
        if model not in self._pins:
            self._pins[model] = self.zoo.pin(model)
        return self._pins[model]

    def _is_made(self, slot: Slot, made: Planned | Made) -> bool:
        entry = self._entries.get(slot)
        return (
            entry is not None
            and entry.fingerprint == made.fingerprint
            and is_stored(self._root, entry)
            and (made.folder is None or self._is_whole(slot, made.folder))
        )

    def _is_whole(self, slot: Slot, folder: Path) -> bool:
        """Whether the folder that belongs to a file is there, with what the manifest says of it."""
        known = [self._artefacts[name] for name in resting([slot]) if name in self._artefacts]
        # Nothing is known of those that an earlier version of xlwh made, until their row is written again.
        is_stored = bool(known) and behind(self._root) is not None
        return (is_stored or folder.is_dir()) and all(
            each.fingerprint == folder.name and each.is_whole(self.warehouse.root) for each in known
        )

    def _plan(self, step: Step, key: Key, again: bool = False) -> Plan:
        if self.head < 0:
            self.refresh()
        name = (step.name, key)
        known = self.plans.get(name)
        if known is not None and not again:
            return known
        plan = self._found(step, key)
        self.plans.put(name, plan, self._entries)
        return plan

    def _found(self, step: Step, key: Key) -> Plan:
        plan, definition = Plan(), definition_of(step)
        try:
            plan.jobs = tuple(
                Planned(job, step.name, definition.version, definition.libraries)
                for job in definition.jobs(Partition(self, step, key, plan))
            )
        except (NotApplicable, XlwhError) as error:
            # Without its traceback, which would keep everything that planning had in hand.
            plan.error = error.with_traceback(None)
        except (pl.exceptions.ComputeError, pl.exceptions.PanicException) as error:
            plan.error = StoreError(
                f"A stored file that {step.name} {key} is planned from cannot be read ({error}). Run: xlwh repair"
            )
        plan.writing = {slot: planned for planned in plan.jobs or () for slot in planned.job.slots.values()}
        return plan

    def inapplicable(self, dataset: str, language: str) -> str:
        """See `xlwh.corpora.inapplicable`, which each of many partitions asks of the same few datasets."""
        if (dataset, language) not in self._inapplicable:
            self._inapplicable[dataset, language] = corpora.inapplicable(self.study, dataset, language)
        return self._inapplicable[dataset, language]

    def use(self, model: str, options: tuple[str, ...], pin: Pin, only_tokens: bool) -> ModelUse:
        """A model with some of its options: one object for all who use it so."""
        known = self._uses.get((model, options, only_tokens))
        if known is None or known.pin is not pin:
            known = ModelUse(model, pin, options_of_model(self.study, model, options), only_tokens)
            self._uses[model, options, only_tokens] = known
        return known


@dataclass(frozen=True)
class Partition:
    """One partition of a step while its jobs are found: the study, and the files that it may rest on."""

    planner: Planner
    step: Step
    key: Key
    _found: Plan

    @cached_property
    def _name(self) -> Name:
        return self.step.name, self.key

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
        self._rest_on(table, key)
        stored = self._list(table, key)
        found = [entry for entry in stored if self.planner.is_current(entry, key)]
        self._found.lacking |= len(found) < len(stored)
        return found

    def read(self, entry: Entry) -> pl.LazyFrame:
        """The rows of a file that was `required`."""
        return self.file(entry).scan()

    def file(self, entry: Entry) -> StoredFile:
        """A file that decides which jobs there are. StoreError where it has other bytes than were written."""
        return self.planner.file(entry)

    def use(self, model: str, *options: str, only_tokens: bool = False) -> ModelUse:
        """A model with those of its options that reach the rows of this step."""
        return self.planner.use(model, options, self.pin(model), only_tokens)

    def options(self, model: str, *names: str) -> dict[str, object]:
        """Some options of a model; its labels are those of the model whose weights it has, unless it has its own."""
        return options_of_model(self.study, model, names)

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

    def inapplicable(self, dataset: str, language: str) -> str:
        """Why a dataset has no rows in a language by the study or by its nature; empty where it has."""
        return self.planner.inapplicable(dataset, language)

    def digest(self, path: Path, named: str) -> str:
        """Identity of a file of the user's; AbsentFileError that says what names it (`named`) where it is not there."""
        if not path.is_file():
            raise AbsentFileError(f"No file {path}, which {named} in the study names.", path)
        return f"{path.name} {self.planner.warehouse.hashes.digest([path])}"

    def remark(self, text: str) -> None:
        """Something to be said of the partition whenever it is looked at."""
        if text:
            self._found.remark = f"{self._found.remark}; {text}" if self._found.remark else text

    def _look(self, slot: Slot) -> Key:
        key = self._key_of(slot)
        self._check_declared(slot.table, key)
        self._note(slot)
        self._rest_on(slot.table, key)
        return key

    def _list(self, table: str, key: Key) -> list[Entry]:
        keys = tuple(
            str(getattr(key, column.removeprefix("target_"))) for column in contract(table).partition_by
        )
        self.planner.plans.note_listing(self._name, (table, keys))
        return self.planner.entries_in(table, keys)

    def _note(self, slot: Slot) -> None:
        self.planner.plans.note(self._name, slot)

    def _rest_on(self, table: str, key: Key) -> None:
        behind = (step_of(table).name, key)
        if behind not in self._found.behind:
            self._found.behind.add(behind)
            self.planner.plans.note_resting(self._name, behind)

    def _key_of(self, slot: Slot) -> Key:
        """The partition that writes a slot: its own columns, else those of this partition."""
        dimensions, columns = _places(slot.table)
        values = {
            dimension: getattr(self.key, dimension) if column is None else slot.keys[column]
            for dimension, column in zip(dimensions, columns, strict=True)
        }
        return Key(**values)

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
        if all(getattr(key, each) == getattr(self.key, each) for each in shared(self.step, read)):
            return True
        return source.name == self.step.name or (
            source.name == "models" and key.model in of_same_weights(self.study, self.model)
        )


@cache
def _places(table: str) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """The dimensions of a table's step, and where each stands among the keys of a slot."""
    columns = [name.removeprefix("target_") for name in contract(table).partition_by]
    dimensions = step_of(table).dimensions
    return dimensions, tuple(columns.index(each) if each in columns else None for each in dimensions)
