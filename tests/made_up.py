"""Inputs that tests make up: written into a warehouse as they are, under a fingerprint that no step has."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import polars as pl

from xlwh.steps.base import Key
from xlwh.steps.planning import Planner
from xlwh.store import Entry, Slot, Warehouse, schema
from xlwh.tables import TABLES

_FINGERPRINT = re.compile(r"[0-9a-f]{32}")


def trust_made_up_inputs(patch: Any) -> None:
    """Let steps take files with a fingerprint such as `read` for up to date; `patch` is pytest's monkeypatch."""
    genuine = Planner.is_current

    def is_current(self: Planner, entry: Entry, key: Key) -> bool:
        return _FINGERPRINT.fullmatch(entry.fingerprint) is None or genuine(self, entry, key)

    patch.setattr(Planner, "is_current", is_current)


def parallel(warehouse: Warehouse, dataset: str, languages: Iterable[str], split: str = "dev") -> None:
    """Say that the languages of a dataset are translations of each other."""
    warehouse.write({Slot("parallelism", (dataset,)): parallel_rows(dataset, languages, split)}, "compared")


def parallel_rows(dataset: str, languages: Iterable[str], split: str = "dev") -> pl.DataFrame:
    """Rows of `parallelism` by which the languages of a dataset are translations of each other."""
    first, *others = languages
    values = {
        "dataset": dataset,
        "split": split,
        "source_language": first,
        "joined_by": "id",
        "aligned": "checked",
        "verdict": "parallel",
        "is_refused": False,
    }
    return pl.concat(row("parallelism", **values, target_language=each) for each in others)


def row(table: str, **values: Any) -> pl.DataFrame:
    """One row of a table: these values, and nothing in the other columns."""
    types, columns = schema(table), TABLES[table].columns()
    nothing = {name: _nothing(dtype, columns[name]) for name, dtype in types.items()}
    return pl.DataFrame([nothing | values], schema=types)


def _nothing(dtype: pl.DataType, column: Any) -> Any:
    if dtype != pl.String:
        return 0 if dtype.is_numeric() else None
    # Where a text has a form, an empty one has none.
    return None if column.nullable and (column.regex or column.min_length) else ""
