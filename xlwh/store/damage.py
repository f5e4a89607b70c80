"""Whether a file of a warehouse has the bytes that were committed; what they mean is the matter of others."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from xlwh.digests import sha256
from xlwh.store.files import sort_of
from xlwh.store.objects import stored

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
    that is known; `read` computes it. Nothing that is no regular file is opened. Of a warehouse in an object store it is
    the object that has to have the size; `deep` looks at the copy of it here, which is made where there is none.
    """
    if leads_out(root, file):
        return "irregular_file", "its path leads out of the warehouse"
    if (objects := stored(root, file)) is None:
        return _damage(root / file, size_bytes, digest, deep, read)
    if not deep:
        return _wrong_size(objects.size_of(file, digest), size_bytes)
    for again in (False, True):
        # A copy that was damaged here is no fault of what is stored.
        try:
            found = _damage(objects.bring(file, digest, again), size_bytes, digest, True, read)
        except FileNotFoundError:
            return GONE
        if found is None:
            break
    return found


GONE: Damage = ("missing_file", "it is gone")


def _wrong_size(has: int | None, size_bytes: int) -> Damage | None:
    if has is None:
        return GONE
    if has != size_bytes:
        return "wrong_size", f"it has {has:,} bytes, {size_bytes:,} in the manifest"
    return None


def _damage(
    path: Path, size_bytes: int, digest: str | None, deep: bool, read: Callable[[Sequence[Path]], str]
) -> Damage | None:
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            return "irregular_file", f"it is {sort_of(found)}, and no file"
        if (wrong := _wrong_size(found.st_size, size_bytes)) is not None:
            return wrong
        if deep and digest is not None and (has := read([path])) != digest:
            told = f"{has[:8]}…, {digest[:8]}… in the manifest"
            return "wrong_digest", f"its bytes are not those that were written: their SHA-256 is {told}"
    except (FileNotFoundError, NotADirectoryError):
        return GONE
    except OSError as error:
        return "unreadable_file", error.strerror or str(error)
    return None


def leads_out(root: Path, file: str) -> bool:
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
