"""A model or a dataset under another key: what is stored of it is kept, and what was up to date stays so.

Every file that bears the old key is written again under the new one, and so is every file whose fingerprint names such
a file. One commit ends it, so a run that is killed has changed nothing. A file that was up to date for the study with the
old key gets the fingerprint that the study asks for with the new one; any other keeps its own, and stays stale.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from xlwh.errors import ModelError, StoreError, XlwhError
from xlwh.jsons import read_object
from xlwh.models import Zoo
from xlwh.steps.base import Key
from xlwh.steps.job import ROWS, Planned
from xlwh.steps.plan import STEPS, Step, partitions
from xlwh.steps.planning import NotApplicable, Planner, definition_of
from xlwh.steps.runner import provenance
from xlwh.store import Entry, Slot, Warehouse
from xlwh.store.artefacts import PLACES, Artefact, ArtefactFile, faults
from xlwh.store.checkpoints import (
    CHECKPOINT,
    CHECKPOINT_FILES,
    MADE_HERE,
    bring,
    checkpoint,
    checkpoint_folder,
    checkpoint_of,
    files_text,
    require_undamaged_checkpoint,
)
from xlwh.store.claims import RENAME, require_idle
from xlwh.store.files import make_folder, path_beside, publish, remove_folder, sync
from xlwh.store.manifest import NewFile
from xlwh.store.reading import Source, is_lost, scan, source
from xlwh.store.rewrite import Pending, rewrite
from xlwh.store.write import take_back, taken_back
from xlwh.study import Study
from xlwh.tables import TABLES
from xlwh.upkeep.names import Renaming, What, known, model_of, renamed_study
from xlwh.upkeep.scope import entries_of

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Move:
    """A stored file that bears the old key."""

    entry: Entry
    slot: Slot
    """Where its rows will lie."""
    up_to_date: bool


@dataclass
class Renamer:
    """What a renaming has to do. StoreError where the study does not say the new key, or it is taken."""

    study: Study
    """It says the new key already."""
    warehouse: Warehouse
    what: What
    old: str
    new: str
    _written: list[NewFile] = field(default_factory=list)
    _checkpoints: dict[Slot, Artefact | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_study(self.study, self.what, self.old, self.new)
        self._former = renamed_study(self.study, self.what, self.new, self.old)
        self._entries = self.warehouse.entries()
        names = known((self.study, self._former), self._entries)
        self._renaming = Renaming(self.what, self.old, self.new, names)
        taken = [entry.slot for entry in self._entries if self.new in self._named(entry.slot)]
        was_stored = any(f"/{self.what}={self.old}/" in file for file in self.warehouse.manifest.files())
        is_stored = any(self.old in self._named(entry.slot) for entry in self._entries)
        self.is_done = bool(taken) and was_stored and not is_stored
        """Whether everything has the new key already, as after a run that was killed once it had committed."""
        if taken and not self.is_done:
            raise StoreError(
                f"There are {len(taken)} files of {self.what} `{self.new}` already, such as {taken[0]}. If the study no "
                "longer needs them, remove them first: xlwh drop"
            )
        self._before = Planner(self._former, self.warehouse, Zoo(self._former, self.warehouse))
        self._before.refresh()

    def _named(self, slot: Slot) -> list[str | None]:
        if self.what == "dataset":
            return [*self._renaming.known.datasets_of(slot)]
        return [model_of(slot, (self.old, self.new))]

    def moves(self) -> list[Move]:
        """The files that bear the old key, in the order of the plan. Reads some columns, and writes nothing."""
        found = []
        for step in STEPS.values():
            fresh = {
                slot
                for _, jobs in self._planned(step)
                for planned in jobs
                for slot in planned.job.slots.values()
                if self._before.is_fresh(planned)
            }
            for entry in entries_of(self._before, step):
                slot = self._renaming.slot(entry.slot)
                if slot != entry.slot or self._columns(entry):
                    found.append(Move(entry, slot, entry.slot in fresh))
        return found

    def run(self, progress: Progress) -> list[Entry]:
        """Write everything anew and commit it; returns the new entries.

        HeldError where another run works on what is renamed, or renames; StoreError where or a checkpoint is damaged; ConflictError where one changed
        it meanwhile.
        """
        moves = self.moves()
        if not moves:
            raise StoreError(f"Nothing is stored of {self.what} `{self.old}`.")
        require_idle(self.warehouse.claims, (slot for move in moves for slot in (move.entry.slot, move.slot)))
        # Before anything is written.
        for move in moves:
            self._checkpoint(move.entry)
        # What is written is committed at the end, however long that takes.
        with self.warehouse.claims.hold(RENAME):
            return self._run(progress)

    def _run(self, progress: Progress) -> list[Entry]:
        pending = Pending(self.warehouse.manifest)
        ahead = Warehouse(self.warehouse.root)
        ahead.manifest = pending
        after = Planner(self.study, ahead, Zoo(self.study, ahead))
        try:
            for number, step in enumerate(STEPS.values()):
                progress(step.name, number, len(STEPS))
                self._rename(step, after, pending)
        except XlwhError:
            take_back(self.warehouse.root, self._written)
            raise
        progress("all steps", len(STEPS), len(STEPS))
        with taken_back(self.warehouse.root, self.warehouse.manifest, self._written):
            return pending.publish()

    def _rename(self, step: Step, after: Planner, pending: Pending) -> None:
        left = {entry.slot: entry for entry in entries_of(self._before, step)}
        rows: dict[Slot, tuple[Planned, Planned]] = {}
        for key, jobs in self._planned(step):
            waiting = {self._where(planned) for planned in jobs if self._before.is_fresh(planned)}
            # Again as long as something was written: steps that go on plan one job after the other.
            while jobs:
                after.refresh()
                asked = {frozenset(each.job.slots.values()): each for each in _jobs(after, step, key)}
                ready = waiting & asked.keys()
                for planned in jobs:
                    if (now := asked.get(where := self._where(planned))) is None:
                        continue
                    for slot in planned.job.slots.values():
                        rows[slot] = planned, now
                        if where in ready:
                            self._move(left.pop(slot, None), pending, now)
                waiting -= ready
                if not ready or not waiting:
                    break
        for slot, entry in left.items():
            self._move(entry, pending, None, rows.get(slot))

    def _planned(self, step: Step) -> Iterator[tuple[Key, tuple[Planned, ...]]]:
        """(partition under the new key, its jobs under the old one) of a step."""
        keys = zip(partitions(self._former, step), partitions(self.study, step), strict=True)
        for before, after in keys:
            yield after, _jobs(self._before, step, before)

    def _where(self, planned: Planned) -> frozenset[Slot]:
        return frozenset(map(self._renaming.slot, planned.job.slots.values()))

    def _columns(self, entry: Entry) -> list[pl.Expr]:
        """The columns of a file that change, with the new key."""
        if is_lost(self.warehouse.root, entry):
            raise StoreError(f"The file {entry.file} of {entry.slot} is gone. Run: xlwh repair")
        rows = scan(self.warehouse.root, [entry])
        names = rows.collect_schema().names()
        found = []
        for column, kind in TABLES[entry.slot.table].names().items():
            if column not in names:
                continue
            values = rows.select(pl.col(column).unique()).collect()[column].drop_nulls().to_list()
            changed = {value: new for value in values if (new := self._renaming.value(kind, value)) != value}
            if changed:
                renamed = pl.col(column).replace(changed)
                if kind == "origin":
                    made_here = pl.col("kind").is_in(MADE_HERE)
                    if rows.select(made_here.any()).collect().item() is not True:
                        continue
                    renamed = pl.when(made_here).then(renamed).otherwise(pl.col(column))
                found.append(renamed.alias(column))
        return found

    def _move(
        self,
        entry: Entry | None,
        pending: Pending,
        planned: Planned | None,
        rows: tuple[Planned, Planned] | None = None,
    ) -> None:
        """Write a file again where it bears the old key or its fingerprint is another now.

        With `rows` (jobs before and after) rows of a stale file can be taken over as they could be before.
        """
        if entry is None:
            return
        slot, columns = self._renaming.slot(entry.slot), self._columns(entry)
        mark = entry.fingerprint if planned is None else planned.fingerprint
        if slot == entry.slot and not columns and mark == entry.fingerprint:
            return
        told, artefacts = _told(source(self.warehouse.root, entry)), list[Artefact]()
        if planned is not None:
            told |= provenance(planned)
        elif rows is not None and told.get(ROWS) == rows[0].rows_fingerprint:
            told[ROWS] = rows[1].rows_fingerprint
        if (found := self._checkpoint(entry)) is not None:
            folder = checkpoint_folder(self.warehouse.root, found.name, found.fingerprint)
            target = checkpoint_folder(self.warehouse.root, slot.keys[0], found.fingerprint)
            if planned is not None:
                target = planned.job.folder or target
            elif rows is not None and rows[0].job.folder == folder:
                target = rows[1].job.folder or target
            told[CHECKPOINT] = target.name
            kept = found if target == folder else self._copy_checkpoint(found, target)
            told[CHECKPOINT_FILES] = files_text(kept)
            artefacts.append(kept)
        file = rewrite(self.warehouse.root, entry, slot, columns, mark, told)
        self._written.append(file)
        pending.commit([file], [entry.slot] if slot != entry.slot else [], artefacts=artefacts)

    def _checkpoint(self, entry: Entry) -> Artefact | None:
        """The checkpoint that a row of `models` names, if there is one; StoreError where it is damaged."""
        if entry.slot.table != "models":
            return None
        if entry.slot not in self._checkpoints:
            root, model, found = self.warehouse.root, entry.slot.keys[0], None
            folder = checkpoint_of(root, entry)
            if folder is not None:
                found = self.warehouse.manifest.artefact(("model", model), folder.name)
                bring(root, found)
            if folder is not None and folder.is_dir():
                found = found or checkpoint(root, model, folder, self.warehouse.hashes)
                require_undamaged_checkpoint(root, entry, found)
            self._checkpoints[entry.slot] = found
        return self._checkpoints[entry.slot]

    def _copy_checkpoint(self, found: Artefact, target: Path) -> Artefact:
        """Give a checkpoint that was made here its new place too; `gc` removes the old one."""
        from xlwh.models.training_record import TRAINING_FILE

        root, source = self.warehouse.root, f"{PLACES['model']}/{found.name}/{found.fingerprint}"
        place = target.relative_to(root).as_posix()
        files, contents = list[ArtefactFile](), dict[str, bytes]()
        for file in found.files:
            copied = replace(file, file=place + file.file.removeprefix(source))
            if file.file == f"{source}/{TRAINING_FILE}":
                content = contents[copied.file] = self._record(root / file.file)
                copied = replace(copied, size_bytes=len(content), digest=hashlib.sha256(content).hexdigest())
            files.append(copied)
        made = Artefact("model", target.parent.name, target.name, tuple(sorted(files)))
        if target.is_dir():
            # Of a run that was killed, or of the same name before.
            if not any(faults(root, made, deep=True)):
                return made
            remove_folder(target)
        make_folder(target.parent)
        unfinished = path_beside(target)
        for file, copied in zip(found.files, files, strict=True):
            path = unfinished / copied.file.removeprefix(f"{place}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if copied.file in contents:
                path.write_bytes(contents[copied.file])
            else:
                _link(root / file.file, path)
            sync(path)
        publish(unfinished, target)
        return made

    def _record(self, file: Path) -> bytes:
        """The record of a training, with the new key."""
        record = read_object(file, ModelError)
        record["recipe"] = self._renaming.recipe(record["recipe"])
        record["model"] = self._renaming.value("model", record["model"])
        return (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()


def _jobs(planner: Planner, step: Step, key: Key) -> tuple[Planned, ...]:
    """The jobs of a partition; none where they cannot be told."""
    if definition_of(step) is None:
        return ()
    try:
        return planner.jobs(step, key)
    except (NotApplicable, XlwhError):
        return ()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # no links on this file system
        shutil.copy2(source, target)


def _told(file: Source) -> dict[str, str]:
    found = pl.read_parquet_metadata(file)
    return {name: value for name, value in found.items() if name.startswith("xlwh.")}


def _check_study(study: Study, what: What, old: str, new: str) -> None:
    there = study.models if what == "model" else study.datasets
    if old in there:
        raise StoreError(
            f"The study still says `{old}`. First write `{new}` for it in the study file, wherever it names this {what} "
            f"(the heading [{what}s.{old}] and every mention in other sections), then run this command again."
        )
    if new not in there:
        raise StoreError(
            f"The study has no {what} `{new}`. There are: {', '.join(there)}. Write the new key into the study file first."
        )
