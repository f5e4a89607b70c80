"""Files that a check of all bytes found damaged, and that are to be made again though they are there in their size.

`repair` marks them, and no planner of any process takes one for up to date until another file is in its place. Names of files
are never used twice, so a mark that is left over does no harm, and one that is lost is made anew by the next `repair`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from xlwh.jsons import parsed, typed
from xlwh.store.files import remove, write_whole

FILE = "staging/damaged.json"
"""A JSON list of files, as paths relative to the warehouse."""

State = tuple[int, int, int] | None


def state(root: Path) -> State:
    """What another list has another of; None where there is none."""
    try:
        found = (root / FILE).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def marked(root: Path) -> frozenset[str]:
    """The files that are marked; none where the list cannot be read."""
    try:
        return frozenset(typed(list[str], parsed((root / FILE).read_text(encoding="utf-8"))))
    except (OSError, ValueError):
        return frozenset()


def mark(root: Path, damaged: Collection[str], sound: Collection[str] = ()) -> None:
    """Mark files, and unmark others; what was marked besides stays so."""
    before = marked(root)
    after = before.difference(sound).union(damaged)
    if after == before:
        return
    if after:
        write_whole(root / FILE, (json.dumps(sorted(after), indent=1) + "\n").encode())
    else:
        remove(root / FILE)
