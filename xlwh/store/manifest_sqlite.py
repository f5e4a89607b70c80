"""The embedded manifest: one SQLite file in the warehouse, with no server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

from xlwh.store.artefacts import Artefact
from xlwh.store.claims import FileClaims
from xlwh.store.database import Connection
from xlwh.store.locks import FileLock
from xlwh.store.manifest import NewFile
from xlwh.store.manifest_file import ManifestFile, SqliteConnection, has_manifest, introduce
from xlwh.store.manifest_sql import SqlManifest
from xlwh.store.segments import Segment
from xlwh.store.soundness import require_whole

T = TypeVar("T")


class SqliteManifest(SqlManifest):
    """A manifest in one SQLite file, in WAL mode: readers never wait, writers wait for one commit at most."""

    def __init__(self, path: Path, timeout_s: float = 60.0) -> None:
        """Open it, or make one where there is none; `StoreError` where it is damaged, or was lost."""
        self.path = path
        self._file = ManifestFile(path, timeout_s)
        self.journal = self._file.journal
        if not has_manifest(path.parent):
            with FileLock(path.with_suffix(".lock"), f"The manifest {path}", wait_s=timeout_s):
                if not has_manifest(path.parent):
                    self._file.create()
        self._file.require_local()
        self._file.examine()

    @property
    def place(self) -> str:
        """Its file."""
        return str(self.path)

    def _have_stored(self, put: Sequence[NewFile | Segment], artefacts: Sequence[Artefact] = ()) -> None:
        """Nothing: the folder that it is in has them."""

    def claims(self) -> FileClaims:
        """Claims on slots that reach all processes of this host."""
        return FileClaims(self.path.parent)

    @contextmanager
    def _open(self) -> Iterator[SqliteConnection]:
        with self._file.open() as connection:
            connection.execute("begin")
            yield connection

    def _connected(self) -> AbstractContextManager[SqliteConnection]:
        return self._file.open()

    def _write(self, work: Callable[[Connection], T], is_commit: bool = True) -> T:
        with self._file.open() as connection:
            connection.execute("begin immediate")
            try:
                introduce(connection, self.journal)
                result = work(connection)
            except BaseException:
                # A full disk has ended it already.
                if connection.in_transaction:
                    connection.execute("rollback")
                raise
            connection.execute("commit")
            if is_commit:
                self._file.follow(connection)
        return result

    def require_whole(self) -> None:
        """Read all of it. `StoreError` where it is damaged."""
        self._file.examine()
        with self._file.open() as connection:
            require_whole(connection, self.path)
        self._read_all()
