"""How the views of a catalogue name their files, and how they know that these are the files of their own warehouse.

A view has its files' names relative to the warehouse, as `read_parquet(files.paths('…'))`. The macro `files.paths` makes
absolute paths of them: those of the disk for any DuckDB that opens the catalogue, those of `xlwh.store.filesystem` for
our own connections.

Since they are absolute, they would lead from a copied or moved catalogue to the files of the place that it was built for,
as long as those exist. So every view over files also calls the macro `files.is_here`: it asks DuckDB where the catalogues
lie that are open, and refuses to show anything when one that was built for its place is elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from xlwh.store.literals import quoted

if TYPE_CHECKING:
    import duckdb

SCHEME = "xlwh://"
"""Before the absolute path of a file, where a connection is to read it by way of `xlwh.store.filesystem`."""

HERE = "files.is_here()"
"""Condition of every view over files."""

MARK = "built_for_"
"""How the name of the empty schema begins that says in a catalogue for which place it was built."""

_SANDBOXED = f"contains(current_setting('allowed_directories')::varchar, {quoted(SCHEME)})"
"""Condition in SQL: whether the connection is one of ours."""


def paths(files: Iterable[str]) -> str:
    """Files of a warehouse, relative to it, as an argument of `read_parquet`."""
    # One text: a list of as many literals takes seconds to parse where there are many files.
    return f"files.paths({quoted(chr(10).join(files))})"


def make_macros(database: duckdb.DuckDBPyConnection, root: Path, catalogue: Path | None = None) -> None:
    """Create or replace the two macros for the warehouse at `root`; the schema `files` is there.

    `catalogue` is where the database has to lie once it is finished; None for one that is not for others.
    """
    scheme = f"case when {_SANDBOXED} then {quoted(SCHEME)} else '' end"
    here = "true" if catalogue is None else _is_here(root, catalogue)
    database.execute(
        "create or replace macro files.paths(names) as list_transform("
        f"string_split(names, chr(10)), lambda name: {scheme} || {quoted(f'{root}/')} || name); "
        f"create or replace macro files.is_here() as {here}"
    )


def place_mark(root: Path) -> str:
    """Name of the schema that says in a catalogue that it was built for `root`."""
    return MARK + hashlib.sha256(str(root).encode()).hexdigest()[:16]


def _is_here(root: Path, catalogue: Path) -> str:
    """A condition that holds where the catalogue is open at its own place, or sandboxed; anywhere else it is an error.

    A macro cannot ask which database it is in, so all that are attached and were built for `root` have to lie there: a
    copy shows nothing beside the original either. Sandboxed connections are made by who has looked at the place already.
    The condition costs a query about two milliseconds.
    """
    path, own = "path", str(catalogue)
    if _ignores_case(root):
        path, own = "lower(path)", own.lower()
    message = (
        f"This catalogue was built for {root} and has been copied or moved: it would show the files of that place. "
        "Build it anew for the place where it is now: xlwh catalogue --warehouse FOLDER. "
        f"If it was not moved, open it by its own path: {catalogue}"
    )
    # Asked for twice: in a recursive view DuckDB evaluates the inner query whatever the outer condition says.
    return (
        f"case when {_SANDBOXED} then true else (select case when {_SANDBOXED} then true "
        f"when count(*) > 0 and bool_and({path} = {quoted(own)}) then true else error({quoted(message)}) end "
        "from duckdb_schemas() join duckdb_databases() using (database_oid) "
        f"where schema_name = {quoted(place_mark(root))}) end"
    )


def _ignores_case(root: Path) -> bool:
    """Whether names that differ in case only are one file there, as DuckDB may spell a path as it was typed."""
    swapped = root.with_name(root.name.swapcase())
    return swapped != root and swapped.exists() and swapped.samefile(root)
