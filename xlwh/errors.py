"""One base class for everything that xlwh refuses, and the few kinds a caller may want to tell apart.

Every message says what is wrong, where, and what to do; nothing here holds logic.
"""

from __future__ import annotations

from typing import Any


class XlwhError(Exception):
    """Base of all errors that xlwh raises on purpose. The CLI prints the message and exits 1."""


class StudyError(XlwhError):
    """`study.toml` cannot be used: names the key, the line and what would be accepted."""


class ContractError(XlwhError):
    """A frame breaks its table's contract; nothing was written."""


class StoreError(XlwhError):
    """The warehouse on disk is missing, damaged, or held by another process."""


class HeldError(StoreError):
    """Another process is at it: who (`holder`), and at which slot of a warehouse (None where it is no slot)."""

    def __init__(self, text: str, holder: str = "", slot: Any = None) -> None:
        super().__init__(text)
        self.holder = holder
        self.slot = slot

    def __reduce__(self) -> tuple[type[HeldError], tuple[str, str, Any]]:
        return type(self), (str(self), self.holder, self.slot)


class SqlError(XlwhError):
    """A view or a query is refused or fails: names the file or the reason."""


class CorpusError(XlwhError):
    """A data file is missing or is not of the format that its reader expects."""


class AbsentFileError(CorpusError):
    """A file that the study names is not there."""

    def __init__(self, text: str, path: object = None) -> None:
        super().__init__(text)
        self.path = None if path is None else str(path)
        """Of the file, to tell it once whoever misses it; None if unknown."""


class SourceError(XlwhError):
    """Something that a study needs from outside cannot be had: says what, from where, and what to do."""


class UnreachableError(SourceError):
    """The hub cannot be asked for anything: no network, a wrong address, or HF_HUB_OFFLINE."""


class ModelError(XlwhError):
    """A model cannot be loaded safely, or does not offer what was asked of it."""


class MissingDataError(XlwhError):
    """Something was asked for that has not been materialised yet; names the command that mends it."""
