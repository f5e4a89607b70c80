"""The files of a warehouse that are in an object store, and copies of them in the folder that this machine has for it.

A file is put there before the commit that names it, once and never changed: a put fails where there is something of that
name. Its key is its path in the warehouse; of checkpoints and SQL, whose paths are used again, with the beginning of its
digest. It is read by way of a whole copy in the folder, at the same path, so that a second reading is as fast as on a
warehouse of the disk. Copies take at most XLWH_COPIES_GB (default: 50); those that were not read for longest go first.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from xlwh.digests import sha256
from xlwh.errors import HeldError, StoreError
from xlwh.failures import full_disk
from xlwh.store.bucket import Bucket, TakenError
from xlwh.store.files import (
    KEPT,
    NAME,
    PLACE,
    UNFINISHED,
    files_in,
    is_file_of,
    make_folder,
    path_beside,
    publish,
    remove,
    write_whole,
)
from xlwh.store.locks import FileLock
from xlwh.store.roots import LOCAL, SOURCE, folder_of, is_url, source_of, url_of
from xlwh.store.uses import Uses
from xlwh.texts import parsed_toml

COPIES = "XLWH_COPIES_GB"
"""Variable: how many gigabytes the copies of a warehouse may take on this machine."""
DEFAULT_COPIES_GB = 50.0
RECENT_S = 3600.0
"""Copies that were made or read since are not removed, whatever they take: somebody may be reading them."""
AT_ONCE = 8
"""Files that are on their way at a time."""
LISTED_S = 60.0
"""How long a list of what is in the store is believed."""
_NAMED_AGAIN = ("models/", "sql/")
"""Where paths are used again."""
_OWN = ("metrics/", "sql/")
"""Small files that no row names."""
STORED = ("tables/", "metrics/", *_NAMED_AGAIN)
"""Folders of a warehouse whose files are in the store."""


_HEAD = """\
# The object store whose files this folder has copies of. Written by xlwh; everything here but unfinished work (staging/)
# can be deleted.
"""


def root_of(where: Path | str) -> Path:
    """The folder of a warehouse that is named by its path, or its URL: then with what the store says of its manifest."""
    if not is_url(where):
        return Path(where).resolve()
    url = url_of(where)
    folder = folder_of(url)
    try:
        make_folder(folder)
        named = source_of(folder)
        if named is None:
            write_whole(folder / SOURCE, _source(url))
        elif named != url:
            raise StoreError(f"{folder / SOURCE} is to be of {url}, and says {named}. Delete that folder.")
        objects = behind(folder)
        assert objects is not None
        objects.bring_place()
        _forget_former(folder, url)
    except OSError as error:
        raise StoreError(
            f"Nothing of {url} can be kept in {folder}: {error.strerror or error}. Choose another folder with {LOCAL}."
        ) from error
    return folder


def _source(url: str, **more: str) -> bytes:
    return (
        _HEAD + "".join(f"{name} = {json.dumps(value)}\n" for name, value in {"url": url, **more}.items())
    ).encode()


def _forget_former(folder: Path, url: str) -> None:
    """Remove what was made here of a manifest that had this URL before: its catalogue, and kept rows of its views."""
    try:
        identity = parsed_toml((folder / PLACE).read_text(encoding="utf-8")).get("identity")
    except (FileNotFoundError, ValueError, RecursionError):
        return
    noted = parsed_toml((folder / SOURCE).read_text(encoding="utf-8")).get("identity")
    if isinstance(identity, str) and identity != noted:
        for name in (NAME, KEPT):
            remove(folder / name)
        write_whole(folder / SOURCE, _source(url, identity=identity))


def behind(root: Path | str) -> Objects | None:
    """The object store that has the files of a warehouse with this folder; None where the folder has them."""
    path = f"{root}/{SOURCE}"
    try:
        found = os.stat(path)
    except OSError:
        return None
    return _objects(str(root), found.st_mtime_ns, os.getpid())


@lru_cache(64)
def _objects(root: str, _changed: int, _process: int) -> Objects | None:
    url = source_of(Path(root))
    return None if url is None else Objects(Path(root), url)


def at_hand(root: Path, file: str) -> Path:
    """Where a stored file lies that is about to be read, brought from the object store where it is there only.

    A file that is nowhere has its path all the same. `StoreError` where the store does not answer.
    """
    if (objects := stored(root, file)) is not None:
        with suppress(FileNotFoundError):
            objects.bring(file)
    return root / file


def all_at_hand(root: Path, files: Iterable[str]) -> list[Path]:
    """The same of many, several at a time."""
    named = list(files)
    if (objects := behind(root)) is not None:
        objects.bring_all(named)
    return [root / file for file in named]


def stored(root: Path, file: str) -> Objects | None:
    """The object store that has a file of a warehouse, by its path there; None for one that is in the folder alone."""
    return behind(root) if file.startswith(STORED) else None


def is_there(root: Path | str, file: str, size_bytes: int) -> bool:
    """Whether there is a stored file of this size where all who read it look: in the object store, or else in the folder."""
    objects = stored(Path(root), file)
    if objects is None:
        return is_file_of(f"{root}/{file}", size_bytes)
    # A copy here of what is gone there serves no other machine.
    if objects.size_of(file) != size_bytes:
        return False
    if (objects.root / file).is_file() and not is_file_of(objects.root / file, size_bytes):
        # A copy that was cut short is no copy. It is replaced: another process may have just made a whole one of it, and be
        # about to read that.
        try:
            objects.bring(file, again=True)
        except FileNotFoundError:
            return False
    return True


def is_gone(root: Path, file: str, size_bytes: int) -> bool:
    """Whether a stored file of this size is neither here, in whatever state, nor in the object store."""
    return not (root / file).is_file() and not is_there(root, file, size_bytes)


def key_of(file: str, digest: str | None) -> str:
    """The key of a file, by its path in the warehouse and its digest."""
    return f"{file}@{(digest or '')[:16]}" if file.startswith(_NAMED_AGAIN) else file


class Objects:
    """The files of one warehouse in its object store."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url, self.bucket = root, url, Bucket(url)
        self._lock = threading.Lock()
        self._listed: dict[str, tuple[float, dict[str, int]]] = {}
        """Folder of keys -> when it was listed, and the sizes that were found."""
        self._wanted: dict[str, tuple[threading.Lock, int]] = {}
        """File -> the lock of the threads that want a copy of it, and how many these are."""
        self._uses = Uses(root)
        self._brought: int | None = None
        """Bytes since room was last made; None before."""

    # What is there.

    def size_of(self, file: str, digest: str | None = None) -> int | None:
        """Bytes of a file in the store; None where there is none."""
        key = key_of(file, digest)
        sizes = self._sizes("/".join(key.split("/")[:2]))
        if key not in sizes and (found := self.bucket.size_of(key)) is not None:
            # It came since the folder was listed.
            sizes[key] = found
        return sizes.get(key)

    def _sizes(self, folder: str) -> dict[str, int]:
        with self._lock:
            when, sizes = self._listed.get(folder, (-LISTED_S, {}))
            if time.monotonic() - when >= LISTED_S:
                sizes = {each.key: each.size_bytes for each in self.bucket.listing(folder)}
                self._listed[folder] = time.monotonic(), sizes
            return sizes

    def forget_listing(self) -> None:
        """Ask the store again for what is in it."""
        with self._lock:
            self._listed.clear()

    # From here to there.

    def send(self, files: Iterable[tuple[str, int, str | None]]) -> None:
        """Have files in the store, each as (path in the warehouse, bytes, SHA-256). Those that are there already stay.

        `StoreError` where one is there with other bytes, or is neither there nor here.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda each: self._send(*each), files))

    def _send(self, file: str, size_bytes: int, digest: str | None) -> None:
        key, path = key_of(file, digest), self.root / file
        if not path.is_file():
            if self.size_of(file, digest) == size_bytes:
                return
            raise StoreError(f"{file} is neither in {self.root} nor in {self.url}. Run the command again.")
        try:
            self.bucket.create(key, path, digest)
        except TakenError:
            # By a request of ours that was answered to nobody, or by another process with the same file.
            with self._looked_at(key) as there:
                if sha256([there]) != (sha256([path]) if digest is None else digest):
                    raise StoreError(
                        f"{self.url}/{key} is there already, with other bytes than {path}. Nothing was committed."
                    ) from None
            if key.startswith(_OWN):
                # As its newest version: who has nothing but the objects goes by their times.
                self.bucket.put(key, path.read_bytes(), digest)

    def remove(self, keys: Iterable[str]) -> None:
        """Take objects out of the store, and the copies of them out of the folder, as far as they are there."""
        named = list(keys)
        self.bucket.remove(named)
        self.forget_listing()
        for key in named:
            if not key.startswith(_NAMED_AGAIN):
                (self.root / key).unlink(missing_ok=True)

    # From there to here.

    def bring(self, file: str, digest: str | None = None, again: bool = False) -> Path:
        """The copy of a file, made where there is none, or `again`. FileNotFoundError where the store has none."""
        path = self.root / file
        if again or not path.is_file():
            with self._one_at_a_time(file):
                if again or not path.is_file():
                    self._bring(file, digest, path)
        self._uses.note([file])
        return path

    @contextmanager
    def _one_at_a_time(self, file: str) -> Iterator[None]:
        """Let the threads of this process that want one file wait for the first of them."""
        with self._lock:
            lock, wanted = self._wanted.pop(file, (threading.Lock(), 0))
            self._wanted[file] = lock, wanted + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, wanted = self._wanted.pop(file)
                if wanted > 1:
                    self._wanted[file] = lock, wanted - 1

    def _bring(self, file: str, digest: str | None, path: Path) -> None:
        self._make_room()
        try:
            self._copy(key_of(file, digest), path)
        except OSError as error:
            if full_disk(error, [self.root]):
                raise StoreError(
                    f"{file} cannot be copied from {self.url}: no space is left at {self.root}. Let copies take less there "
                    f"({COPIES}), or have the folder on another disk (XLWH_LOCAL)."
                ) from error
            raise
        with self._lock:
            self._brought = (self._brought or 0) + path.stat().st_size

    def bring_all(self, files: Iterable[str]) -> None:
        """The copies of files; one that the store has not is left out, and whoever reads it says so."""
        named = list(files)
        self._uses.note(named)

        def bring(file: str) -> None:
            with suppress(FileNotFoundError):
                self.bring(file)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(bring, (file for file in named if not (self.root / file).exists())))

    def bring_folder(self, folder: str) -> None:
        """The copies of all below a folder of checkpoints, as they were put there last."""
        newest = sorted(self.bucket.listing(folder), key=lambda each: each.changed_at)
        for file, digits in dict(each.key.split("@", 1) for each in newest if "@" in each.key).items():
            self.bring(file, digits, again=True)

    def _copy(self, key: str, path: Path) -> None:
        make_folder(path.parent)
        unfinished = path_beside(path)
        try:
            self.bucket.download(key, unfinished)
            publish(unfinished, path, final=True)
        finally:
            unfinished.unlink(missing_ok=True)

    @contextmanager
    def _looked_at(self, key: str) -> Iterator[Path]:
        """A copy of an object for as long as it is looked at."""
        path = path_beside(self.root / "copy")
        try:
            self.bucket.download(key, path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def bring_place(self) -> None:
        """Have the file here that says where the manifest is, as the store has it; none where it has none."""
        content, path = self.bucket.read(PLACE), self.root / PLACE
        if content is None:
            path.unlink(missing_ok=True)
        elif not path.is_file() or path.read_bytes() != content:
            write_whole(path, content)

    def bring_own(self, current: Iterable[tuple[str, int, str]]) -> None:
        """Have the SQL and the results of metrics here that are current, each as (path, bytes, SHA-256), and no other SQL.

        What is said of the results is left to `xlwh.store.metrics`.
        """
        wanted = {file: (size_bytes, digest) for file, size_bytes, digest in current}
        for file, (size_bytes, digest) in wanted.items():
            path = self.root / file
            if not is_file_of(path, size_bytes) or sha256([path]) != digest:
                try:
                    self.bring(file, digest, again=True)
                except FileNotFoundError:
                    # As of one that is gone from a folder: `check` says so, and nothing else is read in its place.
                    remove(path)
        others = [path for path in (self.root / "sql").glob("*.sql") if f"sql/{path.name}" not in wanted]
        if others:
            # What another process is about to commit stays: it removes the others itself.
            with suppress(HeldError), self.own_sql():
                for path in others:
                    path.unlink(missing_ok=True)

    def own_sql(self, wait_s: float = 0.0) -> FileLock:
        """Held by who changes the SQL of one's own here. `HeldError` where another process does, for longer than `wait_s`."""
        return FileLock(self.root / "sql.lock", f"The SQL of {self.root}", wait_s)

    # Room.

    def _make_room(self) -> None:
        """Remove copies until they take no more than they may; looked at again when a tenth of that was brought."""
        limit = _limit()
        with self._lock:
            if self._brought is not None and self._brought < limit / 10:
                return
            self._brought = 0
        self.trim(limit)

    def trim(self, limit: float) -> int:
        """Remove copies of what is in the store until all take at most `limit` bytes; the bytes that were removed."""
        uses = self._uses.last()

        def used_at(path: Path, state: os.stat_result) -> float:
            named = uses.get(path.relative_to(self.root).as_posix(), 0.0)
            return max(state.st_atime, state.st_mtime, named)

        found = sorted(
            (used_at(path, state), state.st_size, path)
            for folder in ("tables", "models")
            for path, state in files_in(self.root / folder)
            if not path.name.startswith(UNFINISHED)
        )
        total, removed = sum(taken for _, taken, _ in found), 0
        for used, taken, path in found:
            if total - removed <= limit or used > time.time() - RECENT_S:
                break
            file = path.relative_to(self.root).as_posix()
            # What is only here is about to be committed.
            digest = sha256([path]) if file.startswith(_NAMED_AGAIN) else None
            if self.size_of(file, digest) == taken:
                remove(path)
                removed += taken
        return removed


def _limit() -> float:
    named = os.environ.get(COPIES)
    try:
        found = DEFAULT_COPIES_GB if not named else float(named)
        if not 0 < found < 1e9:
            raise ValueError(named)
    except ValueError:
        raise StoreError(f"{COPIES} is `{named}`, and has to be a number of gigabytes.") from None
    return found * 1e9
