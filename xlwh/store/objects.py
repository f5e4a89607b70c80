"""The files of a warehouse that are in an object store, and copies of them in the folder that this machine has for it.

A file is put there before the commit that names it, once and never changed: a put fails where there is something of that
name. Its key is its path in the warehouse; of checkpoints and SQL, whose paths are used again, with the beginning of its
digest. It is read by way of a whole copy in the folder, at the same path, so that a second reading is as fast as on a
warehouse of the disk. Copies take at most XLWH_COPIES_GB (default: 50); those that were not read for longest go first.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from xlwh.digests import sha256
from xlwh.errors import StoreError
from xlwh.failures import full_disk
from xlwh.store.files import (
    PLACE,
    UNFINISHED,
    files_in,
    is_file_of,
    make_folder,
    path_beside,
    publish,
    remove,
    size,
    write_whole,
)
from xlwh.store.roots import SOURCE, source_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from xlwh.store.artefacts import Artefact

COPIES = "XLWH_COPIES_GB"
"""Variable: how many gigabytes the copies of a warehouse may take on this machine."""
DEFAULT_COPIES_GB = 50.0
RECENT_S = 3600.0
"""Copies that were made or read since are not removed, whatever they take: somebody may be reading them."""
AT_ONCE = 16
"""Files that are on their way at a time."""
LISTED_S = 60.0
"""How long a list of what is in the store is believed."""
_WAIT_S = 60.0
"""How long a store that does not answer is waited for."""
_WHOLE = 64_000_000
"""Bytes of files that are put in one request, which may have the condition that there is none."""
_NAMED_AGAIN = ("models/", "sql/")
"""Where paths are used again."""
STORED = ("tables/", "metrics/", *_NAMED_AGAIN)
"""Folders of a warehouse whose files are in the store."""
_BLOCK = 1 << 22

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Something in the store."""

    key: str
    size_bytes: int
    changed_at: datetime


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
    path = root / file
    if not path.exists() and (objects := stored(root, file)) is not None:
        with suppress(FileNotFoundError):
            objects.bring(file)
    return path


def all_at_hand(root: Path, files: Iterable[str]) -> list[Path]:
    """The same of many, several at a time."""
    named = list(files)
    if (objects := behind(root)) is not None:
        objects.bring_all(file for file in named if not (root / file).exists())
    return [root / file for file in named]


def stored(root: Path, file: str) -> Objects | None:
    """The object store that has a file of a warehouse, by its path there; None for one that is in the folder alone."""
    return behind(root) if file.startswith(STORED) else None


def is_there(root: Path | str, file: str, size_bytes: int) -> bool:
    """Whether there is a stored file of this size, here or in the object store."""
    if is_file_of(f"{root}/{file}", size_bytes):
        return True
    objects = stored(Path(root), file)
    return objects is not None and objects.size_of(file) == size_bytes


def key_of(file: str, digest: str | None) -> str:
    """The key of a file, by its path in the warehouse and its digest."""
    return f"{file}@{(digest or '')[:16]}" if file.startswith(_NAMED_AGAIN) else file


class Objects:
    """The files of one warehouse in its object store."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self._lock = threading.Lock()
        self._listed: dict[str, tuple[float, dict[str, int]]] = {}
        """Folder of keys -> when it was listed, and the sizes that were found."""
        self._wanted: dict[str, tuple[threading.Lock, int]] = {}
        """File -> the lock of the threads that want a copy of it, and how many these are."""
        self._brought: int | None = None
        """Bytes since room was last made; None before."""

    @cached_property
    def _store(self) -> ObjectStore:
        try:
            from obstore.store import from_url
        except ImportError:
            raise StoreError(
                f"A warehouse at {self.url} needs obstore. Install it: pip install 'xlwh[objects]'"
            ) from None
        options: dict[str, Any] = {
            "retry_config": {"max_retries": 3, "retry_timeout": timedelta(seconds=10)},
            "client_options": {"connect_timeout": "5s", "timeout": "300s", "allow_http": _may_be_plain()},
        }
        if (provider := _profile(self.url)) is not None:
            options["credential_provider"] = provider
        try:
            return from_url(self.url, **options)
        except Exception as error:  # whatever the environment is that it cannot read
            raise self._failure(error) from error

    def _asked(self, work: Callable[[], T]) -> T:
        """The result of a request, once the store answers; FileNotFoundError and `AlreadyExistsError` are answers."""
        from obstore.exceptions import BaseError, GenericError

        deadline, pause = time.monotonic() + _WAIT_S, 0.2
        while True:
            try:
                return work()
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise self._failure(error) from error
                raise
            except GenericError as error:
                if time.monotonic() + pause > deadline or not _may_pass(error):
                    raise self._failure(error) from error
            except BaseError as error:
                if type(error).__name__ == "AlreadyExistsError":
                    raise
                raise self._failure(error) from error
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _failure(self, error: Exception) -> StoreError:
        kind = type(error).__name__
        text = str(error).partition("\n")[0].partition(": <?xml")[0].strip()[:300]
        if kind in ("PermissionDeniedError", "UnauthenticatedError") or "redential" in text:
            what = "does not let you in"
            then = (
                "Set the credentials as its other tools have them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with "
                "boto3 installed (s3); GOOGLE_APPLICATION_CREDENTIALS (gs); AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (az)."
            )
        elif "NoSuchBucket" in str(error):
            what, then = "has no such bucket", "Make the bucket, or correct the URL."
        elif kind == "GenericError":
            what = "does not answer as it should"
            then = "Look whether it runs, and at AWS_ENDPOINT_URL and AWS_REGION, or what your store has in their place."
        else:
            what, then = (
                "refuses a request",
                "A warehouse needs a store with conditional puts (If-None-Match).",
            )
        return StoreError(f"The object store of {self.url} {what}: {text}. {then}")

    # What is there.

    def listing(self, folder: str = "") -> Iterator[StoredObject]:
        """All that is in the store, or in a folder of keys."""
        import obstore

        def found() -> list[StoredObject]:
            pages = obstore.list(self._store, folder or None)
            return [
                StoredObject(each["path"], each["size"], each["last_modified"])
                for page in pages
                for each in page
            ]

        yield from self._asked(found)

    def size_of(self, file: str, digest: str | None = None) -> int | None:
        """Bytes of a file in the store; None where there is none."""
        import obstore

        key = key_of(file, digest)
        sizes = self._sizes("/".join(key.split("/")[:2]))
        if key not in sizes:
            # It may have come since the folder was listed.
            with suppress(FileNotFoundError):
                sizes[key] = self._asked(lambda: obstore.head(self._store, key))["size"]
        return sizes.get(key)

    def _sizes(self, folder: str) -> dict[str, int]:
        with self._lock:
            when, sizes = self._listed.get(folder, (-LISTED_S, {}))
            if time.monotonic() - when >= LISTED_S:
                sizes = {each.key: each.size_bytes for each in self.listing(folder)}
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
        import obstore
        from obstore.exceptions import AlreadyExistsError

        key, path = key_of(file, digest), self.root / file
        if not path.is_file():
            if self.size_of(file, digest) == size_bytes:
                return
            raise StoreError(f"{file} is neither in {self.root} nor in {self.url}. Run the command again.")
        try:
            if size_bytes > _WHOLE:
                # In parts, of which the last makes the object; they cannot have the condition.
                if self._head(key) is None:
                    self._asked(lambda: obstore.put(self._store, key, path))
                    return
                raise AlreadyExistsError(key)
            content = path.read_bytes()
            self._asked(lambda: obstore.put(self._store, key, content, mode="create", use_multipart=False))
        except AlreadyExistsError:
            # By a request of ours that was answered to nobody, or by another process with the same file.
            with self._there(key) as there:
                if sha256([there]) != (sha256([path]) if digest is None else digest):
                    raise StoreError(
                        f"{self.url}/{key} is there already, with other bytes than {path}. Nothing was committed."
                    ) from None

    def _head(self, key: str) -> int | None:
        import obstore

        with suppress(FileNotFoundError):
            return int(self._asked(lambda: obstore.head(self._store, key))["size"])
        return None

    def put(self, key: str, content: bytes) -> None:
        """Put something in place of what is there."""
        import obstore

        self._asked(lambda: obstore.put(self._store, key, content, use_multipart=False))

    def read(self, key: str) -> bytes | None:
        """A small object; None where there is none."""
        import obstore

        with suppress(FileNotFoundError):
            return bytes(self._asked(lambda: obstore.get(self._store, key).bytes()))
        return None

    def remove(self, keys: Iterable[str]) -> None:
        """Take objects out of the store, and the copies of them out of the folder, as far as they are there."""
        import obstore

        named = sorted(keys)
        for start in range(0, len(named), 1000):
            with suppress(FileNotFoundError):
                self._asked(partial(obstore.delete, self._store, named[start : start + 1000]))
        self.forget_listing()
        for key in named:
            if not key.startswith(_NAMED_AGAIN):
                (self.root / key).unlink(missing_ok=True)

    # From there to here.

    def bring(self, file: str, digest: str | None = None, again: bool = False) -> Path:
        """The copy of a file, made where there is none, or `again`. FileNotFoundError where the store has none."""
        path = self.root / file
        with self._one_at_a_time(file):
            if again or not path.is_file():
                self._bring(file, digest, path)
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

        def bring(file: str) -> None:
            with suppress(FileNotFoundError):
                self.bring(file)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(bring, files))

    def bring_everything(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Copies of all that is in the store, whatever they take. Where a path was used again, the last that was put there."""
        newest: dict[str, StoredObject] = {}
        for each in sorted(self.listing(), key=lambda each: each.changed_at):
            if each.key.startswith(STORED):
                newest[each.key.partition("@")[0]] = each
        wanted = [
            (file, each)
            for file, each in newest.items()
            if file.startswith(_NAMED_AGAIN) or not is_file_of(self.root / file, each.size_bytes)
        ]
        needed, free = sum(each.size_bytes for _, each in wanted), shutil.disk_usage(self.root).free
        if needed > free:
            raise StoreError(
                f"Copies of all files of {self.url} take {size(needed)}, and {size(free)} are free at {self.root}. Choose another disk "
                "with XLWH_LOCAL."
            )
        done = 0
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(lambda pair: self._copy(pair[1].key, self.root / pair[0]), wanted):
                done += 1
                if progress is not None:
                    progress(done, len(wanted))

    def _copy(self, key: str, path: Path) -> None:
        make_folder(path.parent)
        unfinished = path_beside(path)
        try:
            self._download(key, unfinished)
            publish(unfinished, path, final=True)
        finally:
            unfinished.unlink(missing_ok=True)

    def _download(self, key: str, target: Path) -> None:
        import obstore

        def work() -> None:
            with target.open("wb") as stream:
                for block in obstore.get(self._store, key).stream(min_chunk_size=_BLOCK):
                    stream.write(block)

        self._asked(work)

    @contextmanager
    def _there(self, key: str) -> Iterator[Path]:
        """A copy of an object for as long as it is looked at."""
        path = path_beside(self.root / "copy")
        try:
            self._download(key, path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def bring_place(self) -> None:
        """Have the file here that says where the manifest is, as the store has it; none where it has none."""
        content, path = self.read(PLACE), self.root / PLACE
        if content is None:
            path.unlink(missing_ok=True)
        elif not path.is_file() or path.read_bytes() != content:
            write_whole(path, content)

    def bring_own(self, artefacts: Iterable[Artefact]) -> None:
        """Have the SQL and the results of metrics here that are current, and no other SQL."""
        from xlwh.store.metrics import FOLDER, TOLD

        wanted = {file.file: file for each in artefacts if each.kind != "model" for file in each.files}
        for name, file in wanted.items():
            path = self.root / name
            if not is_file_of(path, file.size_bytes) or sha256([path]) != file.digest:
                self.bring(name, file.digest, again=True)
        for path in (self.root / "sql").glob("*.sql"):
            if f"sql/{path.name}" not in wanted:
                path.unlink(missing_ok=True)
        told = self.read(TOLD) if any(n.startswith(f"{FOLDER}/") for n in wanted) else None
        if told is not None:
            write_whole(self.root / TOLD, told)
        else:
            (self.root / TOLD).unlink(missing_ok=True)

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
        found = sorted(
            (max(state.st_atime, state.st_mtime), state.st_size, path)
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


def _may_pass(error: Exception) -> bool:
    """Whether a request may be answered when it is made again."""
    text = str(error)
    return not any(
        told in text
        for told in ("not found", "Not Implemented", "NotImplemented", "InvalidArgument", "builder error")
    )


def _may_be_plain() -> bool:
    """Whether the environment names a store without encryption, as on one's own machine."""
    named = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
    is_allowed = any(os.environ.get(f"{each}_ALLOW_HTTP") in ("1", "true") for each in ("AWS", "AZURE"))
    return is_allowed or any(os.environ.get(each, "").startswith("http://") for each in named)


def _limit() -> float:
    named = os.environ.get(COPIES)
    try:
        found = DEFAULT_COPIES_GB if not named else float(named)
        if not 0 < found < 1e9:
            raise ValueError(named)
    except ValueError:
        raise StoreError(f"{COPIES} is `{named}`, and has to be a number of gigabytes.") from None
    return found * 1e9


def _profile(url: str) -> Any:
    """Credentials as AWS's own tools find them, where the environment has none and boto3 is installed."""
    if not url.startswith("s3://") or "AWS_ACCESS_KEY_ID" in os.environ:
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider

        return Boto3CredentialProvider()
    except (ImportError, ValueError):
        # Without boto3, or without a profile: the machine's own role may have some.
        return None
