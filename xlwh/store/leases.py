"""Leases: names that one process of any machine holds, for as long as it says so in time.

They are rows of a manifest's database, and only its clock counts. A process that holds some renews them from a thread of its
own. One that does not, since it is gone, asleep or cut off, may lose them to others; its next commit finds that out. Those
of a process of this machine that has ended are free at once.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from xlwh.errors import HeldError, StoreError
from xlwh.store.host import host_name, is_gone, process_identity
from xlwh.store.postgres import Database, PgConnection
from xlwh.store.slots import Slot

LEASE_S = 60.0
"""Seconds after which a lease that was not renewed is free for others."""


@dataclass(frozen=True)
class Holder:
    """Who holds a name."""

    host: str
    process: int
    program: str
    since: datetime
    claim: str

    @property
    def has_ended(self) -> bool:
        """Whether it is a process of this machine that is not there any more."""
        return is_gone(self.claim.partition(" ")[2])

    def __str__(self) -> str:
        since = self.since.strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {self.process} ({self.program}) on host {self.host}, since {since}"


class Leases:
    """The leases in the database of one manifest."""

    def __init__(self, database: Database, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._lease_s = lease_s

    @contextmanager
    def hold(self, wanted: Mapping[str, Slot | None]) -> Iterator[None]:
        """Hold all of these names, or none: `HeldError` naming who has one, and its slot where it is that of one."""
        # Who is on the same machine can tell by it whether the process is still there.
        claim = " ".join(filter(None, (secrets.token_hex(16), process_identity(os.getpid()))))
        self._take(wanted, claim)
        self._database.held.update(dict.fromkeys(wanted, claim))
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(claim, ended), name="xlwh leases", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            for name in wanted:
                if self._database.held.get(name) == claim:
                    del self._database.held[name]
            # Where the server is gone they run out by themselves.
            with suppress(StoreError):
                self._database.write(
                    lambda connection: connection.execute("delete from leases where claim = ?", (claim,)),
                    lock=None,
                )

    def _take(self, wanted: Mapping[str, Slot | None], claim: str) -> None:
        def work(connection: PgConnection) -> None:
            # In one order, so that two processes do not wait for each other.
            for name in sorted(wanted):
                taken = self._taken(connection, name, claim)
                holder = None if taken else _holder(connection, name)
                if holder is not None and holder.has_ended:
                    connection.execute("delete from leases where name = ?", (name,))
                    taken = self._taken(connection, name, claim)
                if not taken:
                    told = str(holder or "another process")
                    raise HeldError(
                        f"{name} is being worked on by {told}; wait for it or stop it.", told, wanted[name]
                    )

        self._database.write(work, lock=None)

    def _taken(self, connection: PgConnection, name: str, claim: str) -> bool:
        """Whether a name is ours now. One that is another's does not change hands until this transaction ends."""
        row = connection.execute(
            "insert into leases values (?, ?, ?, ?, ?, clock_timestamp(), clock_timestamp(), "
            "clock_timestamp() + make_interval(secs => ?)) on conflict (name) do update set "
            "claim = excluded.claim, host = excluded.host, process = excluded.process, "
            "program = excluded.program, since = excluded.since, renewed_at = excluded.renewed_at, "
            "until = excluded.until where leases.until < clock_timestamp() or leases.claim = excluded.claim "
            "returning name",
            (name, claim, host_name(), os.getpid(), _program(), self._lease_s),
        ).fetchone()
        return row is not None

    def _renew(self, claim: str, ended: threading.Event) -> None:
        while not ended.wait(self._lease_s / 4):
            # Where that fails, the next commit finds out whether the names are lost.
            with suppress(StoreError):
                self._database.write(
                    lambda connection: connection.execute(
                        "update leases set renewed_at = clock_timestamp(), "
                        "until = clock_timestamp() + make_interval(secs => ?) where claim = ?",
                        (self._lease_s, claim),
                    ),
                    lock=None,
                )

    def holder(self, name: str) -> Holder | None:
        """Who holds a name now; None where nobody does."""

        def read() -> Holder | None:
            with self._database.reading() as connection:
                return _holder(connection, name)

        found = self._database.again(read)
        return None if found is None or found.has_ended else found


def _holder(connection: PgConnection, name: str) -> Holder | None:
    row = connection.execute(
        "select host, process, program, since, claim from leases where name = ? and until >= clock_timestamp()",
        (name,),
    ).fetchone()
    return None if row is None else Holder(*row)


def _program() -> str:
    """What this process runs, in short: `xlwh materialize`."""
    return " ".join([Path(sys.argv[0] or "python").name, *sys.argv[1:2]])[:100]
