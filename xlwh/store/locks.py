"""File locks between processes of one machine: `flock`, so that a killed holder never leaves one behind."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from xlwh.errors import HeldError
from xlwh.store.host import host_name

_LONGEST = 400
"""Bytes of a holder's name."""
_ASKED_S = 0.05
"""A lock that somebody merely asks after is free again by then."""


def this_process() -> str:
    """This process, as others are told of it."""
    return f"process {os.getpid()} on host {host_name()}"


def holder_of(path: Path) -> str | None:
    """Who holds the lock at a path; None where nobody does, or there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Shared: two that ask at once are not in each other's way.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _told(descriptor)
    finally:
        os.close(descriptor)
    return None


def _told(descriptor: int) -> str:
    return os.pread(descriptor, _LONGEST, 0).decode(errors="replace").strip() or "an unknown process"


class FileLock:
    """An exclusive lock on a small file that names its holder and is never removed.

    A lock that is held raises `HeldError` naming the holder: at once with `wait_s` 0, else after that many seconds.
    """

    def __init__(self, path: Path, what: str, wait_s: float = 0.0) -> None:
        self.path = path
        self.what = what
        self.wait_s = wait_s
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise `HeldError` naming the process that holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + max(self.wait_s, _ASKED_S)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = _told(descriptor)
                    os.close(descriptor)
                    raise HeldError(
                        f"{self.what} is being worked on by {holder}; wait for it or stop it (lock: {self.path}).",
                        holder,
                    ) from None
                time.sleep(0.01)
        # On a full disk the lock holds without the name of its holder.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{this_process()}, since {datetime.now(UTC):%F %T} UTC\n".encode(), 0)
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
