"""When the copies of files that are in an object store were last used, which decides which of them go first.

Access times do not tell it: many disks keep none, or one a day. Each process names a file once an hour, in a file of the
hour; an hour that is long past is forgotten, and whatever was used only then counts by when its copy was made.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from xlwh.texts import whole_number

FOLDER = "uses"
"""Folder beside the copies."""
_HOUR_S = 3600
_REMEMBERED = 24 * 60
"""Hours."""


class Uses:
    """Of the copies in one folder, by all processes of this machine."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER
        self._lock = threading.Lock()
        self._hour, self._noted = 0, set[str]()

    def note(self, files: Iterable[str]) -> None:
        """Files, by their paths in the folder, are used now."""
        hour = int(time.time()) // _HOUR_S
        with self._lock:
            if hour != self._hour:
                self._hour, self._noted = hour, set()
            new = [file for file in dict.fromkeys(files) if file not in self._noted]
            self._noted.update(new)
        if not new:
            return
        # A full disk, say, is no reason not to read.
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(self._folder / str(hour), flags, 0o644)
            try:
                # At once, so that the lines of processes do not mix.
                os.write(descriptor, "".join(f"{file}\n" for file in new).encode())
            finally:
                os.close(descriptor)

    def last(self) -> dict[str, float]:
        """The end of the hour in which each file was last used, in seconds since 1970, and not after now."""
        now, found = time.time(), dict[str, float]()
        named = [whole_number(path.name) for path in self._folder.glob("*")]
        hours = sorted(hour for hour in named if hour is not None)
        for hour in hours:
            path = self._folder / str(hour)
            if hour < now // _HOUR_S - _REMEMBERED:
                path.unlink(missing_ok=True)
                continue
            with suppress(OSError):
                used = min(now, float((hour + 1) * _HOUR_S))
                found |= dict.fromkeys(path.read_text("utf-8", "replace").splitlines(), used)
        return found
