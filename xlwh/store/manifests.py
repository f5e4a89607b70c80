"""Opening the manifest of a warehouse, of whichever kind it is."""

from __future__ import annotations

from pathlib import Path

from xlwh.errors import StoreError
from xlwh.store.files import MANIFEST
from xlwh.store.manifest_sql import SqlManifest
from xlwh.store.place import is_embedded
from xlwh.store.roots import source_of


def open_manifest(root: Path) -> SqlManifest:
    """The manifest of a warehouse; an embedded one is made where there is none."""
    if is_embedded(root):
        if (url := source_of(root)) is not None:
            raise StoreError(
                f"The warehouse {url} has its manifest in PostgreSQL, and none is named. Run: xlwh manifest "
                f"postgresql://USER@HOST/DATABASE --warehouse {url}"
            )
        from xlwh.store.manifest_sqlite import SqliteManifest

        return SqliteManifest(root / MANIFEST)
    from xlwh.store.manifest_postgres import PostgresManifest

    return PostgresManifest(root)
