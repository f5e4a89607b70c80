"""A schema of a PostgreSQL database: its address, the connections of this process to it, and what their errors mean.

Connections are kept and shared, since to make one takes longer than a commit. One that was lost, such as when the server
was started again, is replaced, and what was to be written is written once: each transaction that commits carries a token.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from xlwh.errors import HeldError, StoreError
from xlwh.store.postgres_schema import COLUMNS
from xlwh.store.slots import Slot
from xlwh.store.soundness import DamagedManifestError

if TYPE_CHECKING:
    import psycopg
    from psycopg_pool import ConnectionPool

    from xlwh.store.locks import FileLock

T = TypeVar("T")

SCHEMES = ("postgresql", "postgres")
"""How the URL of a PostgreSQL database begins."""

_PASSWORDS = "Leave it out: PostgreSQL's clients take it of PGPASSWORD, ~/.pgpass, or a service file"
_CONNECT_S = 10
"""Seconds that a server has to answer, where the URL does not say."""
_WAIT_S = 2.0
"""Seconds that are waited for a connection before it is found out why there is none."""
_MOST = 32
"""Connections of one process."""
_IDLE = "60s"
"""A transaction of a process that does nothing for this long, such as of a machine that sleeps, ends."""


@dataclass(frozen=True)
class Address:
    """A schema of a database."""

    url: str
    """Without a password."""
    schema: str

    def __post_init__(self) -> None:
        """`StoreError` for what is no address, or holds a password."""
        try:
            parts = urlsplit(self.url)
            password = parts.password or parse_qs(parts.query).get("password")
            database = parts.path.strip("/") or parse_qs(parts.query).keys() & {"dbname", "service"}
        except ValueError as error:
            raise StoreError(f"`{self.url}` is no URL: {error}.") from None
        if parts.scheme not in SCHEMES or not database:
            raise StoreError(
                f"`{self.url}` is no PostgreSQL database; write postgresql://USER@HOST/DATABASE."
            )
        if password:
            raise StoreError(f"The URL of {parts.hostname or 'the database'} holds a password. {_PASSWORDS}.")
        if not re.fullmatch("[a-z_][a-z0-9_]{0,50}", self.schema):
            raise StoreError(
                f"`{self.schema}` is no schema: at most 51 lower-case letters, digits and `_`, and a letter first."
            )

    def __str__(self) -> str:
        return f"{self.url} (schema {self.schema})"


class LostServerError(StoreError):
    """The server cannot be reached, or has ended the connection."""


class PgConnection:
    """A connection within a transaction of ours (see `manifest_sql.Connection`)."""

    def __init__(self, raw: psycopg.Connection[Any], token: str | None, held: dict[str, str]) -> None:
        self.raw = raw
        self._token, self._held = token, held

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[Any]:
        """Run a statement with `?` for values."""
        return self.raw.execute(_translated(statement), values)

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> None:
        """Run a statement for each row of values."""
        with self.raw.cursor() as cursor:
            cursor.executemany(_translated(statement), rows)

    def columns(self, table: str) -> Collection[str]:
        """Names of a table's columns; none where it does not exist."""
        return COLUMNS.get(table, ())

    def now(self) -> datetime:
        """What the server's clock says: the same for all machines."""
        [[now]] = self.execute("select clock_timestamp()")
        found: datetime = now.astimezone(UTC)
        return found

    def add_commit(self, number: int, now: str) -> None:
        """Make the row of a new commit, with the token by which it is known whether it was made."""
        self.execute(
            "insert into commits (number, created_at, token) values (?, ?, ?)", (number, now, self._token)
        )

    def require_held(self, slots: Collection[Slot]) -> None:
        """`HeldError` where this process had claimed one of these slots, and another has it by now.

        Nobody takes over the others until this transaction ends.
        """
        names = {str(slot): slot for slot in slots}
        claims = {claim for name, claim in self._held.items() if name in names}
        if not claims:
            return
        rows = self.execute("select name, claim from leases where claim = any(?) for share", (list(claims),))
        there = {(name, claim) for name, claim in rows}
        for name in sorted(names.keys() & self._held.keys()):
            if (name, self._held[name]) not in there:
                raise HeldError(
                    f"{name} was taken over by another process, since this one did not renew its claim in time. Nothing "
                    "was committed; run the step again.",
                    "another process",
                    names[name],
                )

    @contextmanager
    def recording(self, lock: FileLock) -> Iterator[None]:
        """A transaction that reads, while no other process of any machine writes to the journal.

        The lock is the database's: one of a file need not reach other machines.
        """
        try:
            self.raw.execute("begin isolation level repeatable read; lock table about in exclusive mode")
            yield
        finally:
            _end(self.raw)


class Database:
    """A schema, as this process uses it."""

    def __init__(self, address: Address, timeout_s: float = 60.0) -> None:
        """`timeout_s`: how long a lost server, or one that writes, is waited for."""
        self.address = address
        self.timeout_s = timeout_s
        self.held = _held(address, os.getpid())
        """Name of what this process has claimed -> the claim."""
        self._pool: ConnectionPool[Any] | None = None
        self._was_reached = False

    @contextmanager
    def _taken(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of the pool, in no transaction. psycopg.Error where none can be had."""
        from psycopg_pool import PoolTimeout

        if self._pool is None:
            self._pool = _pool(self.address, os.getpid())
        pool = self._pool
        try:
            raw = pool.getconn(timeout=_WAIT_S)
        except PoolTimeout:
            # The pool does not say why; an attempt of our own does.
            import psycopg

            psycopg.connect(**_parameters(self.address)).close()
            raw = pool.getconn(timeout=_WAIT_S)
        try:
            self._was_reached = True
            yield raw
        finally:
            pool.putconn(raw)

    def again(self, read: Callable[[], T]) -> T:
        """Read, and once more where the server is lost meanwhile and comes back in time."""
        deadline = time.monotonic() + self.timeout_s
        while True:
            try:
                return read()
            except LostServerError:
                if not self._lasts(deadline):
                    raise
            time.sleep(_PAUSE_S)

    def _lasts(self, deadline: float) -> bool:
        """Whether a server that is lost may be there soon."""
        return self._was_reached and time.monotonic() < deadline

    @contextmanager
    def reading(self) -> Iterator[PgConnection]:
        """A transaction that reads and sees one state. `LostServerError` where the server is not there."""
        try:
            with self._taken() as raw:
                try:
                    raw.execute("begin isolation level repeatable read read only")
                    yield PgConnection(raw, None, self.held)
                finally:
                    _end(raw)
        except _error() as error:
            raise self.failure(error) from error

    def write(self, work: Callable[[PgConnection], T], lock: str | None = "commits") -> T:
        """Do work in a transaction, in which no other may write to the table `lock`; a commit in it is made once.

        Where the server is lost meanwhile, the work is done again once it is there, unless its commit is found. Work that
        makes none, or without a lock, may be done twice. `StoreError` where the server does not come back.
        """
        token, deadline = secrets.token_hex(16), time.monotonic() + self.timeout_s
        wait_ms = max(1, int(self.timeout_s * 1000))
        locking = "" if lock is None else f"; lock table {lock} in exclusive mode"
        results = list[T]()
        while True:
            try:
                with self._taken() as raw:
                    connection = PgConnection(raw, token, self.held)
                    try:
                        # Of one message: each takes the time to the server and back.
                        raw.execute(f"begin; set local lock_timeout = {wait_ms}{locking}")
                        if results and lock is not None and _is_there(connection, token):
                            return results[-1]
                        results.clear()
                        result = work(connection)
                        results.append(result)
                        raw.execute("commit")
                        return result
                    finally:
                        _end(raw)
            except _error() as error:
                if not (_was_lost(error) and self._lasts(deadline)):
                    raise self.failure(error, bool(results)) from error
            time.sleep(_PAUSE_S)

    @contextmanager
    def plain(self) -> Iterator[PgConnection]:
        """A connection outside of a transaction."""
        try:
            with self._taken() as raw:
                try:
                    yield PgConnection(raw, None, self.held)
                finally:
                    _end(raw)
        except _error() as error:
            raise self.failure(error) from error

    def failure(self, error: Exception, may_be_made: bool = False) -> StoreError:
        """What an error of the database means, and what to do."""
        code = getattr(error, "sqlstate", None)
        said = str(error).strip().splitlines()
        text = re.sub(r"\s+", " ", said[0] if said else type(error).__name__).rstrip(".")
        what = f"The manifest {self.address} cannot be used: {text}."
        if _was_lost(error):
            state = (
                " Whether the last commit was made is not known: the same command finds out."
                if may_be_made
                else ""
            )
            return LostServerError(
                f"{what}{state} See whether the server runs and can be reached from this machine (psql '{self.address.url}'), and "
                "run the same command again."
            )
        if code in ("42P01", "3F000"):
            return DamagedManifestError(str(self.address), f"it is gone, or was moved elsewhere ({text})")
        if code in ("28P01", "28000"):
            return StoreError(f"{what} The password is taken of PGPASSWORD, ~/.pgpass, or a service file.")
        if code == "55P03":
            return StoreError(f"{what} Wait for the process that holds it, or stop it.")
        if code == "53100":
            # In words of its own: no disk of this machine is full.
            return StoreError(
                f"The manifest {self.address} cannot be used: the disk of its server has no room. Make room there."
            )
        if code == "42501":
            return StoreError(
                f"{what} Its owner can grant that: usage of the schema, and rights to its tables."
            )
        return StoreError(what)


_PAUSE_S = 0.2


def _end(raw: psycopg.Connection[Any]) -> None:
    """End a transaction that is open, whatever became of it."""
    if not raw.closed and raw.info.transaction_status.name != "IDLE":
        with suppress(_error()):
            raw.execute("rollback")


def _is_there(connection: PgConnection, token: str) -> bool:
    found = connection.execute("select count(*) from commits where token = ?", (token,)).fetchone()
    return bool(found is not None and found[0])


def _was_lost(error: Exception) -> bool:
    """Whether an error says that the server is not there, or has ended the connection, and nothing of what was asked."""
    import psycopg

    code = getattr(error, "sqlstate", None)
    if code is None:
        return isinstance(error, psycopg.OperationalError)
    return code.startswith("08") or code in ("57P01", "57P02", "57P03", "53300")


@cache
def _error() -> type[Exception]:
    require_driver()
    import psycopg

    return psycopg.Error


def require_driver() -> None:
    """`StoreError` where the packages for PostgreSQL are not installed."""
    for package in ("psycopg", "psycopg_pool"):
        try:
            import_module(package)
        except ImportError as error:
            raise StoreError(
                f"A manifest in PostgreSQL needs packages that cannot be imported ({error}). Run: pip install 'xlwh[postgres]'"
            ) from None


def _parameters(address: Address) -> dict[str, Any]:
    """Arguments of a connection."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        found: dict[str, Any] = conninfo_to_dict(address.url)
    except ProgrammingError as error:
        raise StoreError(f"`{address.url}` is no PostgreSQL database: {str(error).strip()}.") from None
    settings = {
        "search_path": address.schema,
        "lock_timeout": "60s",
        "idle_in_transaction_session_timeout": _IDLE,
        "synchronous_commit": "on",
        "timezone": "UTC",
        "client_min_messages": "warning",
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return {
        "connect_timeout": _CONNECT_S,
        # A machine that is gone does not hold a lock for hours, and a server that is gone is noticed.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
        "application_name": "xlwh",
        **found,
        "options": f"{found.get('options', '')} {options}".strip(),
        "autocommit": True,
    }


@cache
def _pool(address: Address, process: int) -> ConnectionPool[Any]:
    # By process: a forked one must not use the connections of its parent.
    require_driver()
    from psycopg_pool import ConnectionPool

    # What it has to say of lost connections is said by our errors.
    logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())
    return ConnectionPool(
        kwargs=_parameters(address),
        min_size=0,
        max_size=_MOST,
        num_workers=1,
        open=True,
        max_idle=300,
        reconnect_timeout=_WAIT_S,
    )


@cache
def _held(address: Address, process: int) -> dict[str, str]:
    # By process: a forked one has claimed nothing.
    return {}


@cache
def _translated(statement: str) -> str:
    """A statement with psycopg's marks in place of `?`."""
    return statement.replace("?", "%s")
