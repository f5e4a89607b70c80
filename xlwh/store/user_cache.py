"""Small results that are the same for every warehouse of a user, as JSON files that only this user can write.

They are a convenience: what cannot be read or written is worked out again.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from xlwh.store.files import path_beside

_MOST = 32
"""Files kept; the oldest go first."""


def folder() -> Path:
    """Where they lie: `xlwh` in `XDG_CACHE_HOME`, or in `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "xlwh"


def recall(name: str) -> Any:
    """What was remembered under a name; None where nothing was, or where somebody else could have written it."""
    try:
        path = folder() / f"{name}.json"
        with path.open("rb") as file:
            for state in (os.fstat(file.fileno()), path.parent.stat()):
                if state.st_uid != os.geteuid() or state.st_mode & 0o022:
                    return None
            return json.loads(file.read())
    except (OSError, ValueError, RuntimeError):
        return None


def remember(name: str, content: object) -> None:
    """Keep what JSON can hold under a name."""
    # RuntimeError: a user without a home.
    with suppress(OSError, RuntimeError):
        here = folder()
        here.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = path_beside(here / name)
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file, ensure_ascii=False)
            unfinished.replace(here / f"{name}.json")
        finally:
            unfinished.unlink(missing_ok=True)
        files = sorted(here.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in files[_MOST:]:
            old.unlink(missing_ok=True)
