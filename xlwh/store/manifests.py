"""Opening the manifest of a warehouse, of whichever kind it is."""

from __future__ import annotations

from pathlib import Path

from xlwh.store.files import MANIFEST
from xlwh.store.manifest_sql import SqlManifest
from xlwh.store.place import is_embedded


def open_manifest(root: Path) -> SqlManifest:
    """The manifest of a warehouse; an embedded one is made where there is none."""
    if is_embedded(root):
        from xlwh.store.manifest_sqlite import SqliteManifest

        return SqliteManifest(root / MANIFEST)
    from xlwh.store.manifest_postgres import PostgresManifest

    return PostgresManifest(root)
