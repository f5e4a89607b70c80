"""The store: immutable Parquet partitions, the manifest of the current ones, and the catalogue of views over them.

What belongs here knows tables, files and SQL; it knows nothing of models, metrics or Dagster.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xlwh.store.contract import empty, schema, typed
    from xlwh.store.gc import GcReport
    from xlwh.store.integrity import Finding
    from xlwh.store.slots import Entry, Slot, fingerprint
    from xlwh.store.staging import Staging
    from xlwh.store.warehouse import Warehouse

__all__ = [
    "Entry",
    "Finding",
    "GcReport",
    "Slot",
    "Staging",
    "Warehouse",
    "empty",
    "fingerprint",
    "schema",
    "typed",
]

_HOMES = {
    "Entry": "slots",
    "Finding": "integrity",
    "GcReport": "gc",
    "Slot": "slots",
    "Staging": "staging",
    "Warehouse": "warehouse",
    "empty": "contract",
    "fingerprint": "slots",
    "schema": "contract",
    "typed": "contract",
}
"""Names -> the modules here that define them. None is called like a module: importing that would take its place."""


def __getattr__(name: str) -> Any:
    # Lazy: to open a catalogue, or to write a file durably, must not cost what Polars and the contracts cost.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
