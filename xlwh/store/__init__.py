"""The store: immutable Parquet partitions, the manifest of the current ones, and the catalogue of views over them.

What belongs here knows tables, files and SQL; it knows nothing of models, metrics or Dagster.
"""

from xlwh.store.checks import Finding
from xlwh.store.contract import empty, schema, typed
from xlwh.store.gc import GcReport
from xlwh.store.slots import Entry, Slot, contract, fingerprint
from xlwh.store.staging import Staging
from xlwh.store.take import take
from xlwh.store.warehouse import Warehouse

__all__ = [
    "Entry",
    "Finding",
    "GcReport",
    "Slot",
    "Staging",
    "Warehouse",
    "contract",
    "empty",
    "fingerprint",
    "schema",
    "take",
    "typed",
]
