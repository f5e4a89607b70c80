"""Verified copies of another warehouse's files, which wait in `staging/take/` until all that is taken is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xlwh.digests import sha256
from xlwh.errors import StoreError
from xlwh.store.files import UNFINISHED, make_folder, path_beside, publish, remove
from xlwh.store.foreign import Foreign, RefusedError
from xlwh.store.identity import printable
from xlwh.store.locks import FileLock

FOLDER = "staging/take"
_LOCK = "lock"

Progress = Callable[[int, int], None]
"""Called with the bytes that were copied and those to copy."""


class Copies:
    """The copies in one warehouse, held by one process at a time: use as a context manager.

    Those that a run before this one left are taken up where their bytes are those that are wanted.
    """

    def __init__(self, root: Path, progress: Progress | None = None) -> None:
        self.folder = root / FOLDER
        self.total = 0
        """Bytes that are to be copied."""
        self._done = 0
        self._progress = progress or (lambda done, total: None)
        self._lock = FileLock(self.folder / _LOCK, "Taking from another warehouse")

    def __enter__(self) -> Copies:
        """Take the lock and sweep what is unfinished; `StoreError` names the process that holds it."""
        self._lock.acquire()
        for left in self.folder.rglob(f"{UNFINISHED}*"):
            remove(left)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def size_bytes(self) -> int:
        """Of all that is there."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def fetch(
        self, there: Foreign, file: str, size_bytes: int, digest: str | None, name: str
    ) -> tuple[Path, str]:
        """A copy of a file, as `name` in the folder, and its digest; RefusedError where it is not what these say."""
        copy = self.folder / name
        if digest is not None and copy.is_file() and sha256([copy]) == digest:
            self._add(size_bytes)
            return copy, digest
        make_folder(copy.parent)
        unfinished = path_beside(copy)
        try:
            found = there.copy(file, unfinished, size_bytes, self._add, digest)
            if digest is not None and found != digest:
                raise RefusedError("its file has other bytes than were committed there")
            publish(unfinished, copy)
        finally:
            unfinished.unlink(missing_ok=True)
        return copy, found

    def _add(self, number: int) -> None:
        self._done += number
        self._progress(self._done, max(self._done, self.total))

    def clear(self) -> None:
        """Remove all that is there."""
        for left in self.folder.iterdir():
            if left.name != _LOCK:
                remove(left)


def abandoned(root: Path) -> Iterator[Path]:
    """Copies that no process is working with; none begins to until the next one is asked for."""
    folder = root / FOLDER
    if folder.is_dir():
        with suppress(StoreError), FileLock(folder / _LOCK, FOLDER):
            yield from (path for path in folder.iterdir() if path.name != _LOCK)


@contextmanager
def naming(file: str) -> Iterator[None]:
    """Say in a refusal which of several files it is about."""
    try:
        yield
    except RefusedError as error:
        raise RefusedError(f"{printable(file)}: {error}") from None
