"""Claims on slots that reach all machines: leases in the database of the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from xlwh.store.leases import LEASE_S, Leases
from xlwh.store.postgres import Database
from xlwh.store.slots import Slot


class PostgresClaims:
    """Which process of which machine works on which slots (see `xlwh.store.claims.Claims`).

    A claim that is not renewed within `lease_s` seconds, by the server's clock, is free for others. A process that has
    lost one so cannot commit to its slots any more: `HeldError`.
    """

    def __init__(self, database: Database, lease_s: float = LEASE_S) -> None:
        self._leases = Leases(database, lease_s)

    def claim(self, slots: Sequence[Slot]) -> AbstractContextManager[None]:
        """Hold all of these slots, or none: `HeldError` where another process holds one."""
        return self._leases.hold({str(slot): slot for slot in slots})

    def holder(self, slot: Slot) -> str | None:
        """Who holds a slot, in words; None where nobody does."""
        return self.holder_of(str(slot))

    def hold(self, command: str) -> AbstractContextManager[None]:
        """Hold a command; `HeldError` where another process does."""
        return self._leases.hold({command: None})

    def holder_of(self, command: str) -> str | None:
        """Who holds a command, in words; None where nobody does."""
        found = self._leases.holder(command)
        return None if found is None else str(found)
