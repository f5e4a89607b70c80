"""Opening a warehouse to ask it something: at once where it has a catalogue, else by way of `Warehouse`, which makes one.

To open a catalogue takes DuckDB only; to make one takes the contracts, Polars and the parser of the views, which take
several times as long to import.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from xlwh.store.files import MANIFEST
from xlwh.store.manifest_file import ManifestFile, has_manifest
from xlwh.store.objects import behind, root_of
from xlwh.store.place import is_embedded

if TYPE_CHECKING:
    import duckdb


def connect(
    path: Path | str = "warehouse", as_of: datetime | int | None = None, everything: bool = False
) -> duckdb.DuckDBPyConnection:
    """A read-only DuckDB connection with every view of the warehouse at `path`, a folder or a URL.

    It keeps showing the snapshot it was opened on. `as_of`, a manifest commit or a time, shows an earlier one;
    `everything` also what the study does not name. It can read the warehouse's tables and no other file, it can change no
    file, and its settings are locked; temporary tables and views may be made. Raises `StoreError` if there is no warehouse, or if files of the earlier snapshot were removed.
    """
    root = root_of(path)
    # A machine's catalogue of a warehouse in an object store is behind when another machine writes.
    is_everybodys = behind(root) is None
    if as_of is None and not everything and is_everybodys and has_manifest(root):
        from xlwh.store.connect import open_catalogue

        # The catalogue of a warehouse whose manifest is elsewhere can be read without that.
        if is_embedded(root):
            file = ManifestFile(root / MANIFEST)
            file.require_local()
            file.examine()
        if (opened := open_catalogue(root)) is not None:
            return opened
    from xlwh.store.warehouse import Warehouse

    return Warehouse(root).connect(as_of, everything=everything)


def query(path: Path | str, sql: str) -> duckdb.DuckDBPyConnection:
    """Run one reading statement on the warehouse at `path`; the result is fetched from the connection that comes back.

    Raises `SqlError` for statements that do anything but read (see `xlwh.store.query`), and for those that fail.
    """
    import duckdb

    from xlwh.store.connect import failure
    from xlwh.store.query import checked

    statement = checked(sql)
    database = connect(path)
    try:
        return database.execute(statement)
    except duckdb.Error as error:
        database.close()
        raise failure(error) from None
