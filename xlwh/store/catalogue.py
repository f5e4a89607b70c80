"""The catalogue: a DuckDB file of views only, each naming its exact files, swapped whole.

Nobody writes to a catalogue that readers can see: it is built under another name and renamed into place.

It is of a format that DuckDB reads from 1.4 on. How its views find their files, also from another program, and why those
of a copied catalogue show nothing: see `xlwh.store.addresses`.

The tables and views hold what is in the scope of the study; the schema `stored` holds every table complete. A view whose
rows are kept (`xlwh.store.kept`) for what is stored now reads them; any other one is its own SQL.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile

import duckdb
import polars as pl
from polars.datatypes import DataTypeClass

from xlwh.errors import SqlError, StoreError
from xlwh.store.addresses import HERE, MARK, make_macros, paths, place_mark
from xlwh.store.connect import FORM, KEPT, NAME, CatalogueInfo, read_info, read_objects, same_place
from xlwh.store.contract import schema
from xlwh.store.files import path_beside, publish
from xlwh.store.kept import (
    Fingerprints,
    Kept,
    all_kept,
    changes,
    check,
    check_columns,
    digest_file,
    were_kept,
)
from xlwh.store.literals import quoted, quoted_name
from xlwh.store.locks import FileLock
from xlwh.store.manifest import Manifest, Snapshot
from xlwh.store.reading import is_lost, segment_damage
from xlwh.store.segments import COLUMN, count_in
from xlwh.store.slots import Entry, Slot
from xlwh.store.views import METRICS, Definitions, Macro, Sources, View
from xlwh.tables import TABLES
from xlwh.tables.glossary import described

_LOCK_WAIT_S = 300.0

EVERYTHING = "stored"
"""Schema of the tables with what is out of scope too."""

_STORAGE = "v1.2.0"
"""Format of the catalogue: DuckDB 1.4 and 1.5 read it too."""

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


def publish_catalogue(root: Path, manifest: Manifest, sources: Sources) -> Path:
    """Build `root/catalog.duckdb` from the manifest's last commit, unless it is already just that.

    Which rows of views are kept is looked up for a new commit, new SQL or another place, where some that it reads are
    gone or cut short, and where some may have been kept since, also by a process that was killed.

    One builder at a time: whoever waited for another one finds its work done, or a newer commit to show. Where only
    stored files and kept rows have changed, the views over those are replaced in a copy: making all views anew takes a
    second.
    """
    path = root / NAME
    with FileLock(root / "catalog.lock", f"The catalogue of {root}", wait_s=_LOCK_WAIT_S):
        found = read_info(path)
        # Read before the kept rows are looked up: what is kept meanwhile is found the next time.
        noted = changes(root)
        if found is not None and not found.lost():
            wanted = (manifest.head(), str(root), sources.digest, noted)
            if (found.commit, found.root, found.definitions, found.changes) == wanted:
                return path
        unfinished = path_beside(path)
        try:
            if found is not None and found.definitions == sources.digest:
                copyfile(path, unfinished)
                kept = _update(unfinished, root, found, manifest, sources, noted)
            else:
                snapshot = manifest.snapshot()
                kept = all_kept(root, Fingerprints(sources.load(), snapshot))
                _make(unfinished, root, snapshot, sources, kept, noted)
            publish(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
            # DuckDB leaves its log where it could not finish, as on a full disk.
            Path(f"{unfinished}.wal").unlink(missing_ok=True)
        if found is not None and same_place(found.root, root):
            _note_superseded(root, found.kept, kept)
    return path


def _note_superseded(root: Path, before: Mapping[str, Collection[str]], after: Mapping[str, Kept]) -> None:
    """Let the files that are not shown any more be as young as that: who reads them has the usual time to finish."""
    shown = {file for each in after.values() for file in each.files}
    for file in {file for files in before.values() for file in files} - shown:
        for name in (file, digest_file(file)):
            with suppress(OSError):
                os.utime(root / KEPT / name)


@contextmanager
def _writable(path: Path, root: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The catalogue in `path`, new or not, of the warehouse at `root`; whole in that one file at the end."""
    with duckdb.connect() as database:
        read_objects(database, root)
        database.execute(f"attach {quoted(str(path))} as catalogue (storage_version {quoted(_STORAGE)})")
        database.execute("use catalogue")
        yield database
        try:
            database.execute("checkpoint")
        except duckdb.Error as error:
            raise StoreError(f"The catalogue cannot be written: {_line(error)}") from error


def build(path: Path, root: Path, snapshot: Snapshot, sources: Sources) -> None:
    """Make a catalogue of `snapshot` in the new file `path`, with whatever rows are kept for it.

    Raises `SqlError` naming the file of a view that DuckDB refuses, and `StoreError` for Parquet files that are gone.
    """
    _make(path, root, snapshot, sources, all_kept(root, Fingerprints(sources.load(), snapshot)), "")


def _make(
    path: Path, root: Path, snapshot: Snapshot, sources: Sources, kept: Mapping[str, Kept], noted: str
) -> None:
    definitions = sources.load()
    check(definitions)
    with _writable(path, root) as database:
        fill(database, root, snapshot, definitions, TABLES, guarded=True, kept=kept)
        _inform(database, root, snapshot, sources, kept, noted)
        _comment(database, definitions.views.values())


def _update(
    path: Path, root: Path, found: CatalogueInfo, manifest: Manifest, sources: Sources, noted: str
) -> Mapping[str, Kept]:
    """Bring the catalogue in `path`, which is as `found` says, to the last commit; the kept rows that it reads then.

    Of the manifest only what is needed is read: tables that are others since, and those behind views whose rows are kept.
    Views stay as they are, but for those whose rows are kept now and were not, or the other way round.
    """
    commit, tables = manifest.head(), set(TABLES)
    if found.root == str(root) and found.commit <= commit:
        tables = manifest.changes(found.commit).tables
    on_disk = were_kept(root, sources.names)
    definitions = sources.load() if on_disk or found.kept else Definitions(())
    behind = definitions.needed_for(on_disk)
    snapshot = _partly(manifest, commit, tables | behind.files)
    kept = all_kept(root, Fingerprints(behind, snapshot), on_disk)
    with _writable(path, root) as database:
        make_macros(database, root, root / NAME)
        for table, files in _by_table(snapshot, tables).items():
            _make_table_views(database, root, table, files)
        views = [
            view
            for name, view in definitions.views.items()
            if (kept[name].files if name in kept else None) != found.kept.get(name)
        ]
        for view in views:
            _make_view(database, view, kept.get(view.name), replace=True)
        _inform(database, root, snapshot, sources, kept, noted)
        if views:
            _comment(database, views)
    return kept


def _partly(manifest: Manifest, commit: int, tables: Iterable[str]) -> Snapshot:
    """The snapshot of a commit, of some tables."""
    parts = [manifest.snapshot(commit, table) for table in sorted(tables)]
    entries = tuple(entry for part in parts for entry in part.entries)
    return Snapshot(commit, None, entries, frozenset().union(*(part.hidden for part in parts)))


def _inform(
    database: duckdb.DuckDBPyConnection,
    root: Path,
    snapshot: Snapshot,
    sources: Sources,
    kept: Mapping[str, Kept],
    noted: str,
) -> None:
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    mark = place_mark(root)
    found = database.execute(
        "select schema_name from duckdb_schemas() where starts_with(schema_name, $1)", [MARK]
    )
    for (other,) in found.fetchall():
        if other != mark:
            database.execute(f'drop schema "{other}"')
    database.execute(f'create schema if not exists "{mark}"')
    database.execute(
        "create or replace view catalogue_info as select "
        f"{FORM} as form, {snapshot.commit}::bigint as commit, {quoted(now)}::timestamp as built_at, "
        f"{quoted(str(root))} as root, {quoted(sources.digest)} as definitions, {quoted(noted)} as changes"
    )
    # One text: a list of as many literals takes seconds to parse where there are many files.
    files = "\n".join(f"{size} {file}" for each in kept.values() for file, size in each.files.items())
    database.execute(
        "create schema if not exists kept; create or replace view kept.files as "
        "select regexp_extract(line, ' (.*)', 1) as file, split_part(line, ' ', 1)::bigint as size_bytes "
        f"from (select unnest(string_split({quoted(files)}, chr(10))) as line) where line <> ''"
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


def try_out(definitions: Definitions, root: Path = Path()) -> None:
    """Make all views over empty tables, and throw them away. Raises `SqlError` naming the file of one that fails.

    `root` is the warehouse whose results of installed packages' metrics they may read.
    """
    with duckdb.connect() as database:
        check(definitions)
        fill(database, root, Snapshot(0, None, ()), definitions, TABLES)
        _comment(database, definitions.views.values())


def fill(
    database: duckdb.DuckDBPyConnection,
    root: Path,
    snapshot: Snapshot,
    definitions: Definitions,
    tables: Collection[str],
    guarded: bool = False,
    kept: Mapping[str, Kept] | None = None,
) -> None:
    """Create `files.<table>` (in scope) and `stored.<table>` (complete) for each of `tables`, the macros and the views.

    `guarded`: whether views refuse to show anything in a catalogue that is not at its place; `kept` are those that read
    kept rows.
    """
    make_tables(database, root, snapshot, tables, guarded)
    for step in definitions.steps:
        make_step(database, step, kept or {})


def make_tables(
    database: duckdb.DuckDBPyConnection,
    root: Path,
    snapshot: Snapshot,
    tables: Collection[str],
    guarded: bool = False,
) -> None:
    """The part of `fill` that is over stored tables."""
    database.execute(f"create schema files; create schema {EVERYTHING}")
    make_macros(database, root, root / NAME if guarded else None)
    for table, files in _by_table(snapshot, tables).items():
        _make_table_views(database, root, table, files)


def make_step(database: duckdb.DuckDBPyConnection, step: View | Macro, kept: Mapping[str, Kept]) -> None:
    """Create one macro or view. Raises `SqlError` naming its file if DuckDB refuses it."""
    if isinstance(step, View):
        _make_view(database, step, kept.get(step.name))
    else:
        _run(database, step.sql, step)


def _make_view(
    database: duckdb.DuckDBPyConnection, view: View, kept: Kept | None, replace: bool = False
) -> None:
    sql = view.sql
    if kept is not None:
        sql = kept.select()
        try:
            database.execute(f"create {'or replace ' * replace}view {quoted_name(view.name)} as\n{sql}")
        except duckdb.Error as error:
            text = f"The kept rows of the view {view.name} cannot be read: {_line(error)}."
            raise StoreError(f"{text} Run: `xlwh catalogue`.") from error
        return
    if view.folder == METRICS:
        # Results of installed packages' metrics are files too.
        sql = f"select * from ({sql}) where {HERE}"
    _run(database, f"create {'or replace ' * replace}view {quoted_name(view.name)} as\n{sql}", view)


def _run(database: duckdb.DuckDBPyConnection, sql: str, step: View | Macro) -> None:
    try:
        database.execute(sql)
    except (duckdb.TransactionException, duckdb.FatalException) as error:
        # Not the view's fault: it could not be written down.
        raise StoreError(f"The catalogue cannot be written: {_line(error)}") from error
    except duckdb.Error as error:
        raise SqlError(f"{step.path}: {error}") from error


def _make_table_views(database: duckdb.DuckDBPyConnection, root: Path, table: str, files: _Files) -> None:
    make_files_view(database, root, f"files.{table}", files.shown)
    name = f"{EVERYTHING}.{table}"
    if files.hidden:
        make_files_view(database, root, name, sorted([*files.shown, *files.hidden], key=_slot))
    else:
        database.execute(f"create or replace view {name} as from files.{table}")


def _slot(entry: Entry) -> Slot:
    return entry.slot


def make_files_view(
    database: duckdb.DuckDBPyConnection, root: Path, view: str, entries: Sequence[Entry]
) -> None:
    """Create or replace the view over these files of one table, whose name is that of the view in its schema.

    Raises `StoreError` for a file that is gone or cannot be read.
    """
    table = view.rpartition(".")[2]
    for entry in entries:
        if entry.segment is None and is_lost(root, entry):
            raise StoreError(f"The file {entry.file} of `{table}` is gone from {root}. Run: `xlwh repair`.")
    for segment in {entry.segment for entry in entries if entry.segment is not None}:
        if (found := segment_damage(root, segment, deep=False)) is not None:
            raise StoreError(f"The segment {segment} in {root} is damaged: {found[1]}. Run: `xlwh repair`.")
    try:
        database.execute(f"create or replace view {view} as {_files_view(table, entries)}")
    except (duckdb.TransactionException, duckdb.FatalException) as error:
        raise StoreError(f"The catalogue cannot be written: {_line(error)}") from error
    except duckdb.Error as error:
        raise StoreError(
            f"A file of `{table}` cannot be read: {_line(error)}. Run: `xlwh repair`."
        ) from error


def _files_view(table: str, entries: Sequence[Entry]) -> str:
    columns = schema(table)
    names = ", ".join(f'"{name}"' for name in columns)
    nothing = ", ".join(f'null::{duckdb_type(dtype)} as "{name}"' for name, dtype in columns.items())
    if not entries:
        return f"select {nothing} where false"
    # Files of an earlier contract stay readable until they are computed again: absent columns are NULL.
    is_outdated = {entry.version for entry in entries} != {TABLES[table].version}
    more, chosen = (", union_by_name = true", "*") if is_outdated else ("", names)
    read = [f"select {nothing} where false"] if is_outdated else []
    if files := [entry.file for entry in entries if entry.segment is None]:
        # The folder names prune files before one is opened; the values are those of the columns inside.
        hive = f"hive_partitioning = true, hive_types_autocast = false{more}"
        read.append(f"select {chosen} from read_parquet({paths(files)}, {hive}) where {HERE}")
    whole, partly = _segments(entries)
    chosen = f"* exclude {COLUMN}" if is_outdated else names
    packed = f"select {chosen} from read_parquet({{}}, hive_partitioning = false{more}) where {HERE}"
    if whole:
        read.append(packed.format(paths(whole)))
    if partly:
        # Of what was made again since, a segment has the former rows.
        shown = _numbers(number for numbers in partly.values() for number in numbers)
        read.append(f"{packed.format(paths(partly))} and {COLUMN} in ({shown})")
    if len(read) == 1:
        return read[0]
    # Of a union DuckDB reads the first column even where it only counts rows: this one is in no file.
    counted = (part.replace("select ", "select true as counted, ", 1) for part in read)
    return f"select {names} from ({' union all by name '.join(counted)})"


def _segments(entries: Iterable[Entry]) -> tuple[list[str], dict[str, list[int]]]:
    """Segments of which all files are among these entries, and of the others which files are, by their numbers."""
    found: dict[str, list[int]] = {}
    for entry in entries:
        if entry.segment is not None and entry.number is not None:
            found.setdefault(entry.segment, []).append(entry.number)
    whole = [segment for segment, numbers in found.items() if len(numbers) == count_in(segment)]
    return whole, {segment: numbers for segment, numbers in found.items() if segment not in set(whole)}


def _numbers(numbers: Iterable[int]) -> str:
    """A query of whole numbers: those that follow one another as the first of them and how many they are."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == sum(runs[-1]):
            runs[-1][1] += 1
        else:
            runs.append([number, 1])
    text = " ".join(f"{first}+{count}" for first, count in runs)
    # One text: a list of as many literals takes seconds to parse where there are many.
    return (
        "select unnest(range(run[1]::bigint, run[1]::bigint + run[2]::bigint)) from (select string_split(unnest("
        f"string_split({quoted(text)}, ' ')), '+') as run)"
    )


def duckdb_type(dtype: pl.DataType | DataTypeClass) -> str:
    """DuckDB's type for a contract's Polars type, as it comes out of Parquet (so arrays are lists)."""
    if isinstance(dtype, pl.List | pl.Array):
        return f"{duckdb_type(dtype.inner)}[]"
    if isinstance(dtype, pl.Struct):
        return f"STRUCT({', '.join(f'{quoted_name(f.name)} {duckdb_type(f.dtype)}' for f in dtype.fields)})"
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
        check_columns(view, present.get(view.name, set()))
        statements.append(f"comment on view {quoted_name(view.name)} is {quoted(view.description)}")
        for column, description in view.columns.items():
            if column not in present.get(view.name, set()):
                raise SqlError(
                    f"{view.path}: the header describes a column `{column}` that the view does not have. "
                    f"Columns: {', '.join(sorted(present.get(view.name, set())))}."
                )
            statements.append(
                f"comment on column {quoted_name(view.name)}.{quoted_name(column)} is "
                f"{quoted(described(view.name, column, description))}"
            )
    if statements:
        database.execute("begin; " + "; ".join(statements) + "; commit")


def _line(error: Exception) -> str:
    return str(error).split("\n")[0]
