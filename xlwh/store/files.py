"""Durable files: written under a temporary name, synced, then renamed; and the Parquet files made that way."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from xlwh.errors import StoreError
from xlwh.tables import Table

UNFINISHED = ".tmp-"
"""Files and folders whose name starts with this were never made current; `xlwh gc` removes them."""


def path_beside(path: Path) -> Path:
    """A new temporary name in the folder of `path`, of a form that no reader takes for data."""
    return path.with_name(f"{UNFINISHED}{secrets.token_hex(8)}")


def sync(path: Path) -> None:
    """Flush a file's or folder's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(unfinished: Path, path: Path) -> None:
    """Sync a finished file, rename it to its own name, and sync the folder."""
    sync(unfinished)
    unfinished.rename(path)
    sync(path.parent)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, and sync what names them."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        sync(new.parent)


def metadata_of(path: Path) -> dict[str, str] | None:
    """Key-value metadata of a Parquet file; None where there is no file, or none that can be read."""
    try:
        return pl.read_parquet_metadata(path)
    except (pl.exceptions.PolarsError, OSError):
        return None


def write_parquet(
    frame: pl.DataFrame | pl.LazyFrame,
    path: Path,
    metadata: Mapping[str, str],
    row_group_rows: int = Table.row_group_rows,
) -> int:
    """Write a frame to `path` durably, with key-value metadata. Returns the size in bytes.

    A lazy frame is streamed, in its order. Raises `StoreError` if the disk refuses.
    """
    unfinished = path_beside(path)
    # Level 1: attributions hardly compress further at higher ones, and encoding is most of the time.
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": 1,
        "statistics": True,
        "row_group_size": row_group_rows,
        "metadata": dict(metadata),
    }
    try:
        if isinstance(frame, pl.LazyFrame):
            frame.sink_parquet(unfinished, maintain_order=True, **options)
        else:
            frame.write_parquet(unfinished, **options)
        size = unfinished.stat().st_size
        publish(unfinished, path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return size


def remove_folder(folder: Path) -> None:
    """Remove a folder so that, whenever the process is killed, it is all there or not there at all."""
    doomed = path_beside(folder)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def size(number: int) -> str:
    """Bytes in a unit that is easy to read."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
