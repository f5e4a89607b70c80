"""Bringing what another warehouse has into this one, such as what a second machine computed.

Bytes are copied as they are, and what is looked at is the copy: nobody can change it between that and the commit. Copies
wait in `staging/take/` until all are there, become current in one commit, and are found there by the run after one that
was stopped.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlwh.errors import StoreError
from xlwh.store.artefacts import PLACES, Artefact, ArtefactFile
from xlwh.store.checkpoints import (
    bring,
    checkpoint_folder,
    damages,
    has_checkpoint,
    name_in,
    other_weights,
    resting,
    row_in,
)
from xlwh.store.claims import TAKE
from xlwh.store.copies import Copies, Progress, naming
from xlwh.store.files import make_folder, path_beside, publish, remove_folder, size
from xlwh.store.foreign import Foreign, Refused, RefusedError, check_places
from xlwh.store.identity import printable
from xlwh.store.integrity import faults as file_faults
from xlwh.store.manifest import ConflictError, NewFile
from xlwh.store.objects import root_of
from xlwh.store.own import Own
from xlwh.store.reading import is_stored
from xlwh.store.roots import name_of
from xlwh.store.slots import Entry, Slot, contract
from xlwh.store.write import new_name
from xlwh.tables import TABLES

if TYPE_CHECKING:
    from xlwh.store.warehouse import Warehouse

_RESERVE_BYTES = 10_000_000
"""Room on the disk that is left for the manifest and the catalogue."""


@dataclass
class Taken:
    """What became of all that another warehouse has of the tables that were asked for."""

    entries: list[Entry] = field(default_factory=list)
    """What was taken, in the order of the tables."""
    artefacts: list[Artefact] = field(default_factory=list)
    """Checkpoints, results of metrics and SQL that came along."""
    same: list[Slot] = field(default_factory=list)
    """What was here with the same fingerprint."""
    kept: list[Slot] = field(default_factory=list)
    """What is here with another fingerprint, and stays."""
    hidden: list[Slot] = field(default_factory=list)
    """What the study of the other warehouse does not name: it is not taken."""
    refused: list[Refused] = field(default_factory=list)
    """What cannot be believed; nothing of it is here."""


def take(
    warehouse: Warehouse,
    other: Path | str,
    tables: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Taken:
    """Copy what the warehouse at `other` has of some tables and `warehouse` lacks, byte by byte and in one commit.

    Without `tables` everything: all tables, results of metrics and SQL of one's own. A row of `models` brings its checkpoint.
    Every file is verified as `check` does it with all its bytes (size, digest, metadata, contract); what is refused is in
    the result, and the rest is taken. What both have stays as it is here. Whether something that was taken is up to date,
    the step that makes it judges by its fingerprint, as ever. Nothing is written at `other`.

    `StoreError` where there is no warehouse, or one whose manifest cannot be believed; where it is this one, or one lies
    inside the other; and where the disk has too little room. `ConflictError` where another run wrote a slot meanwhile.
    """
    for table in tables or ():
        contract(table)
    place = _checked_place(warehouse.root, root_of(other))
    with warehouse.claims.hold(TAKE), Copies(warehouse.root, progress) as copies:
        there = Foreign(place, path_beside(copies.folder / "manifest"))
        return _Taking(warehouse, there, copies, tables).run()


def _checked_place(root: Path, place: Path) -> Path:
    if place.is_file():
        raise StoreError(f"{place} is a file, and not the folder of a warehouse.")
    if not place.is_dir():
        raise StoreError(f"There is no warehouse at {name_of(place)}.")
    if place.samefile(root):
        raise StoreError(f"{name_of(place)} is this warehouse itself.")
    if place.is_relative_to(root) or root.is_relative_to(place):
        raise StoreError(
            f"One of {root} and {place} lies inside the other: move it beside, and take from there."
        )
    return place


class _Taking:
    """One run of `take`."""

    def __init__(
        self, warehouse: Warehouse, there: Foreign, copies: Copies, tables: Collection[str] | None
    ) -> None:
        self._warehouse, self._root = warehouse, warehouse.root
        self._there, self._copies = there, copies
        self._everything, self._tables = tables is None, TABLES.keys() if tables is None else set(tables)
        self._before: dict[Slot, Entry | None] = {}
        self._files: dict[Path, NewFile] = {}
        """Verified copy -> what it becomes."""
        self._folders: dict[Path, Path] = {}
        """Verified copy of a checkpoint -> where it is to lie."""
        self._taken = Taken()

    def run(self) -> Taken:
        taken = self._taken
        taken.refused += [each for each in self._there.refused if self._is_asked_for(each)]
        wanted = list(self._wanted())
        self._require_room(wanted)
        for entry in wanted:
            try:
                self._stage(entry)
            except RefusedError as error:
                taken.refused.append(Refused(str(entry.slot), str(error)))
        own = Own(self._root, self._there, self._copies) if self._everything else None
        if own is not None:
            taken.artefacts += own.artefacts
            taken.refused += own.refused
        if self._files or taken.artefacts:
            self._commit(own)
        self._copies.clear()
        return taken

    def _is_asked_for(self, refused: Refused) -> bool:
        table = re.split("[/ ]", refused.what)[0]
        return self._everything or table in self._tables or table not in TABLES

    def _wanted(self) -> Iterator[Entry]:
        """The entries that are missing here, in the order of the tables."""
        here = {entry.slot: entry for entry in self._warehouse.entries()}
        order, taken = {table: number for number, table in enumerate(TABLES)}, self._taken
        taken.hidden += [slot for slot in self._there.hidden if slot.table in self._tables]
        for entry in sorted(self._there.entries, key=lambda entry: order[entry.slot.table]):
            if entry.slot.table not in self._tables:
                continue
            mine = here.get(entry.slot)
            is_same = mine is not None and mine.fingerprint == entry.fingerprint
            if mine is None or (is_same and not self._is_whole(mine)):
                self._before[entry.slot] = mine
                yield entry
            else:
                (taken.same if is_same else taken.kept).append(entry.slot)

    def _is_whole(self, entry: Entry) -> bool:
        """Whether a file that is here, and what belongs to it, is there in the size that it was committed with."""
        if not is_stored(self._root, entry):
            return False
        names = resting([entry.slot])
        known = self._warehouse.manifest.artefacts() if names else {}
        return all(found.is_whole(self._root) for name, found in known.items() if name in names)

    def _require_room(self, wanted: Sequence[Entry]) -> None:
        names, copies = resting(entry.slot for entry in wanted), self._copies
        artefacts = [found for name, found in self._there.artefacts.items() if name in names]
        files: list[Entry | ArtefactFile] = [*wanted, *(file for found in artefacts for file in found.files)]
        # Of what is there: a size that somebody made up is found out by copying, and is no reason to take nothing.
        copies.total = sum(
            each.size_bytes for each in files if self._there.has(each.file, each.size_bytes, each.digest)
        )
        free = shutil.disk_usage(self._root).free
        if wanted and copies.total - copies.size_bytes() + _RESERVE_BYTES > free:
            raise StoreError(
                f"{size(copies.total)} are to be taken from {self._there.root}, and only {size(free)} are free at "
                f"{self._root}. Free some space (xlwh gc), or take one table after another."
            )

    def _stage(self, entry: Entry) -> None:
        """Copy and verify a file, and the checkpoint that belongs to it."""
        slot = entry.slot
        name = hashlib.sha256(f"{slot} {entry.file} {entry.digest}".encode()).hexdigest()[:32]
        copy, digest = self._copies.fetch(
            self._there, entry.file, entry.size_bytes, entry.digest, f"{name}.parquet"
        )
        as_copied = replace(entry, file=copy.relative_to(self._root).as_posix(), digest=digest)
        for finding in file_faults(self._root, as_copied, deep=True):
            copy.unlink()
            what = finding.kind.replace("_", " ")
            raise RefusedError(f"{what}: {printable(finding.problem.partition('; run')[0], 500)}")
        if slot.table == "models":
            self._stage_checkpoint(as_copied)
        file = new_name(slot, entry.fingerprint)
        self._files[copy] = NewFile(
            slot, file, entry.fingerprint, entry.rows, entry.size_bytes, entry.version, digest
        )

    def _stage_checkpoint(self, row: Entry) -> None:
        """The same for the checkpoint that a row of `models` names, if its model is made in a warehouse."""
        model, copy = row.slot.keys[0], self._root / row.file
        if not has_checkpoint(copy):
            return
        values = row_in(copy)
        try:
            named = name_in(copy, row.fingerprint)
        except StoreError as error:
            raise RefusedError(str(error)) from None
        found, target = self._checkpoint_there(model, named), checkpoint_folder(self._root, model, named)
        bring(self._root, found)
        if not target.is_dir() or damages(self._root, found, values):
            found = self._copy_checkpoint(found, values)
            self._folders[self._copies.folder / PLACES["model"] / model / named] = target
        self._taken.artefacts.append(found)

    def _checkpoint_there(self, model: str, named: str) -> Artefact:
        """A checkpoint as the other manifest has it; without digests where an earlier version of xlwh made it."""
        known = self._there.artefacts.get(("model", model))
        if known is not None and known.fingerprint == named:
            return known
        if known is not None or self._there.refuses("model", model):
            raise RefusedError(f"its row names the checkpoint {printable(named)}, and the manifest does not")
        files = self._there.files_in(f"{PLACES['model']}/{model}/{named}")
        found = Artefact("model", model, named, tuple(ArtefactFile(*each, "") for each in files))
        check_places(found)
        return found

    def _copy_checkpoint(self, artefact: Artefact, row: Mapping[str, Any]) -> Artefact:
        """Copy and verify all files of a checkpoint; the artefact with the digests of what was copied."""
        files, copies = list[ArtefactFile](), set[Path]()
        for file in artefact.files:
            with naming(file.file):
                copy, digest = self._copies.fetch(
                    self._there, file.file, file.size_bytes, file.digest or None, file.file
                )
            copies.add(copy)
            files.append(replace(file, digest=digest))
        folder = self._copies.folder / PLACES["model"] / artefact.name / artefact.fingerprint
        for left in {path for path in folder.rglob("*") if path.is_file()} - copies:
            left.unlink()
        copied = replace(artefact, files=tuple(files))
        for how in other_weights(self._copies.folder, copied, row).values():
            raise RefusedError(how)
        return copied

    def _commit(self, own: Own | None) -> None:
        """Put all copies in their places and make them current."""
        for copy, target in self._folders.items():
            remove_folder(target)
            make_folder(target.parent)
            publish(copy, target)
        for copy, file in self._files.items():
            make_folder((self._root / file.file).parent)
            publish(copy, self._root / file.file, final=True)
        if own is not None:
            own.place()
        files = list(self._files.values())
        expected = {
            file.slot: None if (mine := self._before[file.slot]) is None else mine.file for file in files
        }
        try:
            self._taken.entries += self._warehouse.manifest.commit(
                files, expected=expected, artefacts=self._taken.artefacts
            )
        except ConflictError:
            for file in files:
                (self._root / file.file).unlink(missing_ok=True)
            raise
