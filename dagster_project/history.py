"""Dagster's SQLite history of runs, with the connections kept open that Dagster opens anew for every event.

The files are the same, and other processes read and write them meanwhile: between two events no transaction is open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, _event_logs_directory
from dagster._serdes import ConfigurableClassData

from xlwh.store.locks import FileLock

if TYPE_CHECKING:
    from dagster._core.instance.ref import InstanceRef
    from sqlalchemy.engine import Connection, Engine

_OPENED_S = 60.0
"""Another process has opened it by then."""


def kept_open(ref: InstanceRef) -> InstanceRef:
    """The same instance with `OpenStorage`, where its history is in Dagster's own SQLite files."""
    storage = ref.storage_data
    if storage is None or storage.class_name != DagsterSqliteStorage.__name__:
        return ref
    mine = ConfigurableClassData(__name__, OpenStorage.__name__, storage.config_yaml)
    return ref._replace(storage_data=mine)


class OpenEventLog(SqliteEventLogStorage):
    """The log of events, with a connection to the index and one to the file of the last run."""

    def __init__(self, base_dir: str) -> None:
        self._engines: dict[str, Engine] = {}
        super().__init__(base_dir)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            if shard != INDEX_SHARD_NAME:
                self._close(self._engines.keys() - {INDEX_SHARD_NAME})
            self._engines[shard] = create_engine(
                self.conn_string_for_shard(shard),
                pool_size=1,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
            )
        if shard not in self._initialized_dbs:
            self._initdb(self._engines[shard])
            self._initialized_dbs.add(shard)
        return self._engines[shard]

    def _close(self, shards: set[str]) -> None:
        for shard in shards:
            self._engines.pop(shard).dispose()

    def dispose(self) -> None:
        """Close the files."""
        super().dispose()
        self._close(set(self._engines))


class OpenStorage(DagsterSqliteStorage):
    """Dagster's own storage with that log."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Dagster makes its tables one by one, where they are not there: of two processes at it at once, one fails.
        with FileLock(Path(base_dir) / "opening.lock", "Dagster's history", wait_s=_OPENED_S):
            super().__init__(base_dir, inst_data)
            self._event_log_storage = OpenEventLog(_event_logs_directory(base_dir))

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> Self:
        """That of an instance's configuration."""
        return cls.from_local(inst_data=inst_data, **config_value)
