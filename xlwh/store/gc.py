"""Removing files that nobody needs any more, after a grace period in which earlier readers can finish."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

from xlwh.errors import StoreError
from xlwh.failures import full_disk
from xlwh.store import metrics
from xlwh.store.checkpoints import DIGITS, checkpoint_of
from xlwh.store.connect import KEPT, NAME, CatalogueInfo, read_info
from xlwh.store.files import UNFINISHED, files_in, remove, remove_folder
from xlwh.store.kept import Fingerprints
from xlwh.store.locks import FileLock
from xlwh.store.manifest import Manifest
from xlwh.store.staging import abandoned
from xlwh.store.views import Definitions

UNNAMED_GRACE = timedelta(hours=1)
"""Files that no commit names may be about to be committed: they are kept at least this long."""

STAGING_GRACE = timedelta(days=7)
"""Unfinished work is kept at least this long: it may be hours of computation."""

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


def collect(root: Path, manifest: Manifest, grace: timedelta, definitions: Definitions) -> GcReport:
    """Remove superseded files and checkpoints, files that no commit ever named, kept rows of views (of `definitions`)
    for earlier states, and abandoned staging, all older than `grace`.

    Files of the snapshot that the catalogue shows are kept, however old. Time travel to commits that need a
    removed file ends with an error that says so.
    """
    now = datetime.now(UTC)
    known = manifest.files()
    info = read_info(root / NAME)
    shown = _shown(info, manifest)
    doomed: list[Path] = []
    superseded: list[str] = []
    kept = 0
    for path, found in files_in(root / "tables"):
        file = path.relative_to(root).as_posix()
        state = known.get(file)
        if state is None:
            if now - _time(found) > max(grace, UNNAMED_GRACE):
                doomed.append(path)
        elif state.superseded_at is not None:
            if file in shown or now - state.superseded_at <= grace:
                kept += 1
            else:
                superseded.append(file)
    for place in ("", "staging/", "staging/finetune/", "models/*/"):
        for path in root.glob(f"{place}{UNFINISHED}*"):
            if now - _changed(path) > max(grace, UNNAMED_GRACE):
                doomed.append(path)
    doomed += [
        folder
        for folder, since in _superseded_models(root, manifest)
        if now - since > max(grace, UNNAMED_GRACE)
    ]
    doomed += [path for path in metrics.superseded(root) if now - _changed(path) > max(grace, UNNAMED_GRACE)]
    wanted = set(Fingerprints(definitions, manifest.snapshot()).files())
    if info is not None:
        wanted.update(file for files in info.kept.values() for file in files)
    doomed += [
        path
        for path, found in files_in(root / KEPT)
        if path.relative_to(root / KEPT).as_posix() not in wanted
        and now - _time(found) > max(grace, UNNAMED_GRACE)
    ]
    removed, size = list[str](), 0
    # What no commit names comes first: on a full disk that makes room for the manifest's line about the others.
    for path in chain(doomed, _abandoned(root, now, max(grace, STAGING_GRACE))):
        size += sum(found.st_size for _, found in files_in(path))
        # Never half of a folder: what is left of one would be taken for work that was finished.
        remove_folder(path) if path.is_dir() else remove(path)
        removed.append(path.relative_to(root).as_posix())
        if path.is_relative_to(root / KEPT):
            _remove_empty(path.parent, root / KEPT)
    has_room = _forget(root, manifest, superseded)
    for file in superseded:
        size += sum(found.st_size for _, found in files_in(root / file))
        remove(root / file)
    if not has_room:
        manifest.forget(superseded)
    return GcReport(tuple(removed + superseded), size, kept)


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


def _abandoned(root: Path, now: datetime, grace: timedelta) -> Iterator[Path]:
    """Unfinished work that nobody has touched for long; none can take it up until the next one is asked for."""
    for folder in abandoned(root):
        if now - _last_change(folder) > grace:
            yield folder
    for folder in root.glob(f"staging/finetune/*-{DIGEST}"):
        model = folder.name[: -DIGITS - 1]
        with suppress(StoreError), FileLock(folder.with_name(f"{model}.lock"), model):
            if now - _last_change(folder) > grace:
                yield folder


def _shown(info: CatalogueInfo | None, manifest: Manifest) -> set[str]:
    """Files of the snapshot that the catalogue shows."""
    if info is None or info.commit > manifest.head():
        return set()
    return {entry.file for entry in manifest.snapshot(info.commit).entries}


def _remove_empty(folder: Path, top: Path) -> None:
    """Remove a folder in which nothing is any more, and those that this empties, up to `top` itself.

    Only where files were removed: another folder without any may be one that somebody is about to write into.
    """
    with suppress(OSError):
        while folder != top.parent:
            folder.rmdir()
            folder = folder.parent


def _superseded_models(root: Path, manifest: Manifest) -> Iterator[tuple[Path, datetime]]:
    """Checkpoints made here that their model's row does not name, and since when they are not needed.

    The row is written after its checkpoint.
    """
    rows = {entry.slot.keys[0]: entry for entry in manifest.snapshot(table="models").entries}
    for folder in root.glob(f"models/*/{DIGEST}"):
        row = rows.get(folder.parent.name)
        if row is None:
            yield folder, _last_change(folder)
        elif checkpoint_of(root, row) not in (folder, None):
            yield folder, max(row.created_at, _last_change(folder))


def _changed(path: Path) -> datetime:
    """When it was changed last: now, where it is gone since it was listed."""
    try:
        return _time(path.stat())
    except FileNotFoundError:
        return datetime.now(UTC)


def _last_change(folder: Path) -> datetime:
    return max([_changed(folder), *(_time(found) for _, found in files_in(folder))])


def _time(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)
