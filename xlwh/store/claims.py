"""Claims: who may work on which slots."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from xlwh.errors import StoreError
from xlwh.store.slots import Slot


class HeldError(StoreError):
    """Another process works on a slot; the text names it, its host and since when."""


class Claims(Protocol):
    """Which process works on which slots."""

    def claim(self, slots: Sequence[Slot]) -> AbstractContextManager[None]:
        """Hold all of these slots, or none: `HeldError` where another process holds one."""

    def holder(self, slot: Slot) -> str | None:
        """Who holds a slot, in words (`process 123 on host x, since 12:03`); None where nobody does."""
