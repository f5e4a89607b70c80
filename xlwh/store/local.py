"""SQLite's files where they are safe, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from xlwh.errors import StoreError
from xlwh.mounts import OVERRIDE, network_type


def require_local(folder: Path, what: str) -> None:
    """Refuse to keep a SQLite file in a folder that is on a file system of a network; `StoreError` says what to do."""
    kind = network_type(folder)
    if kind is not None:
        raise StoreError(
            f"{what} would be a SQLite file in {folder}, which is on a file system of the type {kind}: there SQLite's locks do "
            "not reach other machines, and what two of them write at once is damaged without an error. Keep the manifest in "
            "PostgreSQL (xlwh manifest postgresql://USER@HOST/DATABASE), or the warehouse on a disk of this machine. If only "
            f"one machine ever uses it at a time: {OVERRIDE}=1"
        )
