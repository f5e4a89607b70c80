"""Where DuckDB puts what does not fit into memory: local temporary space, with a limit, never the warehouse.

Each process has a folder of its own there, which goes when it ends; that of a killed one is removed by the next.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from xlwh.errors import StoreError

FOLDER_VARIABLE = "XLWH_TEMP"
"""Environment variable that names another folder than the system's for temporary files."""

LIMIT_VARIABLE = "XLWH_TEMP_LIMIT"
"""Environment variable with the most that a connection may put there, as DuckDB writes it: 20GB."""

_PREFIX = "xlwh-temp-"
_LOCK = "lock"
_NEW_S = 60.0
"""A folder without a lock may be about to get one for this long."""


def folder() -> Path:
    """This process's folder of temporary files. Raises `StoreError` where none can be made."""
    return _folder(os.environ.get(FOLDER_VARIABLE) or tempfile.gettempdir(), os.getpid())


def limit(place: Path) -> str:
    """The most that a connection may put into temporary files: by default half of what is free at `place`.

    Raises `StoreError` for a variable that is no size.
    """
    asked = os.environ.get(LIMIT_VARIABLE)
    if asked and not re.fullmatch(r"\d+(\.\d+)? ?([KMGT]i?)?B", asked, re.IGNORECASE):
        raise StoreError(f"{LIMIT_VARIABLE} is `{asked}`, which is no size; write it like 20GB.")
    return asked or f"{shutil.disk_usage(place).free // 2 // 10**6}MB"


@cache
def _folder(base: str, process: int) -> Path:
    # By process: a forked one must not use, or remove, the folder of its parent.
    try:
        _sweep(Path(base))
        made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        descriptor = os.open(made / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Held until the process ends, in whatever way.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise StoreError(
            f"No temporary folder can be made in {base}: {error}. Set {FOLDER_VARIABLE} to one with room."
        ) from error
    atexit.register(_remove, made, process)
    return made


def _remove(made: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(made, ignore_errors=True)


def _sweep(base: Path) -> None:
    """Remove the folders of processes of this user that are gone."""
    for path in base.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if path.is_symlink() or path.stat().st_uid != os.geteuid():
                continue
            if not (path / _LOCK).is_file():
                if time.time() - path.stat().st_mtime > _NEW_S:
                    shutil.rmtree(path, ignore_errors=True)
                continue
            descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)
