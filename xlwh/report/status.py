"""What a warehouse holds, how fresh it is, and with what versions that was made."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from xlwh import __version__
from xlwh.store import Warehouse
from xlwh.store.roots import name_of
from xlwh.tables import TABLES

_PACKAGES = ("torch", "transformers", "tokenizers", "POT", "duckdb", "polars", "numpy")


@dataclass(frozen=True)
class TableStatus:
    """One stored table."""

    name: str
    description: str
    rows: int
    size_bytes: int
    partitions: int
    written: datetime | None


@dataclass(frozen=True)
class Status:
    """One warehouse."""

    root: str
    """Folder of the warehouse, or its URL."""
    commit: int
    committed_at: datetime | None
    """Of the last commit, UTC; None for an empty warehouse."""
    tables: tuple[TableStatus, ...]
    views: tuple[tuple[str, str], ...]
    """Name and description, as the catalogue has them."""
    fingerprints: Mapping[str, str]
    """Slot -> fingerprint of its current file."""
    versions: Mapping[str, str]
    catalogue_commit: int
    """Of the catalogue; behind `commit` while something is being materialised."""

    @property
    def rows(self) -> int:
        """Stored rows."""
        return sum(table.rows for table in self.tables)


def status(warehouse: Warehouse) -> Status:
    """Read it from the manifest and the catalogue; no data file is opened."""
    snapshot = warehouse.manifest.snapshot()
    found = []
    for name, contract in TABLES.items():
        entries = [entry for entry in snapshot.shown if entry.slot.table == name]
        found.append(
            TableStatus(
                name,
                " ".join((contract.__doc__ or "").split("\n\n")[0].split()),
                sum(entry.rows for entry in entries),
                sum(entry.size_bytes for entry in entries),
                len({entry.slot.keys for entry in entries}),
                max((entry.created_at for entry in entries), default=None),
            )
        )
    with closing(warehouse.connect()) as connection:
        views = connection.execute(
            "select view_name, coalesce(comment, '') from duckdb_views() "
            "where schema_name = 'main' and not internal order by view_name"
        ).fetchall()
        [(shown,)] = connection.execute("select commit from catalogue_info").fetchall()
    public = tuple((n, c) for n, c in views if n not in TABLES and n != "catalogue_info")
    return Status(
        name_of(warehouse.root),
        snapshot.commit,
        snapshot.created_at,
        tuple(found),
        public,
        {str(entry.slot): entry.fingerprint for entry in snapshot.shown},
        versions(),
        shown,
    )


def versions() -> dict[str, str]:
    """Installed versions of what numbers may depend on."""
    found = {"xlwh": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in one unit."""
    if moment is None:
        return "never"
    seconds = max(0.0, ((now or datetime.now(UTC)) - moment).total_seconds())
    for unit, length in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
