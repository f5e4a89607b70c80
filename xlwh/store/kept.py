"""Kept rows of views: computed once for a state of what they are made from, read like other facts after that.

They are a cache. A file's name says by a digest what it was made from, so it is right as long as it is there; whoever
finds none computes the view, and all of them may be deleted at any time. Files are in

    kept-by-xlwh-catalogue/<view>/<definition>/[model=m/…/]<inputs>.parquet

where `definition` is a digest of the SQL that stands behind the view and of DuckDB's version, and `inputs` one of the names
of the stored files, which never change, and of the kept rows of other views that it reads. A view that is kept by columns
has a file for each of their values (a slice), made from the files of that slice alone where a table is partitioned by these
columns. Instead of a Parquet file without rows there is an empty file, `<inputs>.empty`. Beside every other file is one with
its SHA-256, `<inputs>.parquet.sha256`, in the form of the program sha256sum.

A file that was cut short counts as none, and is written again. The file `changes` says by a new text that some may have been
kept since it was read last, so that whoever builds a catalogue looks them up.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import duckdb

from xlwh.digests import sha256
from xlwh.errors import SqlError, StoreError
from xlwh.jsons import parsed, typed
from xlwh.store.addresses import HERE, paths
from xlwh.store.connect import KEPT
from xlwh.store.files import write_whole
from xlwh.store.literals import quoted_name
from xlwh.store.manifest import Snapshot
from xlwh.store.parquet import is_whole
from xlwh.store.slots import Entry
from xlwh.store.views import Definitions, Macro, View
from xlwh.tables import TABLES

_FORM = 1
"""Of the files; raised when the same rows are written in another way."""

_COLUMNS = "columns.json"

_CHANGES = "changes"

Values = tuple[str, ...]
"""Of the columns that something is grouped by, such as `("mbert", "de")`."""


@dataclass(frozen=True)
class Column:
    """A column of a view."""

    name: str
    type: str
    stored: str
    """The type that it is written as: another one where Parquet has no such type."""


@dataclass(frozen=True)
class Inputs:
    """What the rows of a view are made from, directly or through views that are not kept."""

    files: tuple[str, ...]
    """Stored tables."""
    stored: tuple[str, ...]
    """Stored tables with what is out of the study's scope."""
    kept: tuple[str, ...]
    """Views that are kept."""


class File(NamedTuple):
    """A file that is there."""

    name: str
    """Relative to the kept rows' folder."""
    size_bytes: int


@dataclass(frozen=True)
class Kept:
    """All rows of one view, in files that are there."""

    view: View
    columns: tuple[Column, ...]
    files: Mapping[str, int]
    """All that have to be there, relative to the kept rows' folder, and their bytes."""

    def select(self, files: Iterable[str] | None = None) -> str:
        """A query of the rows (of `files`, else of all), of the types of the view itself, for a catalogue."""
        chosen = [file for file in (self.files if files is None else files) if file.endswith(".parquet")]
        if not chosen:
            nothing = ", ".join(f"null::{each.type} as {quoted_name(each.name)}" for each in self.columns)
            return f"select {nothing} where false"
        columns = ", ".join(
            f"{quoted_name(each.name)}::{each.type} as {quoted_name(each.name)}" for each in self.columns
        )
        read = paths(f"{KEPT}/{file}" for file in chosen)
        # The folder names choose files before one is opened.
        options = ", hive_partitioning = true, hive_types_autocast = false" if self.view.by else ""
        return f"select {columns} from read_parquet({read}{options}) where {HERE}"


class Stored:
    """The current files of a snapshot, grouped by partition as often as wanted, each grouping made once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._every: dict[str, list[Entry]] = {}
        self._shown: dict[str, list[Entry]] = {}
        for entry in snapshot.entries:
            self._every.setdefault(entry.slot.table, []).append(entry)
            if entry.slot not in snapshot.hidden:
                self._shown.setdefault(entry.slot.table, []).append(entry)
        self._groups: dict[tuple[str, Values], dict[Values, list[Entry]]] = {}
        self._digests: dict[tuple[str, Values], dict[Values, str]] = {}

    def groups(self, table: str, columns: Values) -> Mapping[Values, list[Entry]]:
        """Files in scope by the values of some of the columns that their table is partitioned by."""
        key = (table, columns)
        if key not in self._groups:
            places = [TABLES[table].partition_by.index(column) for column in columns]
            found: dict[Values, list[Entry]] = {}
            for entry in self._shown.get(table, []):
                found.setdefault(tuple(entry.slot.keys[place] for place in places), []).append(entry)
            self._groups[key] = found
        return self._groups[key]

    def digest(self, table: str, columns: Values, values: Values) -> str:
        """Of the files of one group; of a group without files too."""
        key = (table, columns)
        if key not in self._digests:
            self._digests[key] = {
                each: _digest(entry.file for entry in entries)
                for each, entries in self.groups(table, columns).items()
            }
        return self._digests[key].get(values, "none")

    def every(self, table: str) -> Sequence[Entry]:
        """All files of a table, those out of scope included."""
        return self._every.get(table, [])


class Fingerprints:
    """What the kept rows of every view would be called in one state of the warehouse, whether they are there or not.

    It costs time in proportion to the number of stored files and of slices; nothing is looked up on disk.
    """

    def __init__(self, definitions: Definitions, snapshot: Snapshot) -> None:
        self.views = definitions.views
        self.stored = Stored(snapshot)
        self._macros = {step.name: step for step in definitions.steps if isinstance(step, Macro)}
        self._inputs: dict[str, Inputs] = {}
        self._definitions: dict[str, str] = {}
        self._slices: dict[str, dict[Values, str]] = {}
        self._grouped: dict[tuple[str, Values], dict[Values, list[Values]]] = {}
        self._digests: dict[tuple[str, Values], dict[Values, str]] = {}

    @cached_property
    def kept(self) -> tuple[View, ...]:
        """The views that are kept, each after those that it reads."""
        return tuple(view for view in self.views.values() if view.by is not None)

    def inputs(self, name: str) -> Inputs:
        """What the view's rows are made from."""
        if name not in self._inputs:
            view = self.views[name]
            files, stored, kept = set(view.files), set(view.stored), set[str]()
            for each in view.depends_on:
                if (other := self.views.get(each)) is None:
                    continue
                if other.by is not None:
                    kept.add(each)
                else:
                    behind = self.inputs(each)
                    files.update(behind.files)
                    stored.update(behind.stored)
                    kept.update(behind.kept)
            self._inputs[name] = Inputs(tuple(sorted(files)), tuple(sorted(stored)), tuple(sorted(kept)))
        return self._inputs[name]

    def definition(self, name: str) -> str:
        """Digest of the SQL of a view and of all behind it, of the contracts of the tables, of DuckDB's version."""
        if name not in self._definitions:
            view = self.views[name]
            parts = [str(_FORM), duckdb.__version__, _without_header(view.sql), repr(view.by), repr(view.key)]
            parts += [self._macros[each].sql for each in view.calls]
            for each in view.depends_on:
                parts.append(each)
                if each in self.views and each != name:
                    parts.append(self.definition(each))
            for table in (*view.files, *view.stored):
                columns = TABLES[table].columns()
                parts.append(repr([table, *((column, repr(c.dtype)) for column, c in columns.items())]))
            self._definitions[name] = _digest(parts)
        return self._definitions[name]

    def shared(self, name: str, other: str) -> Values:
        """The columns by which a table, or another kept view, is restricted where a slice of a view is made."""
        by = self.views[name].by or ()
        theirs = (
            (self.views[other].by or ()) if other in self.inputs(name).kept else TABLES[other].partition_by
        )
        return tuple(column for column in by if column in theirs)

    def slices(self, name: str) -> Mapping[Values, str]:
        """Slice -> digest of what its rows are made from; one slice, `()`, of a view that is kept whole.

        Raises `SqlError` for a view that is kept by columns by which nothing that it reads is divided.
        """
        if name not in self._slices:
            by, inputs = self.views[name].by or (), self.inputs(name)
            tables = [(table, self.shared(name, table)) for table in inputs.files]
            views = [(other, self.shared(name, other)) for other in inputs.kept]
            found: set[Values] = set() if by else {()}
            if by:
                divided = [each for each in (*tables, *views) if each[1] == by]
                if not divided:
                    raise SqlError(
                        f"{self.views[name].path}: `kept: by {', '.join(by)}`, but nothing that it reads is divided by that."
                    )
                for table, columns in tables:
                    if columns == by:
                        found.update(self.stored.groups(table, by))
                for other, columns in views:
                    if columns == by:
                        found.update(self.grouped(other, by))
            every = [_digest(entry.file for entry in self.stored.every(table)) for table in inputs.stored]
            known: dict[Values, str] = {}
            for values in sorted(found):
                place = dict(zip(by, values, strict=True))
                parts = list(every)
                for table, columns in tables:
                    parts.append(self.stored.digest(table, columns, tuple(place[c] for c in columns)))
                for other, columns in views:
                    parts.append(self._digest_of(other, columns, tuple(place[c] for c in columns)))
                known[values] = _digest(parts)
            self._slices[name] = known
        return self._slices[name]

    def grouped(self, name: str, columns: Values) -> Mapping[Values, list[Values]]:
        """Slices of a kept view by the values of some of its columns."""
        key = (name, columns)
        if key not in self._grouped:
            by = self.views[name].by or ()
            places = [by.index(column) for column in columns]
            found: dict[Values, list[Values]] = {}
            for values in self.slices(name):
                found.setdefault(tuple(values[place] for place in places), []).append(values)
            self._grouped[key] = found
        return self._grouped[key]

    def _digest_of(self, name: str, columns: Values, values: Values) -> str:
        key = (name, columns)
        if key not in self._digests:
            own, slices = self.definition(name), self.slices(name)
            self._digests[key] = {
                each: _digest([own, *(f"{'|'.join(slice)} {slices[slice]}" for slice in group)])
                for each, group in self.grouped(name, columns).items()
            }
        return self._digests[key].get(values, "none")

    def folder(self, name: str) -> str:
        """Where the rows of a view are, relative to the kept rows' folder."""
        return f"{name}/{self.definition(name)}"

    def file(self, name: str, values: Values) -> str:
        """The file of a slice, likewise, without what it ends in."""
        by = self.views[name].by or ()
        places = "".join(f"{column}={value}/" for column, value in zip(by, values, strict=True))
        return f"{self.folder(name)}/{places}{self.slices(name)[values]}"

    def files(self) -> Iterator[str]:
        """All names that the files of kept rows may have now, relative to the folder."""
        yield _CHANGES
        for view in self.kept:
            own = f"{self.folder(view.name)}/{_COLUMNS}"
            yield from (own, digest_file(own))
            for values in self.slices(view.name):
                file = self.file(view.name, values)
                yield from (f"{file}.parquet", digest_file(f"{file}.parquet"), f"{file}.empty")


def there(root: Path, prints: Fingerprints, name: str) -> tuple[dict[Values, File], list[Values]]:
    """The slices of a view that are kept, with their files, and those that are not."""
    found: dict[Values, File] = {}
    missing = []
    for values in prints.slices(name):
        file = prints.file(name, values)
        for each in (f"{file}.parquet", f"{file}.empty"):
            if (size := _size(root / KEPT / each)) is not None:
                found[values] = File(each, size)
                break
        else:
            missing.append(values)
    return found, missing


def _size(path: Path) -> int | None:
    """Bytes of a file; None where there is none, or one that was cut short."""
    try:
        found = path.lstat()
        whole = stat.S_ISREG(found.st_mode) and (path.suffix != ".parquet" or is_whole(path))
        return found.st_size if whole else None
    except OSError:
        return None


def digest_file(file: str) -> str:
    """Name of the file with the digest of another one, beside it."""
    return f"{file}.sha256"


def note_digest(unfinished: Path, path: Path) -> None:
    """Write the digest of a finished file down, before that gets its own name."""
    beside = path.with_name(digest_file(path.name))
    write_whole(beside, _digest_line(unfinished, path.name))


def _digest_line(path: Path, name: str) -> bytes:
    """In the form of the program sha256sum."""
    return f"{sha256([path])}  {name}\n".encode()


def undigested(root: Path, file: str) -> bool:
    """Whether a kept file (relative to their folder) has no digest beside it, as an earlier version of xlwh left it."""
    return _has_digest(file) and not (root / KEPT / digest_file(file)).is_file()


def kept_damage(root: Path, file: str) -> str | None:
    """Why a kept file that has a digest, or had to, is not the one that was written; all of it is read."""
    path = root / KEPT / file
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return "it is no file"
        if not _has_digest(file):
            return None if path.stat().st_size == 0 else "it is to be empty"
        if _digest_line(path, path.name) != path.with_name(digest_file(path.name)).read_bytes():
            return "its bytes are not those that were written"
    except OSError as error:
        return error.strerror or str(error)
    return None


def require_sound(root: Path, files: Iterable[str]) -> None:
    """`StoreError` where one of these files, relative to the kept rows' folder, is not the one that was written."""
    for file in files:
        if (damaged := kept_damage(root, file)) is not None:
            raise StoreError(f"{KEPT}/{file} is damaged: {damaged}. Run: xlwh catalogue")


def _has_digest(file: str) -> bool:
    return not file.endswith(".empty")


def note_change(root: Path) -> None:
    """Say that rows may be kept that no catalogue has been told of."""
    write_whole(root / KEPT / _CHANGES, secrets.token_hex(8).encode())


def changes(root: Path) -> str:
    """What `note_change` wrote last; empty where nothing was kept yet."""
    try:
        return (root / KEPT / _CHANGES).read_text(encoding="utf-8")
    except OSError:
        return ""


def kept_views(definitions: Definitions) -> list[str]:
    """Names of the views whose rows can be kept, each after those that it reads."""
    return [view.name for view in definitions.views.values() if view.by is not None]


def were_kept(root: Path, views: Iterable[str]) -> list[str]:
    """Those of the views, by their names, whose rows are kept, or were for an earlier state or other SQL."""
    return [name for name in views if (root / KEPT / name).is_dir()]


def columns_of(root: Path, prints: Fingerprints, name: str) -> tuple[Column, ...] | None:
    """The columns of a view, if they are kept. Types are those that DuckDB writes: they become a part of statements."""
    from duckdb.sqltypes import DuckDBPyType

    try:
        text = (root / KEPT / prints.folder(name) / _COLUMNS).read_text(encoding="utf-8")
        found = tuple(Column(*each) for each in typed(list[tuple[str, str, str]], parsed(text)))
        types = {kind for each in found for kind in (each.type, each.stored)}
        are_types = all(str(DuckDBPyType(kind)) == kind for kind in types)
    except (OSError, ValueError, duckdb.Error):
        return None
    return found if are_types else None


def columns_file(prints: Fingerprints, name: str) -> str:
    """Where they are, relative to the kept rows' folder."""
    return f"{prints.folder(name)}/{_COLUMNS}"


def columns_text(columns: Sequence[Column]) -> str:
    """How they are written there."""
    return json.dumps([[each.name, each.type, each.stored] for each in columns], ensure_ascii=False)


def kept(root: Path, prints: Fingerprints, name: str) -> Kept | None:
    """The rows of a view if all of them are there."""
    view = prints.views[name]
    if view.by is None or (columns := columns_of(root, prints, name)) is None:
        return None
    found, missing = there(root, prints, name)
    own = columns_file(prints, name)
    if missing or (size := _size(root / KEPT / own)) is None:
        return None
    return Kept(view, columns, {own: size, **dict(found.values())})


def all_kept(root: Path, prints: Fingerprints, among: Collection[str] | None = None) -> dict[str, Kept]:
    """The views, or those `among` them, all of whose rows are there, by name."""
    if not (root / KEPT).is_dir():
        return {}
    names = [view.name for view in prints.kept if among is None or view.name in among]
    found = {name: kept(root, prints, name) for name in names}
    return {name: each for name, each in found.items() if each is not None}


def check_columns(view: View, columns: Collection[str]) -> None:
    """Raise `SqlError` for a view that is kept by a column which is not among its own."""
    for column in view.by or ():
        if column not in columns:
            raise SqlError(f"{view.path}: it is kept by `{column}`, which the view does not have.")


def check(definitions: Definitions) -> None:
    """Raise `SqlError` for a view that is kept by columns by which nothing that it reads is divided."""
    prints = Fingerprints(definitions, Snapshot(0, None, ()))
    for view in prints.kept:
        prints.slices(view.name)


def _digest(parts: Iterable[str]) -> str:
    state = hashlib.blake2b(digest_size=10)
    for part in parts:
        state.update(part.encode())
        state.update(b"\0")
    return state.hexdigest()


def _without_header(sql: str) -> str:
    lines = sql.splitlines()
    start = next((n for n, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return "\n".join(lines[start:])
