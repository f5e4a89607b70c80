"""File locks between processes of one machine: `flock`, so that a killed holder never leaves one behind."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from xlwh.errors import StoreError


class FileLock:
    """An exclusive lock on a small file that holds its holder's process id and is never removed.

    With `wait_s` 0 a lock that is held raises `StoreError` at once, naming the holder; else after `wait_s` seconds.
    """

    def __init__(self, path: Path, what: str, wait_s: float = 0.0) -> None:
        self.path = path
        self.what = what
        self.wait_s = wait_s
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise `StoreError` naming the process that holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + self.wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                    os.close(descriptor)
                    raise StoreError(
                        f"{self.what} is being worked on by process {holder}; wait for it or stop it "
                        f"(lock: {self.path})."
                    ) from None
                time.sleep(0.01)
        # On a full disk the lock holds without the name of its holder.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; does nothing if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
