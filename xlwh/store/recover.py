"""Making a lost or damaged manifest anew: of its journal, and of what the stored files say of themselves.

What the journal says holds, with its history. Files that it does not know are given to slots that it has no file for:
of several, the one that was changed last. Everything else is left where it is, and told with the reason.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from xlwh.digests import HashCache
from xlwh.errors import StoreError
from xlwh.store import journal
from xlwh.store.artefacts import Artefact, ArtefactFile
from xlwh.store.checkpoints import (
    CHECKPOINT,
    checkpoint,
    checkpoint_of,
    row_in,
    said_in,
    weights_of,
)
from xlwh.store.clock import TOLERANCE, stored
from xlwh.store.connect import NAME, read_info
from xlwh.store.files import MANIFEST, sync
from xlwh.store.journal import History, Journal, Row
from xlwh.store.locks import FileLock
from xlwh.store.manifest_file import has_manifest
from xlwh.store.manifest_rebuilt import own_history, replace_manifest
from xlwh.store.manifests import open_manifest
from xlwh.store.objects import behind, root_of
from xlwh.store.parquet import metadata_of
from xlwh.store.place import is_embedded
from xlwh.store.roots import how_to_make, name_of, source_of
from xlwh.store.shelf import Folder, Store
from xlwh.store.slots import Entry, Slot
from xlwh.store.soundness import DamagedManifestError, LostManifestError

Progress = Callable[[int, int], None]
"""Called with the files that were read and how many there are to read."""


@dataclass(frozen=True)
class Left:
    """A file that was left out, or an entry that was ended, and why."""

    file: str
    reason: str


@dataclass
class Recovery:
    """What there is to recover, and what becomes of it."""

    why: str | None
    """What is wrong with the manifest; None for one that is sound."""
    backup: str = "there is no backup"
    """What was there beside the files."""
    backup_commit: int = 0
    """The last commit that the backup has."""
    hidden: int = 0
    """Slots out of the study's scope."""
    from_backup: int = 0
    """Current files that the backup names."""
    from_files: int = 0
    """Files that no backup names, and that are current now."""
    commit: int = 0
    """The last one afterwards."""
    ended: list[Left] = field(default_factory=list)
    """Files that were current by the backup, and are gone or damaged."""
    unplaced: list[Left] = field(default_factory=list)
    """Files that no slot was given."""
    damaged: list[Left] = field(default_factory=list)
    """Files of checkpoints that are current and not as they were made: `check --deep` finds them, and `repair` mends them."""
    unverified: list[Left] = field(default_factory=list)
    """Checkpoints of which nothing says what their tokenizer and configuration were: they are taken as they are."""
    aside: list[str] = field(default_factory=list)
    """Files that were replaced, under the names by which they are kept."""


def recover(
    root: Path, dry_run: bool = False, force: bool = False, progress: Progress | None = None
) -> Recovery:
    """Rebuild the manifest of the warehouse at `root`, where it is lost or damaged; with `force` also a sound one.

    Every file that is made current is read; of those in an object store what says what they are, and what their digest is.
    Nothing is changed with `dry_run`, and until all is read. `StoreError` where
    there is no warehouse, for a manifest of a later version, and where another process changes something meanwhile.
    """
    root = root_of(root)
    path = root / MANIFEST
    objects = behind(root)
    if objects is not None and is_embedded(root):
        raise StoreError(f"Nothing says where the manifest of {objects.url} is to be. {how_to_make(root)}")
    # Where nothing is changed nothing is written, so that media that may only be read can be looked at too.
    with nullcontext() if dry_run else FileLock(path.with_suffix(".lock"), f"The manifest {path}"):
        why = _fault(root)
        if why is None and not force:
            return _sound(root, dry_run)
        work = _Rebuilding(root, why, keeps_hashes=not dry_run)
        work.place(progress)
        if not dry_run:
            work.publish()
        return work.told


def _fault(root: Path) -> str | None:
    """What is wrong with a manifest. `StoreError` where there is no warehouse, or where that cannot be told."""
    if is_embedded(root) and not os.path.lexists(root / MANIFEST):
        try:
            has_manifest(root)
        except LostManifestError:
            return "it is gone"
        raise StoreError(f"There is no warehouse at {root}, and nothing is stored there.")
    try:
        manifest = open_manifest(root)
        manifest.require_whole()
        commit = manifest.head()
        found = manifest.journal.read()
    except DamagedManifestError as error:
        return error.why
    if (
        found is not None
        and found.damage is None
        and (other := manifest.differing_journal(found)) is not None
    ):
        return f"{journal.NAME} was not written for it as it is: {other}"
    if commit:
        return None
    objects = behind(root)
    stored_files = Folder(root).changed_ns if objects is None else objects.bucket.listing("tables")
    return "it has no commits, and files are stored" if stored_files else None


def _sound(root: Path, dry_run: bool) -> Recovery:
    """Leave a sound manifest as it is, with a journal that is sound too."""
    manifest = open_manifest(root)
    told = Recovery(None, commit=manifest.head())
    found = manifest.journal.read()
    if manifest.keeps_journal() and (found is None or found.damage is not None or found.last != told.commit):
        told.backup = "its journal was damaged, and is written anew"
        if not dry_run:
            manifest.rewrite_journal()
    else:
        told.backup = "its journal is whole" if manifest.keeps_journal() else "it keeps no journal"
    return told


def _state(path: Path) -> tuple[int, int, int] | None:
    """What every commit changes of the journal."""
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class _Candidate:
    """A file that no backup names."""

    entry: Entry
    changed_ns: int


class _Rebuilding:
    """The manifest of one warehouse while it is made anew."""

    def __init__(self, root: Path, why: str | None, keeps_hashes: bool) -> None:
        self.root = root
        self.told = Recovery(why)
        self._now = datetime.now(UTC)
        objects = behind(root)
        self._shelf = Folder(root) if objects is None else Store(objects)
        self._journal = Journal(root / journal.NAME)
        self.state = _state(self._journal.path)
        found = self._journal.read()
        own = MANIFEST if is_embedded(root) else "the database"
        self._base = self._best({journal.NAME: found, own: own_history(root)})
        self._sets_journal_aside = found is None or not (
            found.damage is None
            and found.identity == self._base.identity
            and found.commits == self._base.commits[: len(found.commits)]
        )
        """Under another name, since the new one does not hold all of it."""
        self._hashes = HashCache.of(root, keeps_hashes)
        for row in self._base.rows["versions"]:
            segment, number = self._shelf.place(row["file"])
            row.update(segment=segment, number=number, packed_from=None)
        self._ended: list[Row] = []
        self._put: list[Entry] = []
        self._artefacts: list[Artefact] = []

    def _best(self, found: Mapping[str, History | None]) -> History:
        """The one by which the most current files are there; of equal ones the longer, then the first."""

        def worth(each: History) -> tuple[int, int]:
            there = sum(self._shelf.has(row["file"]) for row in each.current("versions"))
            return there, each.last

        usable = {name: each for name, each in found.items() if each is not None and each.commits}
        if not usable:
            return History(secrets.token_hex(16), stored(self._now))
        name, best = max(usable.items(), key=lambda each: worth(each[1]))
        damage = "" if best.damage is None else f" ({best.damage})"
        self.told.backup = f"the backup is {name}, to commit {best.last}{damage}"
        self.told.backup_commit = best.last
        return best

    def place(self, progress: Progress | None) -> None:
        """Read all that may become current, and decide what does."""
        known = {row["file"]: row for row in self._base.rows["versions"]}
        current = list(self._base.current("versions"))
        changed_ns = self._shelf.changed_ns
        unknown = sorted(changed_ns.keys() - known.keys())
        total = len(current) + len(unknown)
        held: dict[Slot, Row] = {}
        for number, row in enumerate(current):
            if progress is not None:
                progress(number, total)
            entry, problem = self._checked(row)
            if entry is None or problem is not None:
                self.told.ended.append(Left(row["file"], problem or ""))
                self._ended.append(row)
            else:
                held[entry.slot] = row
        candidates = defaultdict[Slot, list[_Candidate]](list)
        for number, (file, found) in enumerate(self._shelf.identified(unknown, self._now), len(current)):
            if progress is not None:
                progress(number, total)
            if isinstance(found, StoreError):
                self.told.unplaced.append(Left(file, str(found)))
            else:
                candidates[found.slot].append(_Candidate(found, changed_ns[file]))
        self.told.unplaced += (Left(file, str(error)) for file, error in self._shelf.unreadable.items())
        self._choose(held, candidates)
        self._look_for_checkpoints()
        if not self._base.commits:
            self._artefacts += self._shelf.own(self._hashes)
        self.told.unplaced.sort(key=lambda each: each.file)
        self.told.from_backup = len(current) - len(self._ended)
        self.told.from_files = len(self._put)
        self.told.hidden = sum(1 for _ in self._base.current("hidden"))
        self.told.commit = self._number if self._put or self._ended or self._artefacts else self._base.last

    @property
    def _number(self) -> int:
        """Of the commit with what was found: after all that the catalogue may show."""
        info = read_info(self.root / NAME)
        return max(self._base.last, 0 if info is None else info.commit) + 1

    def _checked(self, row: Row) -> tuple[Entry | None, str | None]:
        """An entry of the backup, and what is wrong with its file."""
        try:
            entry = _entry(row, self._now)
        except (StoreError, ValueError, TypeError) as error:
            return None, f"what is said of it cannot be read: {error}"
        return entry, self._shelf.problem(entry)

    def _choose(self, held: dict[Slot, Row], candidates: dict[Slot, list[_Candidate]]) -> None:
        """Give slots files that no backup names."""
        ended = {_address(row) for row in self._ended}
        dropped = {_address(row) for row in self._base.rows["versions"]} - ended
        end_ns = _nanoseconds(self._base.commits[-1][1]) if self._base.damage is not None else None
        latest_ns = _nanoseconds(stored(self._now + TOLERANCE))
        for slot in sorted(candidates):
            # A time that lies in the future says nothing of which is newer.
            *older, newest = sorted(
                candidates[slot],
                key=lambda each: (each.changed_ns <= latest_ns, each.changed_ns, each.entry.file),
            )
            is_later = end_ns is not None and newest.changed_ns > end_ns
            if slot in held and is_later:
                self._ended.append(held[slot])
                self.told.ended.append(
                    Left(held[slot]["file"], f"{newest.entry.file} was written after the backup ends")
                )
            elif slot in held:
                older, why = [*older, newest], f"by the backup the file of its slot is {held[slot]['file']}"
            elif slot.address in dropped and not is_later:
                older, why = [*older, newest], "by the backup its slot was dropped"
            if len(older) < len(candidates[slot]):
                self._put.append(newest.entry)
                why = f"{newest.entry.file}, of the same slot, was changed later"
            self.told.unplaced += (Left(each.entry.file, why) for each in older)

    def _look_for_checkpoints(self) -> None:
        """What the rows of models name that no backup names; and checkpoints that nothing names."""
        for entry in self._put:
            folder = checkpoint_of(self.root, entry) if entry.slot.table == "models" else None
            if folder is not None and self._shelf.has_folder(folder):
                self._artefacts.append(self._checkpoint(entry, folder))
            elif folder is not None and CHECKPOINT in (metadata_of(self.root / entry.file) or {}):
                name = folder.relative_to(self.root).as_posix()
                self.told.ended.append(
                    Left(name, f"the row of the model names it ({entry.file}), and it is gone")
                )
        named = {Path(row["file"]).parts[:3] for row in self._base.rows["artefacts"]}
        named |= {Path(found.files[0].file).parts[:3] for found in self._artefacts if found.files}
        by_rows = self._of_rows()
        for folder in self._shelf.checkpoints():
            place = folder.relative_to(self.root)
            if place.parts not in named and folder not in by_rows:
                self.told.unplaced.append(Left(place.as_posix(), "no row of `models` names it"))

    def _checkpoint(self, row: Entry, folder: Path) -> Artefact:
        """A checkpoint as the backup or its row had it, else as it lies there; never with the digests of damaged files."""
        model = folder.parent.name
        known = [
            each
            for each in self._base.rows["artefacts"]
            if (each["kind"], each["name"], each["fingerprint"]) == ("model", model, folder.name)
        ]
        last = max((each["valid_from"] for each in known), default=0)
        files = sorted(
            ArtefactFile(each["file"], each["size_bytes"], each["digest"])
            for each in known
            if each["valid_from"] == last
        )
        found, said = Artefact("model", model, folder.name, tuple(files)), row_in(self.root / row.file)
        # Else the row is of another training into that folder.
        is_known = [file.digest for file in weights_of(found)] == [said["weight_hash"]]
        if not is_known and (by_row := said_in(self.root / row.file, model, folder.name)) is not None:
            is_known, found = True, by_row
        if not is_known:
            self._shelf.bring(folder)
            found = checkpoint(self.root, model, folder, self._hashes)
            self.told.unverified.append(
                Left(folder.relative_to(self.root).as_posix(), "an earlier version noted its weights alone")
            )
        wrong = self._shelf.damages(found, said)
        self.told.damaged += (Left(file, f"it is damaged: {how}") for file, how in wrong.items())
        if is_known or not wrong:
            return found
        # Of several files with weights none is known to be sound, and none has the digest of all.
        sizes = dict.fromkeys(wrong, 0) | {each.file: each.size_bytes for each in found.files}
        digests = {each.file: each.digest for each in found.files} | dict.fromkeys(wrong, said["weight_hash"])
        return replace(
            found, files=tuple(ArtefactFile(file, sizes[file], digests[file]) for file in sorted(sizes))
        )

    def _of_rows(self) -> set[Path | None]:
        """Checkpoints that current rows of the backup name, which were made before artefacts were committed."""
        rows = (row for row in self._base.current("versions") if row["slot_table"] == "models")
        return {checkpoint_of(self.root, _entry(row, self._now)) for row in rows if row not in self._ended}

    def publish(self) -> None:
        """Put the new manifest and its journal in place. At every moment what was is there, or what is new."""
        base = self._committed()
        for row in (*base.rows["versions"], *base.rows["artefacts"]):
            is_there = self._shelf.has(row["file"], row.get("digest"))
            row["removed"] = int(row["valid_to"] is not None and not is_there)
        for row in base.rows["versions"]:
            if row.get("segment") is not None:
                row["packed_from"] = base.last
        values = {
            "identity": base.identity,
            "began_at": base.began_at,
            "rebuilt_at": stored(self._now),
        }
        self.told.aside += replace_manifest(self.root, values, base, self._write_journal)

    def _write_journal(self, base: History, name: str) -> list[str]:
        """Before the new manifest is in place: the journal holds all that it does, so the former one may go then."""
        if _state(self._journal.path) != self.state:
            raise StoreError(
                f"{name_of(self.root)} was changed by another process meanwhile. Stop it, and run `xlwh recover` again."
            )
        aside = list[str]()
        if self._journal.path.is_file() and self._sets_journal_aside:
            aside.append(f"{name}.journal")
            shutil.copyfile(self._journal.path, self.root / aside[0])
            sync(self.root / aside[0])
        if source_of(self.root) is None:
            self._journal.write(base)
        # It shows commits that may be others now.
        (self.root / NAME).unlink(missing_ok=True)
        return aside

    def _committed(self) -> History:
        """The backup, with one more commit where the files are not as it says."""
        base, number = self._base, self.told.commit
        if not self._put and not self._ended and not self._artefacts:
            return base
        base.commits.append((number, stored(self._now)))
        for row in self._ended:
            row["valid_to"] = number
        gone, put = {_address(row) for row in self._ended}, {entry.slot.address for entry in self._put}
        for row in base.current("hidden"):
            if _address(row) in gone | put:
                row["valid_to"] = number
        base.rows["versions"] += (_row(entry, number) for entry in self._put)
        models = {json.loads(keys)[0] for table, keys, _ in gone | put if table == "models"}
        for row in base.current("artefacts"):
            if row["kind"] == "model" and row["name"] in models:
                row["valid_to"] = number
        for made in self._artefacts:
            base.rows["artefacts"] += (
                {"kind": made.kind, "name": made.name, "fingerprint": made.fingerprint, "file": file.file,
                 "size_bytes": file.size_bytes, "digest": file.digest, "valid_from": number, "valid_to": None}
                for file in made.files
            )  # fmt: skip
        return base


def _entry(row: Row, now: datetime) -> Entry:
    slot = Slot(row["slot_table"], tuple(json.loads(row["keys"])), row["part"])
    return Entry(
        slot,
        row["file"],
        row["fingerprint"],
        row["rows"],
        row["size_bytes"],
        row["version"],
        now,
        row["valid_from"],
        row.get("digest"),
        row.get("segment"),
        row.get("number"),
    )


def _row(entry: Entry, number: int) -> Row:
    table, keys, part = entry.slot.address
    return {
        "slot_table": table,
        "keys": keys,
        "part": part,
        "file": entry.file,
        "fingerprint": entry.fingerprint,
        "rows": entry.rows,
        "size_bytes": entry.size_bytes,
        "version": entry.version,
        "digest": entry.digest,
        "segment": entry.segment,
        "number": entry.number,
        "valid_from": number,
        "valid_to": None,
    }


def _address(row: Row) -> tuple[str, str, str]:
    return row["slot_table"], row["keys"], row["part"]


def _nanoseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1e9)
