"""Parquet files that are written durably, and what is said of them in their metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from xlwh.errors import StoreError
from xlwh.failures import full_disk
from xlwh.store.files import path_beside, publish
from xlwh.tables import Table


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
    except pl.exceptions.PolarsError as error:
        if full := full_disk(error, [path.parent]):
            raise StoreError(f"{path} cannot be written. {full}") from error
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    return size
