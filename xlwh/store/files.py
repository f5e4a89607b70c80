"""Durable files: written under a temporary name, synced, then renamed."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xlwh.errors import StoreError

MANIFEST = "manifest.sqlite"
"""The file of an embedded manifest."""

PLACE = "manifest.toml"
"""The file that says where the manifest of a warehouse is, if not in it."""

RESULTS = "metrics/current.json"
"""What says of each result of a metric where it comes from, by its path in a warehouse."""

NAME = "catalog.duckdb"
"""The catalogue's file in a warehouse."""

KEPT = "kept-by-xlwh-catalogue"
"""Folder in a warehouse with the kept rows of views. DuckDB shows a path if a file is gone: this one says what to run."""

_WRITABLE = 0o222
"""Bits of a mode that let somebody write."""

UNFINISHED = ".tmp-"
"""Files and folders whose name starts with this were never made current; `xlwh gc` removes them."""


def path_beside(path: Path) -> Path:
    """A new temporary name in the folder of `path`, of a form that no reader takes for data."""
    return path.with_name(f"{UNFINISHED}{secrets.token_hex(8)}")


def is_file_of(path: Path | str, size_bytes: int) -> bool:
    """Whether there is a file of this size."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size_bytes


_SORTS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def sort_of(state: os.stat_result) -> str:
    """What something is that is no regular file, in words."""
    return _SORTS.get(stat.S_IFMT(state.st_mode), "something else")


def sync(path: Path) -> None:
    """Flush a file's or folder's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(unfinished: Path, path: Path, final: bool = False) -> None:
    """Sync a finished file, rename it to its own name, and sync the folder.

    With `final` nobody may write to it from then on. Its folder stays as it is: files in it can be added and removed.
    Its age counts from now, however long ago it was written: `gc` leaves alone what may be committed yet.
    """
    os.utime(unfinished)
    if final:
        # Some file systems keep no modes.
        with suppress(PermissionError):
            unfinished.chmod(unfinished.stat().st_mode & ~_WRITABLE)
    sync(unfinished)
    unfinished.rename(path)
    sync(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write to, which replaces `path` at the end, with its mode, and leaves nothing behind where that is not reached.

    What is no file, such as /dev/stdout, is written to itself.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path_beside(path)
    try:
        yield unfinished
        if path.exists():
            shutil.copymode(path, unfinished)
        publish(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> int:
    """Put a file in place, with its folder, so that nobody sees a part of it; a link stays one. Returns its bytes."""
    try:
        with replacing(path.resolve()) as unfinished:
            unfinished.write_bytes(content)
    except OSError as error:
        # A full disk does not say which file it was.
        error.filename = error.filename or str(path)
        raise
    return len(content)


def may_write(path: Path) -> bool:
    """Whether this process may write a file, or into a folder, by all rights that it has now."""
    # By default `os.access` answers for the user who started it, without the rights that it was given besides.
    return os.access(path, os.W_OK, effective_ids=True)


def require_writable(root: Path) -> None:
    """Refuse a warehouse in which this process may not write; `StoreError` says why it may not."""
    if not root.exists() or may_write(root):
        return
    if os.statvfs(root).f_flag & os.ST_RDONLY:
        why = "its file system may only be read"
    else:
        owner = root.stat().st_uid
        mine = owner == os.geteuid()
        why = (
            "its mode lets nobody write"
            if mine
            else f"it belongs to the user {_name(owner)}, and you are {_name(os.geteuid())}"
        )
    raise StoreError(f"Nothing can be changed in the warehouse {root}: {why}.")


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, and sync what names them."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        sync(new.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that, whenever the process is killed, it is all there or not there at all."""
    doomed = path_beside(folder)
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return  # another process was quicker
    remove(doomed)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, whoever else removes it at the same time."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    while path.is_dir():
        with suppress(FileNotFoundError):
            shutil.rmtree(path)


def files_in(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files in a folder and below it, or the one file, each as it is now; what goes meanwhile is passed over."""
    # Unlike `Path.rglob`, which fails where a folder goes before it is looked into.
    walked = [Path(place, name) for place, _, names in os.walk(path) for name in names]
    for file in walked if path.is_dir() else [path]:
        with suppress(FileNotFoundError):
            yield file, file.stat()


def globbed(folder: Path, pattern: str) -> list[Path]:
    """What `Path.glob` finds, also where folders come and go meanwhile, for which that fails."""
    while True:
        with suppress(FileNotFoundError):
            return list(folder.glob(pattern))


def size(number: int) -> str:
    """Bytes in a unit that is easy to read."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
