"""What a warehouse holds, to be compared with what another one does, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from xlwh.store import Warehouse
from xlwh.store.checkpoints import bring, checkpoint_of
from xlwh.store.objects import at_hand

MEASURED = {"duration_s"}
"""Columns of what was measured, which is another number each time."""


def contents(root: Path | str) -> dict[str, tuple[str, pl.DataFrame]]:
    """Slot -> fingerprint and rows of what is current, and the weights of its checkpoints."""
    warehouse = Warehouse(root)
    found = {}
    for entry in warehouse.entries():
        frame = pl.read_parquet(at_hand(warehouse.root, entry.file), hive_partitioning=False, glob=False)
        found[str(entry.slot)] = (entry.fingerprint, frame.drop(MEASURED, strict=False))
        if entry.slot.table == "models" and (folder := checkpoint_of(warehouse.root, entry)) is not None:
            bring(warehouse.root, warehouse.manifest.artefact(("model", entry.slot.keys[0]), folder.name))
            for file in folder.glob("*.safetensors") if folder.is_dir() else ():
                found[f"{entry.slot} {file.name}"] = ("", pl.DataFrame({"bytes": [file.read_bytes()]}))
    return found


def assert_same(
    one: Mapping[str, tuple[str, pl.DataFrame]], other: Mapping[str, tuple[str, pl.DataFrame]]
) -> None:
    """Both hold the same slots, with the same fingerprints and rows."""
    assert one.keys() == other.keys()
    for name, (fingerprint, frame) in one.items():
        assert fingerprint == other[name][0], name
        assert frame.equals(other[name][1], null_equal=True), name
