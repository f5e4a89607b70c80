"""Removing files that nobody needs any more, after a grace period in which earlier readers can finish."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

from xlwh.errors import StoreError
from xlwh.store import copies, metrics
from xlwh.store.checkpoints import DIGITS, checkpoint_of
from xlwh.store.connect import KEPT, NAME, CatalogueInfo, read_info
from xlwh.store.files import UNFINISHED, files_in, remove, remove_folder
from xlwh.store.kept import Fingerprints, digest_file
from xlwh.store.locks import FileLock
from xlwh.store.manifest import FileState, Manifest
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
                doomed.append(path)
                superseded.append(file)
    for path, since, named in _unneeded_artefacts(root, manifest, known):
        if now - since <= (grace if named else max(grace, UNNAMED_GRACE)) or not shown.isdisjoint(named):
            kept += bool(named)
        else:
            doomed.append(path)
            superseded += named
    for place in ("", "staging/", "staging/finetune/", "models/*/"):
        for path in root.glob(f"{place}{UNFINISHED}*"):
            if now - _changed(path) > max(grace, UNNAMED_GRACE):
                doomed.append(path)
    wanted = set(Fingerprints(definitions, manifest.snapshot()).files())
    if info is not None:
        for files in info.kept.values():
            wanted.update(name for file in files for name in (file, digest_file(file)))
    doomed += [
        path
        for path, found in files_in(root / KEPT)
        if path.relative_to(root / KEPT).as_posix() not in wanted
        and now - _time(found) > max(grace, UNNAMED_GRACE)
    ]
    # First the manifest: after a crash in between it never claims a file that is gone.
    manifest.forget(superseded)
    removed, size = list[str](), 0
    for path in chain(doomed, _abandoned(root, now, max(grace, STAGING_GRACE))):
        size += sum(found.st_size for _, found in files_in(path))
        # Never half of a folder: what is left of one would be taken for work that was finished.
        remove_folder(path) if path.is_dir() else remove(path)
        removed.append(path.relative_to(root).as_posix())
        if path.is_relative_to(root / KEPT):
            _remove_empty(path.parent, root / KEPT)
    return GcReport(tuple(removed), size, kept)


def _abandoned(root: Path, now: datetime, grace: timedelta) -> Iterator[Path]:
    """Unfinished work that nobody has touched for long; none can take it up until the next one is asked for."""
    for folder in abandoned(root):
        if now - _last_change(folder) > grace:
            yield folder
    yield from (path for path in copies.abandoned(root) if now - _last_change(path) > grace)
    for folder in root.glob(f"staging/finetune/*-{DIGEST}"):
        model = folder.name[: -DIGITS - 1]
        with suppress(StoreError), FileLock(folder.with_name(f"{model}.lock"), model):
            if now - _last_change(folder) > grace:
                yield folder


def _shown(info: CatalogueInfo | None, manifest: Manifest) -> set[str]:
    """Files of the snapshot that the catalogue shows."""
    if info is None or info.commit > manifest.head():
        return set()
    results = [each for each in manifest.artefacts(info.commit).values() if each.kind == "metric"]
    files = {file.file for each in results for file in each.files}
    return files | {entry.file for entry in manifest.snapshot(info.commit).entries}


def _remove_empty(folder: Path, top: Path) -> None:
    """Remove a folder in which nothing is any more, and those that this empties, up to `top` itself.

    Only where files were removed: another folder without any may be one that somebody is about to write into.
    """
    with suppress(OSError):
        while folder != top.parent:
            folder.rmdir()
            folder = folder.parent


def _unneeded_artefacts(
    root: Path, manifest: Manifest, known: Mapping[str, FileState]
) -> Iterator[tuple[Path, datetime, list[str]]]:
    """Checkpoints and results of metrics that no commit has now, since when, and those of their files that one had.

    What the row of a model names, or a view shows as a metric's result, is needed whatever commits say: an earlier
    version made it, or it is about to be committed. A row is written after its checkpoint.
    """
    rows = {entry.slot.keys[0]: entry for entry in manifest.snapshot(table="models").entries}
    shown = {view.path for view in metrics.views(root).values()}
    for path in chain(root.glob(f"models/*/{DIGEST}"), root.glob(f"{metrics.FOLDER}/*.parquet")):
        files = [file.relative_to(root).as_posix() for file, _ in files_in(path)]
        named = {file: known[file] for file in files if file in known}
        ended = [state.superseded_at for state in named.values() if state.superseded_at is not None]
        row = rows.get(path.parent.name) if path.is_dir() else None
        is_named = row is not None and checkpoint_of(root, row) in (path, None)
        if path in shown or is_named or len(ended) < len(named):
            continue
        if ended:
            yield path, max(ended), list(named)
        else:
            since = _last_change(path)
            yield path, since if row is None else max(since, row.created_at), []


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
