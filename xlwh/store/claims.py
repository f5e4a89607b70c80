"""Who is making what: claims on slots, so that no two workers make the same partition."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from xlwh.store.slots import Slot


class Claims(Protocol):
    """Claims on the slots of one warehouse. One that is held is never waited for here."""

    def claim(self, slots: Sequence[Slot]) -> AbstractContextManager[None]:
        """Hold all of these slots while the block runs, or none: `HeldError` naming the holder of one that is held."""

    def holder(self, slot: Slot) -> str | None:
        """Who holds a slot now: `process 123 on host x, since 2026-01-31 12:00:00 UTC`; None where nobody does."""
