"""Where exported tables may lie, a folder or an object store, and the addresses of files for those who read them."""

from __future__ import annotations

import os
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from xlwh.errors import StoreError
from xlwh.store.bucket import Bucket, TakenError
from xlwh.store.files import write_whole
from xlwh.store.locks import FileLock
from xlwh.store.roots import is_url, source_of, url_of


def base_of(root: Path) -> str:
    """The address that stored files begin with."""
    url = source_of(root)
    if url is None:
        return address(root)
    if url.startswith("az://"):
        raise StoreError(
            f"Files at {url} have no address in Iceberg, which wants the account in it. Take the warehouse into a folder: "
            f"xlwh take {url} --warehouse FOLDER"
        )
    return url


def address(folder: Path) -> str:
    """The address of a folder. `StoreError` where readers would take it for another."""
    if "#" in str(folder):
        raise StoreError(f"{folder} has a `#` in its path, of which readers of Iceberg make another path.")
    return f"file://{folder}"


class Place(Protocol):
    """Where exported tables lie; names are relative to it."""

    url: str

    def read(self, name: str) -> bytes | None:
        """None where there is nothing of that name."""

    def create(self, name: str, content: bytes) -> None:
        """`TakenError` where there is something of that name."""

    def put(self, name: str, content: bytes) -> None:
        """Whatever is there."""

    def held(self) -> AbstractContextManager[Any]:
        """A context in which no other process of this machine exports to it."""


def place_of(target: str, root: Path) -> Place:
    """Where tables of the warehouse with this folder go that are to be at `target`. `StoreError` where they cannot be."""
    own = source_of(root)
    if is_url(target):
        url = url_of(target)
        if own is None:
            raise StoreError(
                f"The files of {root} are on this machine, and tables at {url} would name what other machines do not have. "
                "Export to a folder, or have the warehouse in the object store: docs/object-stores.md."
            )
        if url.startswith("az://"):
            raise StoreError(f"Iceberg tables cannot be at {url}. Export to a folder.")
        if f"{url}/".startswith(f"{own}/"):
            raise StoreError(
                f"{url} is in the warehouse, which keeps its own files only. Choose another URL."
            )
        return Store(url)
    folder = Path(target).resolve()
    if folder.is_relative_to(root):
        raise StoreError(
            f"{folder} is in the warehouse, which keeps its own files only. Choose another folder."
        )
    return Folder(folder)


class Folder:
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root, self.url = root, address(root)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def create(self, name: str, content: bytes) -> None:
        if (self.root / name).exists():
            raise TakenError(name)
        self.put(name, content)

    def put(self, name: str, content: bytes) -> None:
        write_whole(self.root / name, content)

    def held(self) -> AbstractContextManager[Any]:
        return FileLock(self.root / ".export.lock", f"The export at {self.root}")


class Store:
    """An object store."""

    def __init__(self, url: str) -> None:
        self.url, self._bucket = url, Bucket(url)

    def read(self, name: str) -> bytes | None:
        return self._bucket.read(name)

    def create(self, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "content")
            write_whole(path, content)
            self._bucket.create(name, path)

    def put(self, name: str, content: bytes) -> None:
        self._bucket.put(name, content)

    def held(self) -> AbstractContextManager[Any]:
        # Other machines come to it too: the condition of `create` keeps them apart.
        return nullcontext()


def settings() -> dict[str, str]:
    """Where the store is, for pyiceberg, as our own requests have it. Credentials it finds as AWS's and Google's tools do."""
    named = {
        "s3.endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        "s3.region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    }
    found = {
        key: next((os.environ[each] for each in names if os.environ.get(each)), None)
        for key, names in named.items()
    }
    return {key: value for key, value in found.items() if value is not None}
