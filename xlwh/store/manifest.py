"""The manifest: which file is the current one of which slot, with every earlier state kept.

It is the one piece of shared, mutable state of a warehouse. `Manifest` is what the store needs of it. The embedded one is
SQLite (`manifest_sqlite`), the one of several machines PostgreSQL (`manifest_postgres`); both are `manifest_sql`. Each change
is one numbered commit, so that the warehouse can be seen as of any of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from xlwh.errors import StoreError
from xlwh.store.artefacts import Artefact, Name
from xlwh.store.claims import Claims
from xlwh.store.clock import Stamp
from xlwh.store.slots import Entry, Slot

if TYPE_CHECKING:
    from xlwh.store.segments import Segment


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that is on disk and synced, about to become the current one of its slot."""

    slot: Slot
    file: str
    fingerprint: str
    rows: int
    size_bytes: int
    version: int
    """Of the contract that it was checked against."""
    digest: str
    """SHA-256 of the file, in hexadecimal."""


def entry_of(file: NewFile, created_at: datetime, commit: int) -> Entry:
    """A file as the entry that a commit makes of it."""
    return Entry(
        file.slot,
        file.file,
        file.fingerprint,
        file.rows,
        file.size_bytes,
        file.version,
        created_at,
        commit,
        file.digest,
    )


@dataclass(frozen=True)
class Snapshot:
    """All current entries at one commit; commit 0 is the empty warehouse."""

    commit: int
    created_at: datetime | None
    entries: tuple[Entry, ...]
    hidden: frozenset[Slot] = field(default=frozenset())
    """Slots that were out of the study's scope then."""

    @property
    def shown(self) -> tuple[Entry, ...]:
        """The entries that were in scope."""
        return tuple(entry for entry in self.entries if entry.slot not in self.hidden)


@dataclass(frozen=True)
class Changes:
    """What became of slots between one commit and a later one, as the later one has them."""

    commit: int
    """Number of the later one."""
    put: tuple[Entry, ...]
    """Entries that are current now and were not then."""
    gone: frozenset[Slot]
    """Slots that have no current entry any more."""
    rescoped: frozenset[Slot]
    """Slots that were hidden or shown."""
    packed: frozenset[str] = frozenset()
    """Tables of which files were packed."""

    @property
    def tables(self) -> set[str]:
        """Tables of which anything changed."""
        slots = (*(entry.slot for entry in self.put), *self.gone, *self.rescoped)
        return {*(slot.table for slot in slots), *self.packed}


@dataclass(frozen=True)
class Scope:
    """The study by which slots are hidden or shown."""

    study: str
    """Its name."""
    digest: str
    """Of all that it says."""
    head: int
    """Number of the last commit when the scope was found: later ones may need another."""


class ConflictError(StoreError):
    """A slot was changed by another process between reading and committing."""


class Manifest(Protocol):
    """What the store needs of a manifest."""

    @property
    def place(self) -> str:
        """Where it is, for messages: a file, or a database without a password."""

    def claims(self) -> Claims:
        """Claims on slots that reach all processes that use this manifest."""

    def current(self, slot: Slot) -> Entry | None:
        """The slot's current entry."""

    def snapshot(self, as_of: datetime | int | None = None, table: str | None = None) -> Snapshot:
        """All entries, or those of one table, that are (or were) current at a commit number or time; default: now.

        Raises `StoreError` for a commit that does not exist yet.
        """

    def head(self) -> int:
        """Number of the last commit; 0 if there is none."""

    def changes(self, since: int) -> Changes:
        """What changed after a commit, up to the last one; found in time that grows with the changes only.

        Raises `StoreError` for a commit that does not exist yet.
        """

    def commit(
        self,
        put: Sequence[NewFile] = (),
        drop: Sequence[Slot] = (),
        expected: Mapping[Slot, str | None] | None = None,
        artefacts: Sequence[Artefact] = (),
        gone: Collection[Name] = (),
    ) -> list[Entry]:
        """Make `put` and `artefacts` current and remove `drop` and `gone`, in one transaction with one number.

        `expected` maps slots to the file that must still be current (None: no entry); if any differs nothing is
        changed and `ConflictError` is raised. What is put is no longer hidden. The artefacts of slots that change go
        (see `checkpoints.resting`), unless they are put again. Returns the entries of `put`, in order.
        """

    def artefacts(self, as_of: int | None = None) -> dict[Name, Artefact]:
        """The artefacts that are (or were) current at a commit number; default: now."""

    def artefact(self, name: Name, fingerprint: str) -> Artefact | None:
        """A version of an artefact, current or not, as the last commit that put it had it; None where none did."""

    def scope(self) -> Scope | None:
        """Whose scope the hidden slots are; None if none was ever set."""

    def set_scope(
        self, hidden: Collection[Entry], study: Scope | None = None, among: Collection[Slot] | None = None
    ) -> bool:
        """Hide exactly these current files, or of the slots `among` exactly these; False if they were already.

        A change is a commit of its own; a file that is not current any more is left as it is. `study` is noted as the
        one whose scope it is, which alone makes no commit.
        """

    def pack(self, segment: Segment) -> None:
        """Note where files are that were packed, in a commit that changes nothing else: entries stay what they are.

        A file that no commit names any more is passed over.
        """

    def forget(self, files: Sequence[str]) -> None:
        """Mark files of superseded entries as removed from disk, so that time travel can say so.

        Of a segment that is all entries whose files it holds.
        """

    def files(self, by_key: bool = False) -> dict[str, FileState]:
        """Every file that any commit named, of tables and of artefacts, or its key in an object store -> what is known of it.

        A file that was packed is superseded since; its segment is current as long as one of its files is.
        """

    def require_whole(self) -> None:
        """Read all of it. `StoreError` where it is damaged."""

    def backup_problem(self) -> str | None:
        """Why it could not be made anew of its backup as it is; None where it could."""

    def stamps(self) -> list[Stamp]:
        """All commits in order, with their times and whether these can be right."""

    def origin(self) -> Origin:
        """Since when it has a history."""

    def note_checked(self) -> None:
        """Note that every current file was read, and found to be as this manifest says."""


@dataclass(frozen=True)
class FileState:
    """Whether a file is current, when it stopped being so, and whether it was removed."""

    current: bool
    superseded_at: datetime | None
    """A time by which it surely was; None where it is current, or where the clock was wrong and that cannot be told."""
    removed: bool


@dataclass(frozen=True)
class Origin:
    """What a manifest can know: nothing of files from before it began, or was rebuilt."""

    began_at: datetime | None
    """When it was made; None for one of an earlier version without commits."""
    rebuilt_at: datetime | None
    """When `xlwh recover` made it of what was stored; None if that never was."""
    is_checked: bool
    """Whether it was compared with all files since it was rebuilt."""
