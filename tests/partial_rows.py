"""Tables from partial rows: a test writes down only the columns it is about.

The others get a default that the table's contract accepts.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from xlwh.store import Slot, Warehouse
from xlwh.tables import TABLES

Rows = Iterable[Mapping[str, Any]]
FrameBuilder = Callable[..., pl.DataFrame]

DEFAULTS: dict[str, Any] = {
    "model": "m",
    "dataset": "d",
    "split": "dev",
    "language": "en",
    "source_language": "en",
    "target_language": "de",
    "example_id": "1",
    "task": "sentence_pair",
    "method": "lig",
    "target": "yes",
    "target_policy": "source_prediction",
    "space": "vectors",
    "unit": "word",
    "normalization": "abs",
    "alignment": "given",
    "kind": "path",
    "clustering": "d.encoder.1.monolingual-en.k2.s0",
    "corpus": "d",
    "scope": "monolingual:en",
    "stack": "encoder",
    "layer": 1,
    "aggregation": "last",
    "algorithm": "faiss",
    "baseline": "none",
    "provenance": "dictionary.txt",
    "weight_hash": "0" * 64,
    "tokenizer_hash": "0" * 64,
    "variant": "paper",
    "parameters": "{}",
    "importance": "signed",
    "mode": "hard",
    "masking": "mask",
    "masked_at": "tokens",
    "empty_input": "all",
    "query": "none",
    "side": "sufficiency",
    "value_unit": "share",
}
"""Columns whose contract accepts few values, or that many tables share; every other column is NULL, zero, false
or its own name, by type."""


def _default(name: str, column: Any) -> Any:
    if column.nullable:
        return None
    if name in DEFAULTS:
        return DEFAULTS[name]
    dtype = column.dtype
    if dtype == pl.Boolean:
        return False
    if dtype.is_numeric():
        return column.min or 0
    if isinstance(dtype, pl.List):
        return []
    return name


def filled(table: str, rows: Rows, **common: Any) -> pl.DataFrame:
    """A frame that keeps the table's contract, made from partial rows."""
    contract = TABLES[table]
    columns = contract.columns()
    made = []
    for row in rows:
        given = {**common, **row}
        unknown = set(given) - set(columns)
        assert not unknown, f"{table} has no column {sorted(unknown)}"
        made.append({name: given.get(name, _default(name, c)) for name, c in columns.items()})
    return contract.validate(pl.DataFrame(made, schema={name: c.dtype for name, c in columns.items()}))


def fill(root: Path, tables: Mapping[str, pl.DataFrame], views: Path | None = None) -> Warehouse:
    """A warehouse with these tables, one file for each partition and dataset, and its catalogue."""
    warehouse = Warehouse(root, create=True)
    if views is not None:
        shutil.copyfile(views, root / "catalog.duckdb")
    frames: dict[Slot, pl.DataFrame] = {}
    for name, table in tables.items():
        partition = TABLES[name].partition_by
        part = [c for c in ("dataset",) if c in table.columns and c not in partition and partition]
        groups = table.partition_by(*partition, *part, as_dict=True) if partition else {(): table}
        for values, group in groups.items():
            slot = Slot(name, values[: len(partition)], *values[len(partition) :])
            frames[slot] = group
    warehouse.write(frames, fingerprint="0" * 32)
    warehouse.build_catalogue()
    return warehouse
