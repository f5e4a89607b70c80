"""Removing files that nobody needs any more, after a grace period in which earlier readers can finish."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

from xlwh.errors import StoreError
from xlwh.failures import full_disk
from xlwh.store import copies, metrics
from xlwh.store.bucket import StoredObject
from xlwh.store.checkpoints import DIGITS, checkpoint_of
from xlwh.store.claims import COMMANDS, TAKE, Claims
from xlwh.store.clock import TOLERANCE, Stamp, settled, text
from xlwh.store.connect import KEPT, NAME, CatalogueInfo, read_info
from xlwh.store.files import MANIFEST, RESULTS, UNFINISHED, files_in, globbed, remove, remove_folder
from xlwh.store.identity import slot_of
from xlwh.store.kept import Fingerprints, digest_file
from xlwh.store.locks import FileLock
from xlwh.store.manifest import FileState, Manifest, Origin
from xlwh.store.objects import STORED, Objects, behind
from xlwh.store.roots import name_of
from xlwh.store.segments import is_segment
from xlwh.store.slots import Entry, Slot
from xlwh.store.staging import abandoned
from xlwh.store.views import Definitions

UNNAMED_GRACE = timedelta(hours=1)
"""Files that no commit names may be about to be committed: they are kept at least this long."""

STAGING_GRACE = timedelta(days=7)
"""Unfinished work is kept at least this long: it may be hours of computation."""

_LOCK_WAIT_S = 5.0
"""Another `gc` is soon done; whoever rebuilds or moves a manifest is not waited for."""

DIGEST = "[0-9a-f]" * DIGITS
"""How the folders of trained models end, as a pattern."""


@dataclass(frozen=True)
class GcReport:
    """What was removed, as paths relative to the warehouse, and what that freed."""

    removed: tuple[str, ...]
    size_bytes: int
    """Bytes that were freed."""
    kept: int
    """Superseded files that are still within the grace period or shown by the catalogue."""

    @property
    def files(self) -> int:
        """How many files and folders were removed."""
        return len(self.removed)


def collect(
    root: Path, manifest: Manifest, claims: Claims, grace: timedelta, definitions: Definitions
) -> GcReport:
    """Remove superseded files and checkpoints, files that no commit ever named, kept rows of views (of `definitions`)
    for earlier states, and abandoned staging, all older than `grace`.

    Files of the snapshot that the catalogue shows are kept, however old. Time travel to commits that need a
    removed file ends with an error that says so. What a live command is about to commit stays, however long that takes
    it: nothing of a slot that is claimed, and nothing that no commit names while a command of `COMMANDS` is held. A file whose time lies before the manifest began, or in the future, is
    as young as if it had been written now. `StoreError` for a manifest that was rebuilt and not checked since,
    `HeldError` while it is rebuilt or moved.
    """
    # Whoever makes the manifest anew may find a use for any file.
    with FileLock((root / MANIFEST).with_suffix(".lock"), f"The manifest of {root}", _LOCK_WAIT_S):
        return _collect(root, manifest, claims, grace, definitions)


def _collect(
    root: Path, manifest: Manifest, claims: Claims, grace: timedelta, definitions: Definitions
) -> GcReport:
    now = datetime.now(UTC)
    origin = manifest.origin()
    _require_checked(root, origin)
    stamps = manifest.stamps()
    age = _Ages(now, _beginning(origin, stamps, now), settled(stamps))
    info = read_info(root / NAME)
    shown = _shown(info, manifest)
    objects = behind(root)
    found = (
        _on_disk(root, manifest, age, grace, shown)
        if objects is None
        else _in_store(objects, manifest, claims, age, grace, shown)
    )
    if objects is not None and found.objects:
        objects.bucket.require_removal()
    doomed = list(found.unnamed)
    for place in ("", "staging/", "staging/finetune/", "models/*/"):
        for path in globbed(root, f"{place}{UNFINISHED}*"):
            if age.of_all(path) > max(grace, UNNAMED_GRACE):
                doomed.append(path)
    doomed = _left_behind(root, manifest, claims, doomed)
    wanted = set(Fingerprints(definitions, manifest.snapshot()).files())
    if info is not None:
        shown_rows = chain.from_iterable(info.kept.values())
        wanted.update(name for file in shown_rows for name in (file, digest_file(file)))
    doomed += [
        path
        for path, found in files_in(root / KEPT)
        if path.relative_to(root / KEPT).as_posix() not in wanted
        and age.of(path, found) > max(grace, UNNAMED_GRACE)
    ]
    # What no commit names comes first: on a full disk that makes room for the manifest's line about the others.
    removed, size = list[str](), 0
    for path in chain(doomed, _abandoned(root, claims, age, max(grace, STAGING_GRACE))):
        size += _remove(root, path)
        removed.append(path.relative_to(root).as_posix())
    has_room = _forget(root, manifest, found.superseded)
    for path in found.ended:
        size += _remove(root, path)
        removed.append(path.relative_to(root).as_posix())
    if objects is not None:
        gone = _still_unneeded(root, manifest, claims, found.objects)
        objects.remove(each.key for each in gone)
        size += sum(each.size_bytes for each in gone)
        removed += [each.key for each in gone]
    if not has_room:
        manifest.forget(found.superseded)
    return GcReport(tuple(removed), size, found.kept)


@dataclass
class _Unneeded:
    """Files of tables and artefacts that can go."""

    unnamed: list[Path] = field(default_factory=list)
    """No commit names them."""
    ended: list[Path] = field(default_factory=list)
    """Superseded ones, and folders of such."""
    objects: list[StoredObject] = field(default_factory=list)
    """Either, where an object store has them."""
    superseded: list[str] = field(default_factory=list)
    """All superseded files."""
    kept: int = 0
    """Superseded files that stay."""


def _on_disk(root: Path, manifest: Manifest, age: _Ages, grace: timedelta, shown: set[str]) -> _Unneeded:
    there = list(files_in(root / "tables"))
    replacing = _newest((_name(root, path), age.moment(stat)) for path, stat in there)
    known, found = manifest.files(), _Unneeded()
    for path, stat in there:
        file = path.relative_to(root).as_posix()
        state, replaced = known.get(file), _since_replaced(age, replacing, file)
        if state is None:
            if min(age.of(path, stat), replaced) > max(grace, UNNAMED_GRACE) and file not in shown:
                found.unnamed.append(path)
        elif not state.current:
            if file in shown or min(age.since(state.superseded_at), replaced) <= grace:
                found.kept += 1
            else:
                found.ended.append(path)
                found.superseded.append(file)
    for path, unneeded, named in _unneeded_artefacts(root, manifest, known, age):
        if unneeded <= (grace if named else max(grace, UNNAMED_GRACE)) or not shown.isdisjoint(named):
            found.kept += bool(named)
        else:
            (found.ended if named else found.unnamed).append(path)
            found.superseded += named
    return found


def _in_store(
    objects: Objects, manifest: Manifest, claims: Claims, age: _Ages, grace: timedelta, shown: set[str]
) -> _Unneeded:
    # Before the manifest is asked: what is committed meanwhile is none of these.
    there = [each for each in objects.bucket.listing() if each.key.startswith(STORED) and each.key != RESULTS]
    replacing = _newest((each.key, each.changed_at) for each in there)
    known, found, unnamed = manifest.files(by_key=True), _Unneeded(), dict[Path, StoredObject]()
    for each in there:
        state, file = known.get(each.key), each.key.partition("@")[0]
        replaced = _since_replaced(age, replacing, file)
        if state is None:
            unneeded = min(age.of_object(each.changed_at), replaced)
            if unneeded > max(grace, UNNAMED_GRACE) and file not in shown:
                unnamed[objects.root / file] = each
        elif not state.current:
            if file in shown or min(age.since(state.superseded_at), replaced) <= grace:
                found.kept += 1
            else:
                found.objects.append(each)
                found.superseded.append(file)
    left = _left_behind(objects.root, manifest, claims, list(unnamed))
    committed = manifest.files(by_key=True) if left else {}
    found.objects += [unnamed[path] for path in left if unnamed[path].key not in committed]
    known, kept = manifest.files(), {each.key for each in there} - {each.key for each in found.objects}
    for path in chain(
        (path for path, _ in files_in(objects.root / "tables")), globbed(objects.root, f"models/*/{DIGEST}")
    ):
        files = [_name(objects.root, each) for each, _ in files_in(path)]
        named = [state for file in files if (state := known.get(file)) is not None]
        # Of a file that was packed nothing is noted when it goes: it is in its segment.
        is_packed = not any(state.current for state in named) and kept.isdisjoint(files)
        if not (all(state.removed for state in named) or is_packed) or age.of_all(path) <= max(
            grace, UNNAMED_GRACE
        ):
            continue
        # A copy of what any machine took out of the store; what was written here, or half brought here, and is in no commit.
        (found.ended if named else found.unnamed).append(path)
    return found


def _newest(files: Iterable[tuple[str, datetime]]) -> dict[str, datetime]:
    """Folder of segments -> when the last of them was written: by then at the latest the others were replaced, if they were."""
    found: dict[str, datetime] = {}
    for file, moment in files:
        if is_segment(file):
            folder = file.rpartition("/")[0]
            found[folder] = max(moment, found.get(folder, moment))
    return found


def _since_replaced(age: _Ages, newest: Mapping[str, datetime], file: str) -> timedelta:
    """How long a segment that is not needed is surely not; of any other file this says nothing."""
    return age.since(newest[file.rpartition("/")[0]]) if is_segment(file) else timedelta.max


def _still_unneeded(
    root: Path, manifest: Manifest, claims: Claims, doomed: Sequence[StoredObject]
) -> list[StoredObject]:
    """Of objects, those that no commit has made current since, nor somebody may be about to: keys of checkpoints come again."""
    known = manifest.files(by_key=True) if doomed else {}
    return [
        each
        for each in doomed
        if ((state := known.get(each.key)) is None or not state.current)
        and (
            not each.key.startswith("models/")
            or (slot := _slot(root, root / each.key)) is None
            or claims.holder(slot) is None
        )
    ]


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _left_behind(root: Path, manifest: Manifest, claims: Claims, paths: Sequence[Path]) -> list[Path]:
    """Of files and folders that no commit names, those that no live process is about to commit."""
    if not paths or any(claims.holder_of(command) for command in COMMANDS):
        return []
    left = [path for path in paths if (slot := _slot(root, path)) is None or claims.holder(slot) is None]
    # Who let go of a claim before it was asked for has committed by now.
    known = manifest.files()
    return [
        path
        for path in left
        if not any(file.relative_to(root).as_posix() in known for file, _ in files_in(path))
    ]


def _slot(root: Path, path: Path) -> Slot | None:
    """Whose file or checkpoint lies at a path; None for one that is of no slot."""
    place = path.relative_to(root)
    try:
        return Slot("models", (place.parts[1],)) if place.parts[0] == "models" else slot_of(place.as_posix())
    except (StoreError, ValueError):
        return None


def _remove(root: Path, path: Path) -> int:
    """Remove a file or folder; the bytes that this freed."""
    size = sum(found.st_size for _, found in files_in(path))
    # Never half of a folder: what is left of one would be taken for work that was finished.
    remove_folder(path) if path.is_dir() else remove(path)
    if path.is_relative_to(root / KEPT):
        _remove_empty(path.parent, root / KEPT)
    return size


def _forget(root: Path, manifest: Manifest, files: list[str]) -> bool:
    """Mark files as removed before they are, so that after a crash the manifest never claims a file that is gone.

    False where a full disk has no room for that. Then it is done afterwards; who looks at earlier commits looks whether
    their files are there.
    """
    try:
        manifest.forget(files)
    except StoreError as error:
        if not full_disk(error, [root]):
            raise
        return False
    return True


def _abandoned(root: Path, claims: Claims, age: _Ages, grace: timedelta) -> Iterator[Path]:
    """Unfinished work that nobody has touched for long; none can take it up until the next one is asked for."""
    for folder in abandoned(root, claims):
        if age.of_all(folder) > grace:
            yield folder
    if claims.holder_of(TAKE) is None:
        yield from (path for path in copies.abandoned(root) if age.of_all(path) > grace)
    for folder in globbed(root, f"staging/finetune/*-{DIGEST}"):
        model = folder.name[: -DIGITS - 1]
        with suppress(StoreError), FileLock(folder.with_name(f"{model}.lock"), model):
            if age.of_all(folder) > grace:
                yield folder


def _shown(info: CatalogueInfo | None, manifest: Manifest) -> set[str]:
    """Files of the snapshot that the catalogue shows."""
    if info is None or info.commit > manifest.head():
        return set()
    results = [each for each in manifest.artefacts(info.commit).values() if each.kind == "metric"]
    files = {file.file for each in results for file in each.files}
    # Those that were packed later are shown as they were.
    later = manifest.changes(info.commit).packed
    for entry in manifest.snapshot(info.commit).entries:
        if entry.segment is not None:
            files.add(entry.segment)
        if entry.segment is None or entry.slot.table in later:
            files.add(entry.file)
    return files


def _remove_empty(folder: Path, top: Path) -> None:
    """Remove a folder in which nothing is any more, and those that this empties, up to `top` itself.

    Only where files were removed: another folder without any may be one that somebody is about to write into.
    """
    with suppress(OSError):
        while folder != top.parent:
            folder.rmdir()
            folder = folder.parent


def _unneeded_artefacts(
    root: Path, manifest: Manifest, known: Mapping[str, FileState], age: _Ages
) -> Iterator[tuple[Path, timedelta, list[str]]]:
    """Checkpoints and results of metrics that no commit has now, for how long, and those of their files that one had.

    What the row of a model names, or a view shows as a metric's result, is needed whatever commits say: an earlier
    version made it, or it is about to be committed. A row is written after its checkpoint.
    """
    rows = {entry.slot.keys[0]: entry for entry in manifest.snapshot(table="models").entries}
    shown = {view.path for view in metrics.views(root).values()}
    for path in chain(globbed(root, f"models/*/{DIGEST}"), globbed(root, f"{metrics.FOLDER}/*.parquet")):
        files = [file.relative_to(root).as_posix() for file, _ in files_in(path)]
        named = {file: known[file] for file in files if file in known}
        row = rows.get(path.parent.name) if path.is_dir() else None
        is_named = row is not None and _named_by(root, row) in (path, None)
        if path in shown or is_named or any(state.current for state in named.values()):
            continue
        if named:
            yield path, min(age.since(state.superseded_at) for state in named.values()), list(named)
        else:
            unchanged = age.of_all(path)
            yield path, unchanged if row is None else min(unchanged, age.of_commit(row.commit)), []


def _named_by(root: Path, row: Entry) -> Path | None:
    """The checkpoint that the row of a model names; None where that cannot be told, so that each may be the one."""
    try:
        return checkpoint_of(root, row)
    except StoreError:
        return None


def _require_checked(root: Path, origin: Origin) -> None:
    if not origin.is_checked and origin.rebuilt_at is not None:
        raise StoreError(
            f"The manifest of {name_of(root)} was rebuilt at {text(origin.rebuilt_at)}, and what it says was not compared with the "
            "files since. Run: `xlwh check --deep`, then `xlwh gc`."
        )


def _beginning(origin: Origin, stamps: Sequence[Stamp], now: datetime) -> datetime:
    """Since when the manifest knows of files: now, where its clock was wrong then."""
    known = (
        [origin.began_at, *(stamp.made_at for stamp in stamps[:1])]
        if origin.rebuilt_at is None
        else [origin.rebuilt_at]
    )
    return min((moment for moment in known if moment is not None and moment <= now), default=now)


class _Ages:
    """How old commits and files are; of files that no commit tells of, by when they were changed last.

    Where that is before the manifest began, or after now, it tells nothing of their age: the file may have been brought
    here, or the clock was wrong. It is set to now, so that the grace period counts from there.
    """

    def __init__(self, now: datetime, since: datetime, settled: Mapping[int, datetime]) -> None:
        self._now, self._since, self._settled = now, since, settled

    def since(self, moment: datetime | None) -> timedelta:
        """Time since a moment; none where it is not known."""
        return timedelta(0) if moment is None else self._now - moment

    def of_commit(self, number: int) -> timedelta:
        """Time since a commit was surely made."""
        return self.since(self._settled.get(number))

    def of(self, path: Path, found: os.stat_result | None = None) -> timedelta:
        """Age of a file, or of a folder without what is in it; none where it is gone since it was listed."""
        try:
            changed = datetime.fromtimestamp((found or path.stat()).st_mtime, UTC)
            if self._since <= changed <= self._now + TOLERANCE:
                return self._now - changed
            os.utime(path, (self._now.timestamp(),) * 2, follow_symlinks=False)
        except (FileNotFoundError, PermissionError):
            pass
        return timedelta(0)

    def moment(self, found: os.stat_result) -> datetime:
        """When a file was changed."""
        return datetime.fromtimestamp(found.st_mtime, UTC)

    def of_object(self, changed: datetime) -> timedelta:
        """Age of an object, by the clock of its store."""
        return self._now - max(changed, self._since)

    def of_all(self, folder: Path) -> timedelta:
        """Age of what was changed last in a folder."""
        return min([self.of(folder), *(self.of(path, found) for path, found in files_in(folder))])
