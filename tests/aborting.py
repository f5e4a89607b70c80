"""Stands in for a decoder that ends its process with some files, as Polars does with few of many thousand damaged ones."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from xlwh.store import Entry
from xlwh.store.identity import identified as really


def identified(root: Path, file: str, now: datetime, *place: Any) -> Entry:
    if "language=de" in file:
        os.abort()
    return really(root, file, now, *place)
