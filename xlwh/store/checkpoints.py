"""Checkpoints of models that are made here: folders beside the tables, which the rows of `models` name."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from xlwh.store.slots import Entry

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
