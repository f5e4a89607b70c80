"""Hashes of files by content: computed once, and again as soon as the bytes may be other ones.

A file is known by path, device, inode, size, and the times of its last modification and of its last change. Programs
can set a file's modification time, but not the time of its last change (of content, name or times), which the kernel
keeps. That clock ticks every few milliseconds: something is remembered only of files that had rested for SETTLED_S when
reading began, and that were the same before and after. So a file with other bytes never has a remembered result.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

from xlwh.mounts import local_cache

SETTLED_S = 2.0
"""A file that was changed less than this before it was read could be changed again without another time stamp."""

State = tuple[str, int, int, int, int, int]
T = TypeVar("T")


class HashCache:
    """SHA-256 of files, remembered in a small SQLite file, and of that within this process."""

    def __init__(self, path: Path, keeps: bool = True) -> None:
        """`keeps`: whether what is computed is written down; it is known to this object in any case."""
        self._path, self._keeps = path, keeps
        self._known: dict[str, str] | None = None

    @classmethod
    @cache
    def of(cls, root: Path | str, keeps: bool = True) -> HashCache:
        """What this machine knows of the warehouse at `root`: one per process, so that its file is read once."""
        return cls(local_cache(Path(root)) / "hashes.sqlite", keeps)

    def digest(self, files: Sequence[Path], named: bool = False) -> str:
        """SHA-256 over the files' bytes, one after the other; `named` puts each file's name and size before its bytes.

        Modification times are no part of it. OSError where a file cannot be read.
        """
        began = time.time_ns()
        states = [_state(file) for file in files]
        key = hashlib.sha256(json.dumps([named, states]).encode()).hexdigest()
        if self._known is None:
            self._known = dict(self._written("select key, sha256 from digests"))
        if key not in self._known:
            # Another process may have read the same files since.
            written = self._written("select key, sha256 from digests where key = ?", key)
            if not written:
                written = [(key, sha256(files, named))]
                if not _rested(states, began) or states != [_state(file) for file in files]:
                    return written[0][1]
                if self._keeps:
                    self._write(written)
            self._known.update(written)
        return self._known[key]

    def _written(self, query: str, *values: str) -> list[tuple[str, str]]:
        """What the file says; nothing where there is none, or none that can be read: then hashes are computed."""
        if not self._path.is_file():
            return []
        try:
            with closing(
                sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)
            ) as connection:
                return [(str(key), str(digest)) for key, digest in connection.execute(query, values)]
        except sqlite3.Error:
            return []

    def _write(self, digests: list[tuple[str, str]]) -> None:
        """Note them in the file, where that can be: nothing depends on it but the time that hashing takes."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
                connection.execute("create table if not exists digests (key text primary key, sha256 text)")
                connection.executemany("insert or replace into digests values (?, ?)", digests)
        except sqlite3.OperationalError:
            # A full disk, or one that may only be read.
            return
        except sqlite3.DatabaseError:
            # No database, or a damaged one.
            self._path.unlink(missing_ok=True)
        except OSError:
            return


class FileMemo(Generic[T]):
    """What was read off single files, remembered within this process: the last `size` results."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: dict[Hashable, tuple[T]] = {}

    def get(self, file: Path, read: Callable[[], T], part: Hashable = None) -> T:
        """The result of `read` for a file, or for a `part` of it. OSError where the file cannot be read."""
        began = time.time_ns()
        state = _state(file)
        known = self._known.get((state, part))
        if known is not None:
            return known[0]
        result = read()
        if _rested([state], began) and state == _state(file):
            self._known[state, part] = (result,)
            if len(self._known) > self._size:
                self._known.pop(next(iter(self._known)), None)
        return result


def sha256(files: Iterable[Path], named: bool = False) -> str:
    """SHA-256 over the files' bytes, as `HashCache.digest`, always computed anew."""
    total = hashlib.sha256()
    for file in files:
        if named:
            # With its size: else bytes could move from one file to the next without another hash.
            total.update(file.name.encode() + b"\0" + str(file.stat().st_size).encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                total.update(block)
    return total.hexdigest()


def _state(file: Path) -> State:
    # Of the resolved file: snapshots of the hub cache are links into its blobs.
    status = file.stat()
    return (
        str(file.resolve()),
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _rested(states: Iterable[State], began: int) -> bool:
    return all(changed < began - SETTLED_S * 1e9 for *_, changed in states)
