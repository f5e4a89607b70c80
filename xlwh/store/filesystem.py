"""The files of a warehouse as DuckDB sees them in our connections: it can read them, and do nothing else to them.

DuckDB lets a connection that may read a folder write into it too. So ours may use no folder of the disk at all, but the
addresses `xlwh:///…` (see `xlwh.store.addresses`), which this file system answers.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from fsspec import AbstractFileSystem

from xlwh.store.addresses import SCHEME
from xlwh.store.objects import STORED, behind


class ReadOnlyFile:
    """A file that DuckDB's threads read from at once: each thread has a place of its own in it."""

    _descriptor = -1

    def __init__(self, path: str) -> None:
        """Open a regular file; OSError for anything else."""
        # Without waiting for a writer, where it is a pipe.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise OSError(errno.EINVAL, "Not a regular file", path)
        self._size = found.st_size
        self._place = threading.local()

    def seek(self, offset: int) -> int:
        """Where this thread reads next, in bytes from the start."""
        self._place.offset = offset
        return offset

    def read(self, length: int = -1) -> bytes:
        """As many bytes from there, fewer at the end of the file; all that are left without a length."""
        start: int = getattr(self._place, "offset", 0)
        left = max(self._size - start, 0)
        wanted = left if length < 0 else min(length, left)
        found = os.pread(self._descriptor, wanted, start)
        if len(found) < wanted:
            # The system reads at most two gigabytes at a time.
            parts = [found]
            while len(found) and (wanted := wanted - len(found)):
                found = os.pread(self._descriptor, wanted, start + sum(map(len, parts)))
                parts.append(found)
            found = b"".join(parts)
        self._place.offset = start + len(found)
        return found

    def close(self) -> None:
        """Let go of it; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        # DuckDB lets go of its files without closing them.
        self.close()


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    raise PermissionError(errno.EROFS, "The files of a warehouse can be read and not changed")


class StoredFiles(AbstractFileSystem):  # type: ignore[misc]
    """The files in some folders of one warehouse, also by way of links as long as these stay inside."""

    protocol = (SCHEME.removesuffix("://"),)
    cachable = False

    def __init__(self, folders: Sequence[Path]) -> None:
        """`folders` of one warehouse need not exist yet."""
        super().__init__()
        self._folders = tuple(f"{os.path.realpath(folder)}{os.sep}" for folder in folders)
        self._known: dict[str, tuple[str, str | None]] = {}
        self._objects = next((found for place in folders if (found := behind(place.parent))), None)
        self._home = "" if self._objects is None else f"{os.path.realpath(self._objects.root)}{os.sep}"

    def _place(self, address: str) -> tuple[str, str | None]:
        """The path of a file, and its name in the object store that has it, if one does.

        Raises FileNotFoundError for one that is in none of the folders.
        """
        if (known := self._known.get(address)) is not None:
            return known
        path = os.path.realpath(address.removeprefix(SCHEME))
        if not path.startswith(self._folders):
            raise FileNotFoundError(errno.ENOENT, "Not a file of the warehouse", address)
        name = None if self._objects is None else path.removeprefix(self._home)
        # Stored files never change, and keep their places.
        self._known[address] = path, name if name is not None and name.startswith(STORED) else None
        return self._known[address]

    def _real(self, address: str) -> str:
        """The path of a file that is there, brought from the object store where it has to be."""
        path, name = self._place(address)
        if self._objects is not None and name is not None:
            with suppress(FileNotFoundError):
                self._objects.bring(name)
        return path

    def _stat(self, address: str) -> os.stat_result:
        try:
            return os.stat(self._place(address)[0])
        except FileNotFoundError:
            return os.stat(self._real(address))  # a copy can be gone

    def open(self, path: str, mode: str = "rb", **_: Any) -> ReadOnlyFile:
        """Open a file to read from; PermissionError for any other mode."""
        if mode != "rb":
            _refuse(self)
        return ReadOnlyFile(self._real(path))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size and type of a file."""
        found = self._stat(path)
        kind = "file" if stat.S_ISREG(found.st_mode) else "other"
        return {"name": path, "size": found.st_size, "type": kind}

    def modified(self, path: str) -> datetime:
        """When a file was written, UTC."""
        return datetime.fromtimestamp(self._stat(path).st_mtime, UTC)

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is such a file."""
        return self.isfile(path)

    def isfile(self, path: str) -> bool:
        """Whether there is such a file."""
        try:
            return os.path.isfile(self._real(path))
        except FileNotFoundError:
            return False

    def isdir(self, path: str) -> bool:
        """Never: files are named one by one."""
        return False

    def glob(self, path: str, maxdepth: int | None = None, **_: Any) -> list[str]:
        """The file of exactly this name, if there is one: no character stands for others."""
        with suppress(FileNotFoundError):
            if self._place(path)[1] is not None:
                # Asked for every file of a table, before any is read: whether it is there, its opening tells.
                return [path]
        return [path] if self.isfile(path) else []

    mkdir = makedirs = rmdir = rm = rm_file = mv = cp_file = copy = touch = pipe_file = put_file = _refuse
