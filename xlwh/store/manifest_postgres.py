"""The manifest of a warehouse that several machines share: a schema of a PostgreSQL database.

It holds what the embedded one holds, row by row, and keeps the same journal in the warehouse, of which it can be made anew;
none where the files are in an object store, of which what is current can be made anew.
The clock is the server's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

from xlwh.errors import StoreError
from xlwh.store import journal
from xlwh.store.artefacts import Artefact
from xlwh.store.claims_postgres import PostgresClaims
from xlwh.store.clock import stored
from xlwh.store.database import Connection
from xlwh.store.journal import History, Journal, about, history
from xlwh.store.manifest import NewFile, Scope
from xlwh.store.manifest_file import require_same
from xlwh.store.manifest_sql import SqlManifest, fill, note_scope, scope_of
from xlwh.store.objects import behind
from xlwh.store.place import read_place
from xlwh.store.postgres import Database, LostServerError, PgConnection
from xlwh.store.postgres_schema import MIGRATIONS
from xlwh.store.roots import name_of, source_of
from xlwh.store.segments import Segment
from xlwh.store.soundness import DamagedManifestError

T = TypeVar("T")

_VERSION = "schema_version"
"""Name in `about`."""


class PostgresManifest(SqlManifest):
    """A manifest in a schema of a PostgreSQL database: readers never wait, writers wait for one commit at most."""

    def __init__(self, root: Path, timeout_s: float = 60.0) -> None:
        """Open the one that the warehouse at `root` names, and bring it up to the present version.

        `StoreError` where it cannot be reached, is gone, or is another warehouse's.
        """
        self._root = root
        self._place = read_place(root)
        self._has_journal = source_of(root) is None
        """A folder that many machines share has one; a machine's folder for an object store is no place for a backup."""
        self.database = Database(self._place.address, timeout_s)
        self.journal = Journal(root / journal.NAME, timeout_s)
        self._examine()

    @property
    def place(self) -> str:
        """Its database and schema, without a password."""
        return str(self._place.address)

    def _examine(self) -> None:
        # Before the manifest is read, which is ahead of it.
        mark = self.journal.mark()
        migrate(self.database)

        def read() -> None:
            with self._open() as connection:
                if about(connection).get("identity") != self._place.identity:
                    raise DamagedManifestError(
                        self.place, f"it is not that of the warehouse {name_of(self._root)}"
                    )
                if mark is not None:
                    require_same(connection, self.place, mark)

        self._again(read)

    def claims(self) -> PostgresClaims:
        """Claims on slots that reach all processes that use this manifest."""
        return PostgresClaims(self.database)

    @contextmanager
    def _open(self) -> Iterator[PgConnection]:
        try:
            with self.database.reading() as connection:
                yield connection
        except ValueError as error:
            raise DamagedManifestError(
                self.place, f"it holds a value that cannot be read ({error})"
            ) from error

    def _connected(self) -> AbstractContextManager[PgConnection]:
        return self.database.plain()

    def _again(self, read: Callable[[], T]) -> T:
        return self.database.again(read)

    def _write(self, work: Callable[[Connection], T], is_commit: bool = True) -> T:
        try:
            result = self.database.write(work)
        except ValueError as error:
            raise DamagedManifestError(
                self.place, f"it holds a value that cannot be read ({error})"
            ) from error
        if is_commit:
            self._follow()
        return result

    def _have_stored(self, put: Sequence[NewFile | Segment], artefacts: Sequence[Artefact] = ()) -> None:
        if (objects := behind(self._root)) is not None:
            files = [(each.file, each.size_bytes, each.digest) for each in put]
            for artefact in artefacts:
                files += [(each.file, each.size_bytes, each.digest) for each in artefact.files]
            objects.send(files)

    def _follow(self) -> None:
        """Bring the journal up to the last commit. One that fails here is made up for by the next."""
        if not self._has_journal:
            return

        def follow() -> None:
            with self._connected() as connection:
                self.journal.follow(connection, self._place.identity, about(connection)["began_at"])

        try:
            self._again(follow)
        except LostServerError as error:
            raise StoreError(
                f"The commit is made, but its record in {self.journal.path} is not: {error} The next commit makes up for it."
            ) from error

    def backup_problem(self) -> str | None:
        return super().backup_problem() if self._has_journal else None

    def keeps_journal(self) -> bool:
        return self._has_journal

    def require_whole(self) -> None:
        """Read all of it. `StoreError` where it is damaged."""
        self._examine()
        self._read_all()


def version_of(connection: PgConnection) -> int | None:
    """Schema version of a manifest; None where there is none in the schema."""
    [[there]] = connection.execute("select to_regclass('about') is not null")
    if not there:
        return None
    row = connection.execute("select value from about where name = ?", (_VERSION,)).fetchone()
    return None if row is None else int(row[0])


def migrate(database: Database) -> None:
    """Bring a manifest of an earlier version up to the present one, in one transaction, however many processes do so.

    `DamagedManifestError` where there is none, `StoreError` for one of a later version.
    """

    def read() -> int | None:
        with database.reading() as connection:
            return version_of(connection)

    version = database.again(read)
    if version is None:
        raise DamagedManifestError(str(database.address), "it is gone")

    def work(connection: PgConnection) -> None:
        found = version_of(connection)
        _require_known(database, found)
        for statement in (each for steps in MIGRATIONS[found:] for each in steps):
            connection.execute(statement)
        connection.execute("update about set value = ? where name = ?", (str(len(MIGRATIONS)), _VERSION))

    _require_known(database, version)
    if version != len(MIGRATIONS):
        database.write(work)


def _require_known(database: Database, version: int | None) -> None:
    if version is not None and version > len(MIGRATIONS):
        raise StoreError(
            f"The manifest {database.address} cannot be used: a later version of xlwh made it (schema {version}, this one knows "
            f"{len(MIGRATIONS)}). Install that version."
        )


def identity_of(database: Database) -> str | None:
    """The identity of the manifest in a schema; None where there is none."""
    with database.reading() as connection:
        return about(connection).get("identity") if version_of(connection) is not None else None


def create(
    database: Database,
    values: Mapping[str, str],
    known: History,
    scope: Scope | None,
    replaces: Callable[[str | None], None],
) -> str | None:
    """Make a manifest of a whole history in one transaction; a former one is kept in a schema of another name.

    `replaces` is called with the identity of the former one, None where there is none, and refuses it. The name of that
    schema, if any.
    """
    schema = database.address.schema

    def work(connection: PgConnection) -> str | None:
        # Nobody else makes one at the same time.
        connection.execute("select pg_advisory_xact_lock(hashtextextended(?, 0))", (schema,))
        version = version_of(connection)
        replaces(about(connection).get("identity") if version is not None else None)
        aside = None
        if version is not None:
            aside = _free_name(connection, schema)
            connection.execute(f"alter schema {schema} rename to {aside}")
        connection.execute(f"create schema if not exists {schema}")
        for statement in (each for steps in MIGRATIONS for each in steps):
            connection.execute(statement)
        fill(connection, {**values, _VERSION: str(len(MIGRATIONS))}, known)
        if scope is not None:
            note_scope(connection, scope)
        return aside

    return database.write(work, lock=None)


def take_out(
    database: Database, keep: Callable[[tuple[dict[str, str], History, Scope | None]], None]
) -> tuple[dict[str, str], History, Scope | None]:
    """All of a manifest, after `keep` has put it elsewhere. No commit is made to it from then on: its schema gets another
    name, `<schema>_moved_1`.
    """
    schema = database.address.schema

    def work(connection: PgConnection) -> tuple[dict[str, str], History, Scope | None]:
        found = everything(connection)
        keep(found)
        connection.execute(f"alter schema {schema} rename to {_free_name(connection, schema, 'moved')}")
        return found

    return database.write(work)


def everything(connection: Connection) -> tuple[dict[str, str], History, Scope | None]:
    """All of a manifest: what it says of itself, its history, and whose scope it has."""
    values = about(connection)
    values.pop(_VERSION, None)
    return values, history(connection, values["identity"], values["began_at"]), scope_of(connection)


def _free_name(connection: PgConnection, schema: str, why: str = "damaged") -> str:
    number = 1
    while True:
        name = f"{schema}_{why}_{number}"
        [[count]] = connection.execute("select count(*) from pg_namespace where nspname = ?", (name,))
        if not count:
            return name
        number += 1


def first_values(database: Database) -> dict[str, str]:
    """What a new manifest says of itself."""
    with database.reading() as connection:
        return {"identity": secrets.token_hex(16), "began_at": stored(connection.now())}
