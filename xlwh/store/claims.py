"""Who is making what: claims on slots, so that no two workers make the same partition."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from xlwh.errors import HeldError
from xlwh.store.locks import FileLock, holder_of
from xlwh.store.slots import Slot

COMPACT, RENAME, TAKE = "xlwh compact", "xlwh rename", "xlwh take"
COMMANDS = (COMPACT, RENAME, TAKE)
"""Commands that write files of many slots long before they commit them, held as a whole: `gc` asks for them."""


class Claims(Protocol):
    """Claims on the slots of one warehouse. One that is held is never waited for here."""

    def claim(self, slots: Sequence[Slot]) -> AbstractContextManager[None]:
        """Hold all of these slots while the block runs, or none: `HeldError` naming the holder of one that is held."""

    def holder(self, slot: Slot) -> str | None:
        """Who holds a slot now: `process 123 on host x, since 2026-01-31 12:00:00 UTC`; None where nobody does."""

    def hold(self, command: str) -> AbstractContextManager[None]:
        """Hold a command of the whole warehouse while the block runs; `HeldError` naming the process that runs it."""

    def holder_of(self, command: str) -> str | None:
        """The same as `holder`, of a command."""


class FileClaims:
    """Claims as locked files in `staging/locks`, for processes that see one file system of one host.

    The system lets go of them when their holder ends, however it ends.
    """

    def __init__(self, root: Path) -> None:
        self._locks = root / "staging" / "locks"

    @contextmanager
    def claim(self, slots: Sequence[Slot]) -> Iterator[None]:
        """See `Claims.claim`."""
        with ExitStack() as held:
            # In order: of two that want the same slots one gets all of them.
            for slot in sorted(set(slots)):
                try:
                    held.enter_context(FileLock(self._file(slot), str(slot)))
                except HeldError as error:
                    raise HeldError(str(error), error.holder, slot) from None
            yield

    def holder(self, slot: Slot) -> str | None:
        """See `Claims.holder`."""
        return holder_of(self._file(slot))

    @contextmanager
    def hold(self, command: str) -> Iterator[None]:
        """See `Claims.hold`."""
        with FileLock(self._file(command), f"`{command}`"):
            yield

    def holder_of(self, command: str) -> str | None:
        """See `Claims.holder_of`."""
        return holder_of(self._file(command))

    def _file(self, what: Slot | str) -> Path:
        return self._locks / f"{hashlib.blake2b(str(what).encode(), digest_size=8).hexdigest()}.lock"


def require_idle(claims: Claims, slots: Iterable[Slot]) -> None:
    """HeldError naming the process and the slot where work on one of these slots is under way."""
    for slot in slots:
        if (holder := claims.holder(slot)) is not None:
            raise HeldError(f"{slot} is being worked on by {holder}; wait for it or stop it.", holder, slot)
