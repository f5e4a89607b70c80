"""Checkpoints of models that are made here: folders beside the tables, which the rows of `models` name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from xlwh.digests import HashCache
from xlwh.store.artefacts import Artefact, Name, on_disk
from xlwh.store.files import files_in
from xlwh.store.slots import Entry, Slot

CHECKPOINT = "xlwh.checkpoint"
"""Metadata of a file of `models`: name of its checkpoint's folder."""
DIGITS = 16
"""Hex digits of a training's digest that its folder is named by."""


def checkpoint_folder(root: Path, model: str, digest: str) -> Path:
    """Where the checkpoint of a training lies: `models/<model>/<first digits of the digest>`."""
    return root / "models" / model / digest[:DIGITS]


def checkpoint_of(root: Path, row: Entry) -> Path | None:
    """The folder that a current row of `models` names; None where the row's file is gone.

    Files without that metadata were written under the training's own digest.
    """
    file = root / row.file
    if not file.is_file():
        return None
    named = pl.read_parquet_metadata(file).get(CHECKPOINT, row.fingerprint)
    return checkpoint_folder(root, row.slot.keys[0], named)


def checkpoint(root: Path, model: str, folder: Path, hashes: HashCache) -> Artefact:
    """The artefact that a finished checkpoint is."""
    return on_disk(root, "model", model, [path for path, _ in files_in(folder)], hashes, folder.name)


def resting(slots: Iterable[Slot]) -> set[Name]:
    """Artefacts that are part of what these slots hold: they come and go with them."""
    return {("model", slot.keys[0]) for slot in slots if slot.table == "models"}
