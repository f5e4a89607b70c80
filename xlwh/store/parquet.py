"""Parquet files that are written durably, and what is said of them in their metadata."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from xlwh.digests import sha256
from xlwh.errors import StoreError
from xlwh.failures import full_disk
from xlwh.store.files import path_beside, publish
from xlwh.tables import Table

_MAGIC = b"PAR1"
"""What a Parquet file begins with and ends in."""

_LEAST_BYTES = 12
"""Of a Parquet file without a footer: twice that, and the footer's length in four bytes."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Written:
    """What is known of a file from its writing."""

    size_bytes: int
    digest: str
    """SHA-256, in hexadecimal."""


def is_whole(path: Path) -> bool:
    """Whether a file begins and ends as a Parquet file does, which one that was cut short does not. OSError."""
    with path.open("rb", buffering=0) as file:
        begin = file.read(4)
        size = file.seek(0, os.SEEK_END)
        if begin != _MAGIC or size < _LEAST_BYTES:
            return False
        file.seek(-8, os.SEEK_END)
        end = file.read()
        return end[4:] == _MAGIC and 0 < int.from_bytes(end[:4], "little") <= size - _LEAST_BYTES


class UnreadableError(StoreError):
    """Bytes that a decoder refuses, or fails on."""


def decoded(decode: Callable[[], T]) -> T:
    """The result of a decoder. UnreadableError with whatever it raises: damaged bytes make some of them panic."""
    try:
        return decode()
    except (KeyboardInterrupt, SystemExit):
        raise
    # Polars' panics are no `Exception`, and absurd sizes end in MemoryError.
    except BaseException as error:
        lines = str(error).strip().splitlines()
        raise UnreadableError(lines[0] if lines else type(error).__name__) from error


def metadata_of(path: Path | BytesIO) -> dict[str, str] | None:
    """Key-value metadata of a Parquet file; None where there is no file, or none that can be read."""
    try:
        return decoded(lambda: pl.read_parquet_metadata(path))
    except UnreadableError:
        return None


def write_parquet(
    frame: pl.DataFrame | pl.LazyFrame,
    path: Path,
    metadata: Mapping[str, str],
    row_group_rows: int = Table.row_group_rows,
) -> Written:
    """Write a frame to `path` durably, with key-value metadata.

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
        written = Written(unfinished.stat().st_size, sha256([unfinished]))
        publish(unfinished, path, final=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}.") from error
    except pl.exceptions.PolarsError as error:
        if full := full_disk(error, [path.parent]):
            raise StoreError(f"{path} cannot be written. {full}") from error
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    return written
