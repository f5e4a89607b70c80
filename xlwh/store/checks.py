"""Looking a warehouse over: are all files there, what the manifest says, and true to their contracts?"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import polars as pl

from xlwh.errors import SqlError, StoreError
from xlwh.store import journal
from xlwh.store.artefacts import Artefact
from xlwh.store.checkpoints import resting
from xlwh.store.connect import KEPT, NAME, CatalogueInfo, read_info, same_place
from xlwh.store.contract import schema
from xlwh.store.damage import damage
from xlwh.store.files import UNFINISHED, files_in, may_write
from xlwh.store.integrity import MEND, Finding, faults
from xlwh.store.kept import Fingerprints, all_kept, kept_damage, undigested
from xlwh.store.manifest import Manifest
from xlwh.store.objects import behind, is_there, stored
from xlwh.store.occurrences import POINTERS, misplaced, summary
from xlwh.store.parquet import UnreadableError, decoded
from xlwh.store.reading import is_beside, scan, segment_damage
from xlwh.store.slots import Entry, Slot, contract
from xlwh.store.views import Sources

Progress = Callable[[int, int], None]
"""Called with the files that were looked at, and how many there are to look at."""

_NO_DAMAGE = ("old_contract", "orphan_file", "stale_catalogue", "damaged_journal")
"""Findings that say nothing against the files that the manifest names."""

_OFFSETS_READ = ("examples", "predictions")
"""Tables that are read to find out whether offsets are right."""


class Checker:
    """A check of one state of a warehouse: which files it looks at, and which of them it reads.

    Every file is looked at: whether it is there, a file, of its size, and begins and ends as it should. Those that are
    read are compared with their digests, decoded, and held against their contracts and each other.
    """

    def __init__(
        self,
        root: Path,
        manifest: Manifest,
        sources: Sources,
        deep: bool = False,
        tables: Collection[str] = (),
        sample: float | None = None,
    ) -> None:
        """`sources` are those of the views and macros that a current catalogue holds.

        `deep`: whether all files are read; `sample`: how many, drawn at random, or which share of them where it is a
        float. With `tables`, only their files are looked at, and neither kept rows nor the catalogue. `StoreError` for
        a name that is no table, and a sample that is none.
        """
        for table in tables:
            contract(table)
        self._root, self._manifest, self._sources = root, manifest, sources
        self.tables = frozenset(tables)
        """To which the check is limited; empty for all."""
        self._snapshot = manifest.snapshot()
        self._info = None if tables else read_info(root / NAME)
        self.known = self._snapshot.entries
        """All current entries, also of files that are not looked at."""
        self.entries = [e for e in self._snapshot.entries if not tables or e.slot.table in self.tables]
        """Of the stored files that are looked at."""
        self.kept = self._kept_files()
        """Files of kept rows that are looked at, relative to their folder."""
        self.artefacts = self._looked_at_artefacts()
        """Artefacts that are looked at: checkpoints, results of metrics, SQL of one's own."""
        beside = (file.file for artefact in self.artefacts for file in artefact.files)
        files = [*(entry.file for entry in self.entries), *self.kept, *beside]
        self.read = frozenset(_sampled(files, 1.0 if deep and sample is None else sample))
        """Those of all three that are read."""
        self.undigested = sum(entry.digest is None for entry in self.entries)
        """Stored files without a digest, which are only decoded."""
        self._is_deep = deep and sample is None and not tables
        self._is_writable = may_write(root)

    @property
    def files(self) -> int:
        """How many files are looked at."""
        return len(self.entries) + len(self.kept) + sum(len(each.files) for each in self.artefacts)

    def findings(self, progress: Progress | None = None) -> Iterator[Finding]:
        """All findings, one file in memory at a time. That a deep check found no stored file damaged is noted."""
        damaged = False
        for finding in self._findings(progress):
            damaged = damaged or not (finding.kind in _NO_DAMAGE or finding.file.startswith(KEPT))
            yield finding
        if self._is_deep and not damaged and self._is_writable:
            self._manifest.note_checked()

    def _findings(self, progress: Progress | None) -> Iterator[Finding]:
        told = progress or (lambda done, total: None)
        sound = dict[Slot, bool]()
        for number, entry in enumerate(self.entries):
            told(number, self.files)
            found = list(self._faults(entry))
            yield from found
            sound[entry.slot] = not found
        yield from self._segments()
        yield from self._beside(told)
        yield from self._offsets(sound)
        yield from self._orphans()
        if not self.tables:
            yield from self._catalogue()
            yield from self._kept_rows(told)
        problem = self._manifest.backup_problem() if self._is_deep else None
        if problem is not None:
            yield Finding(
                "damaged_journal", journal.NAME, f"{problem}; run `xlwh recover`, which writes it anew"
            )
        told(self.files, self.files)

    def _faults(self, entry: Entry, deep: bool = False) -> Iterator[Finding]:
        deep = deep or entry.file in self.read
        if deep and not self._renewed(entry.file, entry.size_bytes, entry.digest):
            deep = False
        # A copy here that was cut short goes: it is no fault of what is stored.
        is_there(self._root, entry.file, entry.size_bytes)
        yield from faults(self._root, entry, deep)

    def _renewed(self, file: str, size_bytes: int, digest: str | None) -> bool:
        """Have a new copy here of a file that is to be read, where an object store has it; False where it has not."""
        if (objects := stored(self._root, file)) is None:
            return True
        if objects.size_of(file, digest) != size_bytes:
            return False
        try:
            objects.bring(file, digest, again=True)
        except FileNotFoundError:
            objects.forget_listing()
            return False
        return True

    def _segments(self) -> Iterator[Finding]:
        """Segments that are not as they were written, where what was packed into them may be sound."""
        read: dict[str, bool] = {}
        for entry in self.entries:
            if not is_beside(self._root, entry):
                segment = str(entry.segment)
                read[segment] = read.get(segment, False) or entry.file in self.read
        for segment, is_read in read.items():
            if is_read and (found := segment_damage(self._root, segment, deep=True)) is not None:
                yield Finding(found[0], segment, f"{found[1]}; {MEND}")

    def _looked_at_artefacts(self) -> list[Artefact]:
        found = self._manifest.artefacts(self._snapshot.commit)
        rows = resting(entry.slot for entry in self.entries)
        return [artefact for name, artefact in found.items() if not self.tables or name in rows]

    def _beside(self, told: Progress) -> Iterator[Finding]:
        """Artefacts that are not as they were committed. One that a row names is made again with it."""
        slots = {name: entry.slot for entry in self.known for name in resting([entry.slot])}
        done = len(self.entries)
        for artefact in self.artefacts:
            slot = slots.get(artefact.address)
            mend = "run `xlwh materialize`" if slot is None else MEND
            for file in artefact.files:
                told(done, self.files)
                done += 1
                deep = file.file in self.read and self._renewed(file.file, file.size_bytes, file.digest)
                if found := damage(self._root, file.file, file.size_bytes, file.digest, deep):
                    yield Finding(found[0], file.file, f"{found[1]}; {mend}", slot)

    def _offsets(self, sound: dict[Slot, bool]) -> Iterator[Finding]:
        """Words that are not where their rows say, in files that are otherwise as they should be."""
        pointing = [
            e
            for e in self.entries
            if e.slot.table in POINTERS and e.file in self.read and sound[e.slot] and _is_current(e)
        ]
        current: dict[str, list[Entry]] = {table: [] for table in _OFFSETS_READ}
        for entry in self.known if pointing else ():
            if entry.slot.table in _OFFSETS_READ:
                # They are to be right themselves.
                if entry.file not in self.read and sound.get(entry.slot, True):
                    found = list(self._faults(entry, deep=True))
                    yield from found
                    sound[entry.slot] = not found
                if sound[entry.slot] and _is_current(entry):
                    current[entry.slot.table].append(entry)
        predicted = current["predictions"]
        predictions = scan(self._root, predicted) if predicted else pl.LazyFrame(schema=schema("predictions"))
        for entry in pointing:
            table, rows = entry.slot.table, scan(self._root, [entry])
            try:
                wrong = decoded(partial(misplaced, self._root, rows, table, current["examples"], predictions))
            except UnreadableError as error:
                yield Finding("unreadable_file", entry.file, f"{error}; {MEND}", entry.slot)
                continue
            if wrong.height:
                problem = f"the text has another word at {summary(wrong)}; {MEND}"
                yield Finding("wrong_offsets", entry.file, problem, entry.slot)

    def _orphans(self) -> Iterator[Finding]:
        places = [f"tables/{table}" for table in sorted(self.tables)] or ["tables"]
        # Before the manifest is asked: a file that is committed meanwhile is no orphan.
        paths = sorted(path for place in places for path in self._below(place))
        known, has_copies = self._manifest.files(), behind(self._root) is not None
        for path in paths:
            file = path.relative_to(self._root).as_posix()
            if not path.name.startswith(UNFINISHED):
                state = known.get(file)
                # A copy of what another machine's `gc` took out of the store is a copy still.
                if state is None or (state.removed and not has_copies):
                    yield Finding("orphan_file", file, "no commit names it; `xlwh gc` removes it")

    def _below(self, place: str) -> list[Path]:
        folder = self._root / place
        return [path for path, _ in files_in(folder)] if folder.is_dir() else []

    def _catalogue(self) -> Iterator[Finding]:
        # Of a warehouse in an object store each machine has its own, which every connection brings up to date.
        is_everybodys = behind(self._root) is None
        if is_everybodys and self._is_writable and (problem := self.stale_catalogue) is not None:
            yield Finding("stale_catalogue", NAME, f"{problem}; run `xlwh catalogue`")

    @property
    def unused_catalogue(self) -> str | None:
        """Why connections make a catalogue of their own where none can be written, which is no fault of what is stored."""
        return None if self.tables or self._is_writable else self.stale_catalogue

    @property
    def stale_catalogue(self) -> str | None:
        """Why the catalogue does not show this state of this warehouse; None where it does."""
        path, info = self._root / NAME, self._info
        problem = None
        if not path.is_file():
            problem = "there is none"
        elif info is None:
            problem = "it cannot be read"
        elif not same_place(info.root, self._root):
            problem = f"it was built for {info.root}"
        elif info.commit != self._snapshot.commit:
            problem = f"it shows commit {info.commit}, the last is {self._snapshot.commit}"
        elif info.definitions != self._sources.digest:
            problem = "the SQL changed since it was built"
        elif lost := info.lost():
            state = "is cut short" if (self._root / KEPT / lost[0]).is_file() else "is gone"
            problem = f"{lost[0]} {state}, which it reads"
        return problem

    @property
    def _shown(self) -> Mapping[str, Mapping[str, int]]:
        """Kept rows that the catalogue reads, if it is of this place: by view, files and their bytes."""
        info: CatalogueInfo | None = self._info
        return {} if info is None or not same_place(info.root, self._root) else info.kept

    def _kept_files(self) -> list[str]:
        """Files of kept rows that connections read: those of the catalogue, or where that does not serve, all that are there."""
        if self.tables:
            return []
        found = {file for files in self._shown.values() for file in files}
        if self.stale_catalogue is not None:
            # Where no view can be made there is none to read them.
            with suppress(SqlError):
                prints = Fingerprints(self._sources.load(), self._snapshot)
                found |= {file for each in all_kept(self._root, prints).values() for file in each.files}
        return sorted(found)

    def _kept_rows(self, told: Progress) -> Iterator[Finding]:
        lost, mend = (
            set(self._info.lost() if self._info is not None and self._shown else ()),
            "run `xlwh catalogue`",
        )
        old = [file for file in self.kept if file in self.read and undigested(self._root, file)]
        for number, file in enumerate(self.kept):
            told(self.files - len(self.kept) + number, self.files)
            # Those that are gone are told with the catalogue.
            if file in self.read and file not in lost and file not in old:
                problem = kept_damage(self._root, file)
                if problem is not None:
                    yield Finding("wrong_digest", f"{KEPT}/{file}", f"{problem}; {mend}")
        if old:
            problem = f"it and {len(old) - 1} other files of kept rows have no digest beside them; {mend}"
            yield Finding("wrong_digest", f"{KEPT}/{old[0]}", problem)


def _sampled(files: list[str], sample: float | None) -> list[str]:
    """Some of the files, drawn at random: so many, or a share of them."""
    if sample is None:
        return []
    is_share = isinstance(sample, float)
    if sample <= 0 or (is_share and sample > 1):
        raise StoreError(f"A sample of {sample} files is none: give a number from 1, or a share up to 1.0.")
    count = math.ceil(sample * len(files)) if is_share else min(int(sample), len(files))
    return random.sample(files, count)


def _is_current(entry: Entry) -> bool:
    return entry.version == contract(entry.slot.table).version
