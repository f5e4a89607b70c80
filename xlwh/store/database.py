"""What a manifest needs of a connection to the database that keeps it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from xlwh.store.locks import FileLock

if TYPE_CHECKING:
    from xlwh.store.slots import Slot


class Source(Protocol):
    """A connection to the database of a manifest, of which a journal is written."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Any:
        """Run a statement with `?` for values; its rows, as `fetchone`, `fetchall` and iteration give them."""

    def columns(self, table: str) -> Collection[str]:
        """Names of a table's columns; none where it does not exist."""

    def recording(self, lock: FileLock) -> AbstractContextManager[None]:
        """A transaction that reads, while nobody else writes to the journal that the lock is of."""


class Connection(Source, Protocol):
    """A connection to the database of a manifest, within a transaction."""

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> Any:
        """Run a statement for each row of values."""

    def now(self) -> datetime:
        """What the clock says that gives commits their times."""

    def add_commit(self, number: int, now: str) -> None:
        """Make the row of a new commit."""

    def require_held(self, slots: Collection[Slot]) -> None:
        """`StoreError` where this process had claimed one of these slots, and another may work on it by now."""
