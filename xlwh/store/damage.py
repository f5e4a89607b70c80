"""Whether a file of a warehouse has the bytes that were committed; what they mean is the matter of others."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from xlwh.digests import sha256
from xlwh.store.files import sort_of

Damage = tuple[
    Literal["missing_file", "irregular_file", "wrong_size", "wrong_digest", "unreadable_file"], str
]
"""What kind of damage a file has, and how it differs from what the manifest says."""


def damage(
    root: Path,
    file: str,
    size_bytes: int,
    digest: str | None,
    deep: bool,
    read: Callable[[Sequence[Path]], str] = sha256,
) -> Damage | None:
    """Why the file at a path in the warehouse at `root` is not the one that was committed; None where all is well.

    It has to be a regular file of this size in the warehouse. With `deep` it is read, and compared with its SHA-256 if
    that is known; `read` computes it. Nothing that is no regular file is opened.
    """
    path = root / file
    if _leads_out(root, file):
        return "irregular_file", "its path leads out of the warehouse"
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            return "irregular_file", f"it is {sort_of(found)}, and no file"
        if found.st_size != size_bytes:
            return "wrong_size", f"it has {found.st_size:,} bytes, {size_bytes:,} in the manifest"
        if deep and digest is not None and (has := read([path])) != digest:
            told = f"{has[:8]}…, {digest[:8]}… in the manifest"
            return "wrong_digest", f"its bytes are not those that were written: their SHA-256 is {told}"
    except (FileNotFoundError, NotADirectoryError):
        return "missing_file", "it is gone"
    except OSError as error:
        return "unreadable_file", error.strerror or str(error)
    return None


def _leads_out(root: Path, file: str) -> bool:
    """Whether a path that the manifest gives leads out of the warehouse, by what it says or through a linked folder.

    The owner may have linked the folder of all tables, or of one, to another disk; below it there is no reason for a
    link.
    """
    parts = file.split("/")
    if "\0" in file or not {"", ".", ".."}.isdisjoint(parts):
        return True
    folder = os.path.join(root, *parts[:2])
    for part in parts[2:-1]:
        folder = f"{folder}/{part}"
        if os.path.islink(folder):
            return True
    return False
