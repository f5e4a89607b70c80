"""Bringing what another warehouse has into this one, such as what a second machine computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from xlwh.errors import StoreError
from xlwh.store.slots import Entry, contract

if TYPE_CHECKING:
    from xlwh.store.warehouse import Warehouse

_OWN = ("xlwh.table", "xlwh.version", "xlwh.fingerprint", "xlwh.rows")
"""Metadata that is written anew with each file."""


def take(warehouse: Warehouse, other: Warehouse, table: str) -> list[Entry]:
    """Copy the partitions of a table that `other` has and `warehouse` lacks, with fingerprints and provenance.

    What both have stays as it is. Whether something that was taken is up to date, the step that makes it judges by its
    fingerprint, as ever. `StoreError` where the other warehouse was written under another version of the table.
    """
    taken = []
    for entry in other.entries(table):
        if warehouse.current(entry.slot) is not None:
            continue
        if entry.version != contract(table).version:
            raise StoreError(
                f"{entry.slot} in {other.root} has version {entry.version} of its contract, here it is "
                f"{contract(table).version}. Run there: xlwh materialize {table}"
            )
        path = other.root / entry.file
        frame = pl.read_parquet(path, hive_partitioning=False, glob=False)
        told = pl.read_parquet_metadata(path)
        provenance = {
            name: value for name, value in told.items() if name.startswith("xlwh.") and name not in _OWN
        }
        taken += warehouse.write({entry.slot: frame}, entry.fingerprint, provenance)
    return taken
