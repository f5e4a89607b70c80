"""The catalogue: a DuckDB file of views only, each naming its exact files, swapped whole.

Nobody writes to a catalogue that readers can see: it is built under another name and renamed into place.

Its paths are absolute, so in a copied or moved warehouse they would lead to the files of the place that it was built
for, as long as those exist. So every view over files also asks DuckDB where the catalogues lie that are open, and refuses
to show anything when one that was built for its place is elsewhere.

The tables and views hold what is in the scope of the study; the schema `stored` holds every table complete.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shutil import copyfile

import duckdb
import polars as pl
from polars.datatypes import DataTypeClass

from xlwh.errors import SqlError, StoreError
from xlwh.store.connect import PRIVATE, open_private
from xlwh.store.contract import schema
from xlwh.store.files import path_beside, publish
from xlwh.store.locks import FileLock
from xlwh.store.manifest import Manifest, Snapshot
from xlwh.store.metrics import FOLDER as METRICS
from xlwh.store.slots import Entry, Slot
from xlwh.store.views import Definitions, Sources, View
from xlwh.tables import TABLES
from xlwh.tables.glossary import described

_LOCK_WAIT_S = 300.0

NAME = "catalog.duckdb"

EVERYTHING = "stored"
"""Schema of the tables with what is out of scope too."""

_MARK = "built_for_"

_TYPES = {
    pl.String: "VARCHAR",
    pl.Boolean: "BOOLEAN",
    pl.Int8: "TINYINT",
    pl.Int16: "SMALLINT",
    pl.Int32: "INTEGER",
    pl.Int64: "BIGINT",
    pl.UInt8: "UTINYINT",
    pl.UInt16: "USMALLINT",
    pl.UInt32: "UINTEGER",
    pl.UInt64: "UBIGINT",
    # DuckDB has no half precision of its own, and reads it as FLOAT.
    pl.Float16: "FLOAT",
    pl.Float32: "FLOAT",
    pl.Float64: "DOUBLE",
    pl.Binary: "BLOB",
    pl.Date: "DATE",
}


@dataclass(frozen=True)
class CatalogueInfo:
    """What a catalogue says of itself."""

    commit: int
    """Manifest commit that it shows."""
    built_at: datetime
    """UTC."""
    root: str
    """Warehouse that its paths lead to."""
    definitions: str
    """Digest of the SQL and the contracts that it was built from."""


def publish_catalogue(root: Path, manifest: Manifest, sources: Sources) -> Path:
    """Build `root/catalog.duckdb` from the manifest's last commit, unless it is already just that.

    One builder at a time: whoever waited for another one finds its work done, or a newer commit to show. Where only
    stored files have changed, the views over those are replaced in a copy: making all views anew takes a second.
    """
    path = root / NAME
    with FileLock(root / "catalog.lock", f"The catalogue of {root}", wait_s=_LOCK_WAIT_S):
        found = read_info(path)
        wanted = (manifest.head(), str(root), sources.digest)
        if found is not None and (found.commit, found.root, found.definitions) == wanted:
            return path
        snapshot = manifest.snapshot()
        unfinished = path_beside(path)
        try:
            if found is not None and found.definitions == sources.digest:
                copyfile(path, unfinished)
                here = found.root == str(root) and found.commit < snapshot.commit
                changed = manifest.changes(found.commit).tables if here else TABLES.keys()
                _update(unfinished, root, changed, snapshot, sources)
            else:
                build(unfinished, root, snapshot, sources)
            publish(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path


def build(path: Path, root: Path, snapshot: Snapshot, sources: Sources) -> None:
    """Make a catalogue of `snapshot` in the new file `path`.

    Raises `SqlError` naming the file of a view that DuckDB refuses, and `StoreError` for Parquet files that are gone.
    """
    definitions = sources.load()
    with duckdb.connect(path) as database:
        fill(database, root, snapshot, definitions, TABLES, _place_guard(root))
        _inform(database, root, snapshot, sources)
        _comment(database, definitions.views.values())


def _update(path: Path, root: Path, changed: Collection[str], snapshot: Snapshot, sources: Sources) -> None:
    """Bring the catalogue in `path` to a snapshot by which these tables are others; its views stay."""
    with duckdb.connect(path) as database:
        for table, files in _by_table(snapshot, [table for table in TABLES if table in changed]).items():
            _make_table_views(database, root, table, files, _place_guard(root))
        _inform(database, root, snapshot, sources)


def _place_guard(root: Path) -> str:
    """A condition that holds where the catalogue is opened at its own place, or privately; anywhere else it is an error.

    A view cannot ask which database it is in, so all that are attached and were built for `root` have to lie there: a
    copy shows nothing beside the original either. Private copies are made by who has looked at the place already. The
    condition costs a query about two milliseconds.
    """
    own = root / NAME
    path, shown = "path", str(own)
    if _ignores_case(root):
        path, shown = "lower(path)", shown.lower()
    message = (
        f"This catalogue was built for {root} and has been copied or moved: it would show the files of that place. "
        "Build it anew for the place where it is now: xlwh catalogue --warehouse FOLDER"
    )
    here = f"{path} = {_quoted(shown)} or contains(path, {_quoted(PRIVATE)})"
    return (
        f"(select case when count(*) > 0 and bool_and({here}) then true else error({_quoted(message)}) end "
        "from duckdb_schemas() join duckdb_databases() using (database_oid) "
        f"where schema_name = {_quoted(_place_mark(root))})"
    )


def _place_mark(root: Path) -> str:
    """Name of the empty schema that says in a catalogue for which place it was built."""
    return _MARK + hashlib.sha256(str(root).encode()).hexdigest()[:16]


def _ignores_case(root: Path) -> bool:
    """Whether names that differ in case only are one file there, as DuckDB may spell a path as it was typed."""
    swapped = root.with_name(root.name.swapcase())
    return swapped != root and same_place(swapped, root)


def same_place(one: Path | str, other: Path | str) -> bool:
    """Whether two paths lead to one folder, however they are spelt: through links, or in another case."""
    try:
        return str(one) == str(other) or os.path.samefile(one, other)
    except OSError:
        return False


def _inform(database: duckdb.DuckDBPyConnection, root: Path, snapshot: Snapshot, sources: Sources) -> None:
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    mark = _place_mark(root)
    found = database.execute(
        "select schema_name from duckdb_schemas() where starts_with(schema_name, $1)", [_MARK]
    )
    for (other,) in found.fetchall():
        if other != mark:
            database.execute(f'drop schema "{other}"')
    database.execute(f'create schema if not exists "{mark}"')
    database.execute(
        "create or replace view catalogue_info as select "
        f"{snapshot.commit}::bigint as commit, {_quoted(now)}::timestamp as built_at, "
        f"{_quoted(str(root))} as root, {_quoted(sources.digest)} as definitions"
    )


@dataclass(frozen=True)
class _Files:
    """The current files of one table."""

    shown: list[Entry]
    hidden: list[Entry]
    """Out of the study's scope."""


def _by_table(snapshot: Snapshot, tables: Collection[str]) -> dict[str, _Files]:
    found = {table: _Files([], []) for table in tables}
    for entry in snapshot.entries:
        if (files := found.get(entry.slot.table)) is not None:
            (files.hidden if entry.slot in snapshot.hidden else files.shown).append(entry)
    return found


def try_out(definitions: Definitions) -> None:
    """Make all views over empty tables, and throw them away. Raises `SqlError` naming the file of one that fails."""
    with duckdb.connect() as database:
        fill(database, Path(), Snapshot(0, None, ()), definitions, TABLES)
        _comment(database, definitions.views.values())


def fill(
    database: duckdb.DuckDBPyConnection,
    root: Path,
    snapshot: Snapshot,
    definitions: Definitions,
    tables: Collection[str],
    guard: str = "true",
) -> None:
    """Create `files.<table>` (in scope) and `stored.<table>` (complete) for each of `tables`, the macros and the views.

    `guard` is a condition on all files.
    """
    database.execute(f"create schema files; create schema {EVERYTHING}")
    for table, files in _by_table(snapshot, tables).items():
        _make_table_views(database, root, table, files, guard)
    for step in definitions.steps:
        sql = step.sql
        if isinstance(step, View):
            # Results of installed packages' metrics are files too.
            shown = f"select * from ({sql}) where {guard}" if step.folder == METRICS else sql
            sql = f'create view "{step.name}" as\n{shown}'
        try:
            database.execute(sql)
        except duckdb.Error as error:
            raise SqlError(f"{step.path}: {error}") from error


def _make_table_views(
    database: duckdb.DuckDBPyConnection, root: Path, table: str, files: _Files, guard: str
) -> None:
    _make_files_view(database, root, f"files.{table}", files.shown, guard)
    name = f"{EVERYTHING}.{table}"
    if files.hidden:
        _make_files_view(database, root, name, sorted([*files.shown, *files.hidden], key=_slot), guard)
    else:
        database.execute(f"create or replace view {name} as from files.{table}")


def _slot(entry: Entry) -> Slot:
    return entry.slot


def _make_files_view(
    database: duckdb.DuckDBPyConnection, root: Path, view: str, entries: Sequence[Entry], guard: str
) -> None:
    table = view.rpartition(".")[2]
    for entry in entries:
        if not (root / entry.file).is_file():
            raise StoreError(f"The file {entry.file} of `{table}` is gone from {root}. Run: `xlwh check`.")
    try:
        database.execute(f"create or replace view {view} as {_files_view(root, table, entries, guard)}")
    except duckdb.Error as error:
        raise StoreError(f"A file of `{table}` cannot be read: {_line(error)}. Run: `xlwh check`.") from error


def read_info(path: Path) -> CatalogueInfo | None:
    """What the catalogue at `path` says of itself; None if it is none or cannot be read."""
    try:
        with open_private(partial(copyfile, path)) as database:
            rows = database.execute(
                "select commit, built_at, root, definitions from catalogue_info"
            ).fetchall()
    except (duckdb.Error, OSError):
        return None
    [(commit, built_at, root, definitions)] = rows
    return CatalogueInfo(commit, built_at.replace(tzinfo=UTC), root, definitions)


def _files_view(root: Path, table: str, entries: Sequence[Entry], guard: str) -> str:
    columns = schema(table)
    names = ", ".join(f'"{name}"' for name in columns)
    nothing = ", ".join(f'null::{duckdb_type(dtype)} as "{name}"' for name, dtype in columns.items())
    if not entries:
        return f"select {nothing} where false"
    paths = ", ".join(_quoted(str(root / entry.file)) for entry in entries)
    # The folder names prune files before one is opened; the values are those of the columns inside.
    options = "hive_partitioning = true, hive_types_autocast = false"
    if {entry.version for entry in entries} == {TABLES[table].version}:
        return f"select {names} from read_parquet([{paths}], {options}) where {guard}"
    # Files of an earlier contract stay readable until they are computed again: absent columns are NULL.
    return (
        f"select {names} from (select {nothing} where false union all by name "
        f"select * from read_parquet([{paths}], {options}, union_by_name = true)) where {guard}"
    )


def duckdb_type(dtype: pl.DataType | DataTypeClass) -> str:
    """DuckDB's type for a contract's Polars type, as it comes out of Parquet (so arrays are lists)."""
    if isinstance(dtype, pl.List | pl.Array):
        return f"{duckdb_type(dtype.inner)}[]"
    if isinstance(dtype, pl.Struct):
        return f"STRUCT({', '.join(f'{_name(f.name)} {duckdb_type(f.dtype)}' for f in dtype.fields)})"
    if isinstance(dtype, pl.Datetime):
        return "TIMESTAMP" if dtype.time_zone is None else "TIMESTAMPTZ"
    return next(name for known, name in _TYPES.items() if dtype == known)


def _comment(database: duckdb.DuckDBPyConnection, views: Iterable[View]) -> None:
    present: dict[str, set[str]] = {}
    for view, column in database.execute(
        "select table_name, column_name from duckdb_columns() where schema_name = 'main' and not internal"
    ).fetchall():
        present.setdefault(view, set()).add(column)
    statements = []
    for view in views:
        statements.append(f"comment on view {_name(view.name)} is {_quoted(view.description)}")
        for column, description in view.columns.items():
            if column not in present.get(view.name, set()):
                raise SqlError(
                    f"{view.path}: the header describes a column `{column}` that the view does not have. "
                    f"Columns: {', '.join(sorted(present.get(view.name, set())))}."
                )
            statements.append(
                f"comment on column {_name(view.name)}.{_name(column)} is "
                f"{_quoted(described(view.name, column, description))}"
            )
    if statements:
        database.execute("begin; " + "; ".join(statements) + "; commit")


def _line(error: Exception) -> str:
    return str(error).split("\n")[0]


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
