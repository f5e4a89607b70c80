"""A mirror: a folder, or a place in an object store, that holds all that a study needs from outside.

    hub/models--org--name/snapshots/<commit>/...    files as they are, without links: the layout of the hub's cache
    hub/models--org--name/trees/<commit>.json       the hub's list of that commit's files
    data/...                                        as below the data root, with sources.lock.toml
    mirror.json                                     bytes and SHA-256 of every file

Object stores are reached by fsspec: `s3://` needs s3fs, `gs://` gcsfs, and so on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xlwh.digests import sha256
from xlwh.errors import SourceError
from xlwh.jsons import parsed
from xlwh.place import INDEX
from xlwh.store.files import replacing

_VERSION = 1


class Mirror:
    """A mirror at a folder or an address of an object store."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self.url = url
        try:
            options: dict[str, Any] = (
                {} if "://" in url and not url.startswith("file://") else {"auto_mkdir": True}
            )
            fs, root = url_to_fs(url, **options)
        except (ImportError, ValueError) as error:
            raise SourceError(f"The mirror {url} cannot be opened: {error}") from None
        self._fs, self._root = fs, str(root).rstrip("/")
        self.files: dict[str, dict[str, Any]] = self._read()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written to it yet."""
        return not self.files

    def put(self, local: Path, name: str) -> int:
        """Copy a file into the mirror unless it has it, as far as its size tells; the bytes that were copied."""
        size = local.stat().st_size
        entry = {"bytes": size, "sha256": sha256([local])}
        if self.files.get(name) == entry and self._size(name) == size:
            return 0
        self._do(lambda: self._fs.put_file(str(local.resolve()), self._at(name)), name)
        self.files[name] = entry
        return size

    def close(self) -> None:
        """Write down what the mirror holds."""
        content = {"version": _VERSION, "files": dict(sorted(self.files.items()))}
        self._do(lambda: self._fs.pipe_file(self._at(INDEX), json.dumps(content, indent=1).encode()), INDEX)

    def has(self, name: str) -> bool:
        """Whether it holds a file of that name."""
        return name in self.files

    def differs(self, local: Path, name: str) -> bool:
        """Whether a file has other bytes than the one of that name; it does not where there is none."""
        return name in self.files and sha256([local]) != self.files[name]["sha256"]

    def bytes(self, name: str) -> int:
        """Size of a file that it holds."""
        return int(self.files[name]["bytes"])

    def get(self, name: str, target: Path) -> None:
        """Copy a file out of the mirror; `SourceError` where it has none, or another one than its index says."""
        if name not in self.files:
            raise SourceError(
                f"{name} is not in the mirror {self.url}. Where there is a network: xlwh fetch --to {self.url}"
            )
        with replacing(target) as part:
            self._do(lambda: self._fs.get_file(self._at(name), str(part)), name)
            if (digest := sha256([part])) != self.files[name]["sha256"]:
                raise SourceError(
                    f"{name} in the mirror {self.url} is damaged: SHA-256 {digest} in place of {self.files[name]['sha256']}. "
                    f"Remove it there, and where there is a network write it again: xlwh fetch --to {self.url}"
                )

    def below(self, prefix: str) -> list[str]:
        """Names of files below a folder of the mirror."""
        return [name for name in self.files if name.startswith(prefix)]

    def _size(self, name: str) -> int | None:
        """Bytes of what lies in the mirror under a name; None where nothing does."""
        try:
            return int(self._fs.info(self._at(name))["size"])
        except FileNotFoundError:
            return None

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            content = parsed(self._fs.cat_file(self._at(INDEX)).decode())
            if content["version"] != _VERSION:
                raise ValueError(f"version {content['version']}")
            files: dict[str, dict[str, Any]] = dict(content["files"])
            for name, entry in files.items():
                if not isinstance(entry, dict) or set(entry) != {"bytes", "sha256"}:
                    raise ValueError(f"the line of {name} is {entry!r}")
            return files
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(f"The mirror {self.url}: {INDEX} cannot be read: {error}") from None

    def _do(self, call: Any, name: str) -> None:
        try:
            call()
        # Each object store raises its own errors.
        except Exception as error:
            raise SourceError(f"{name} in the mirror {self.url}: {type(error).__name__}: {error}") from None
