"""Computing what is to be kept of views (see `xlwh.store.kept`): only slices that are not there, each view after those it reads.

It may be stopped or killed at any moment: a file is there whole or not at all, and the next time the rest is computed.
Several processes may do it at once; they write the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb

from xlwh.errors import SqlError, StoreError
from xlwh.store import catalogue
from xlwh.store.connect import KEPT, failure, open_in_memory
from xlwh.store.files import make_folder, path_beside, publish, remove
from xlwh.store.integrity import require_undamaged
from xlwh.store.kept import (
    Column,
    File,
    Fingerprints,
    Kept,
    Values,
    check_columns,
    columns_file,
    columns_of,
    columns_text,
    digest_file,
    kept,
    kept_damage,
    note_change,
    note_digest,
    require_sound,
    there,
)
from xlwh.store.kept_sql import cast, comparable, in_slice, order_of, stored_type
from xlwh.store.literals import quoted, quoted_name
from xlwh.store.manifest import Snapshot
from xlwh.store.slots import Entry
from xlwh.store.views import Definitions, View, require_view, shipped_sql

BATCH_BYTES = 4_000_000
"""Input files of slices that are computed in one query: a query costs some milliseconds, and memory in proportion."""

TRIED_SLICES = 6
"""The most on which a view is tried out that says by what it is kept; two at least."""

Progress = Callable[[str, int, int], None]
"""Called with a view's name, the slices of it that are computed, and how many there are to compute."""


@dataclass(frozen=True)
class Keeping:
    """What became of one view."""

    slices: int
    """Into which its rows are divided."""
    computed: int
    """Those that were not there."""
    duration_s: float
    """Seconds that this took."""
    error: str | None = None
    """Why they could not be computed."""


class Keeper:
    """Computes the kept rows of one state of a warehouse."""

    def __init__(
        self,
        root: Path,
        definitions: Definitions,
        snapshot: Snapshot,
        memory_limit: str | None = None,
        progress: Progress | None = None,
        reads_all: bool = False,
    ) -> None:
        """`reads_all`: whether every file that is there is read, and made anew where that fails."""
        self._root = root
        self._definitions = definitions
        self._snapshot = snapshot
        self._memory_limit = memory_limit
        self._progress = progress or (lambda name, done, of: None)
        self._reads_all = reads_all
        self._prints = Fingerprints(definitions, snapshot)
        self._kept: dict[str, Kept] = {}
        self._files: dict[str, dict[Values, File]] = {}
        """Of the views that are kept, by slice."""
        self._sound: set[Hashable] = set()
        """Files and groups of files that were read, and are those that were written."""
        self._restricted: set[str] = set()
        """Tables and kept views that show a part of their rows at the moment."""
        self._database: duckdb.DuckDBPyConnection | None = None
        self._stopped = False

    def stop(self) -> None:
        """End the work of another thread, with an error there."""
        self._stopped = True
        if self._database is not None:
            self._database.interrupt()

    def run(self, names: Iterable[str] | None = None) -> dict[str, Keeping]:
        """Compute what is missing of these views, by default of all, and of those that they read.

        What became of each view that is kept, by name, each after those that it reads. A view that cannot be computed,
        and those that read it, are reported with the reason; the others are kept all the same. Raises `OSError` where
        nothing can be written.
        """
        wanted = self._wanted(names)
        outcomes: dict[str, Keeping] = {}
        todo = []
        for view in wanted:
            if self._reads_all:
                self._remove_damaged(view)
            if (found := kept(self._root, self._prints, view.name)) is not None:
                self._kept[view.name] = found
                outcomes[view.name] = Keeping(len(self._prints.slices(view.name)), 0, 0.0)
            else:
                todo.append(view)
        if not todo:
            return outcomes
        make_folder(self._root / KEPT)
        needed = self._definitions.needed_for([view.name for view in todo], self._kept)
        with closing(open_in_memory(self._root, self._memory_limit, keeps=True)) as database:
            self._database = database
            try:
                self._open_files(database, needed, todo)
                for step in needed.steps:
                    if self._stopped:
                        raise SqlError("The computing of views was stopped.")
                    # What it reads has been computed, so its query is a short one.
                    catalogue.make_step(database, step, self._kept)
                    if isinstance(step, View) and step in todo:
                        outcomes[step.name] = self._attempt(database, step, outcomes)
            finally:
                self._database = None
        return {view.name: outcomes[view.name] for view in wanted}

    def _wanted(self, names: Iterable[str] | None) -> list[View]:
        views = self._definitions.views
        if names is None:
            return list(self._prints.kept)
        waiting, found = list(names), set[str]()
        for name in waiting:
            require_view(name, views)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self._prints.inputs(name).kept)
        return [view for view in self._prints.kept if view.name in found]

    def _remove_damaged(self, view: View) -> None:
        try:
            found, _ = there(self._root, self._prints, view.name)
        except SqlError:
            # Told where it is computed.
            return
        for file in (columns_file(self._prints, view.name), *(each.name for each in found.values())):
            if kept_damage(self._root, file) is not None:
                for name in (file, digest_file(file)):
                    remove(self._root / KEPT / name)

    def _open_files(
        self, database: duckdb.DuckDBPyConnection, needed: Definitions, todo: Sequence[View]
    ) -> None:
        catalogue.make_tables(database, self._root, self._snapshot, needed.files)
        for table in {table for view in todo for table in self._prints.inputs(view.name).stored}:
            # Not by way of `files.<table>`, which is restricted.
            name = f"{catalogue.EVERYTHING}.{table}"
            catalogue.make_files_view(database, self._root, name, self._prints.stored.every(table))

    def _attempt(
        self, database: duckdb.DuckDBPyConnection, view: View, outcomes: dict[str, Keeping]
    ) -> Keeping:
        began = time.perf_counter()
        slices, computed = 0, 0
        try:
            slices = len(self._prints.slices(view.name))
            for other in self._prints.inputs(view.name).kept:
                if (error := outcomes[other].error) is not None:
                    raise SqlError(f"it reads `{other}`: {error}")
            computed = self._compute(database, view)
            error = None
        except (SqlError, StoreError, duckdb.Error) as reason:
            told = failure(reason) if isinstance(reason, duckdb.Error) else reason
            error = f"{view.name} cannot be computed: {told}"
        return Keeping(slices, computed, time.perf_counter() - began, error)

    def _compute(self, database: duckdb.DuckDBPyConnection, view: View) -> int:
        columns = self._columns(database, view)
        self._check_promise(database, view, columns)
        if not (self._root / KEPT / columns_file(self._prints, view.name)).is_file():
            self._write_columns(view, columns)
        _, missing = there(self._root, self._prints, view.name)
        if missing:
            # Before it too: a process may be killed between its last file and the line below.
            note_change(self._root)
        done = 0
        self._progress(view.name, done, len(missing))
        damages = self._damages(view, missing)
        for batch in self._batches(view, [values for values in missing if values not in damages]):
            if self._stopped:
                raise SqlError("stopped")
            self._restrict(database, view, batch)
            if len(batch) == 1:
                self._write_one(database, view, columns, batch[0])
            else:
                self._write_several(database, view, columns, batch)
            done += len(batch)
            self._progress(view.name, done, len(missing))
        if damages:
            others = f" It and {len(damages) - 1} other parts were left out." if len(damages) > 1 else ""
            raise StoreError(f"{next(iter(damages.values()))}{others}")
        found = kept(self._root, self._prints, view.name)
        if found is None:
            raise SqlError("files of its rows were removed while it was computed; run it again.")
        note_change(self._root)
        self._kept[view.name] = found
        database.execute(f"create or replace view {quoted_name(view.name)} as {found.select()}")
        return len(missing)

    def _columns(self, database: duckdb.DuckDBPyConnection, view: View) -> tuple[Column, ...]:
        """The columns of a view."""
        if (known := columns_of(self._root, self._prints, view.name)) is not None:
            return known
        relation = database.sql(f"from {quoted_name(view.name)}")
        found = tuple(
            Column(name, str(kind), stored_type(kind, f"{view.path}: column `{name}`"))
            for name, kind in zip(relation.columns, relation.types, strict=True)
        )
        check_columns(view, relation.columns)
        return found

    def _write_columns(self, view: View, columns: Sequence[Column]) -> None:
        path = self._root / KEPT / columns_file(self._prints, view.name)
        make_folder(path.parent)
        unfinished = path_beside(path)
        unfinished.write_text(columns_text(columns), encoding="utf-8")
        note_digest(unfinished, path)
        publish(unfinished, path)

    def _check_place(self, database: duckdb.DuckDBPyConnection, view: View, place: str) -> None:
        """Raise `SqlError` for a view that has rows for which the condition `place` does not hold now."""
        by = ", ".join(map(quoted_name, view.by or ()))
        sql = f"select {by} from {quoted_name(view.name)} where ({place}) is distinct from true limit 1"
        for other in database.execute(sql).fetchall():
            raise _elsewhere(view, other)

    def _check_promise(
        self, database: duckdb.DuckDBPyConnection, view: View, columns: Sequence[Column]
    ) -> None:
        """Raise `SqlError` for a view whose rows of one slice are others where there are further slices.

        A query of several slices would hide that, and what is kept would depend on which were computed together. Tried on
        slices that one query would compute, each alone and all together. The project's own views are tried by its tests.
        """
        if not view.by or view.path.is_relative_to(shipped_sql()):
            return
        slices = list(self._prints.slices(view.name))
        if not slices:
            self._restrict(database, view, [])
            self._check_place(database, view, "false")
            return
        sizes = {values: sum(size for _, size in self._divided(view, values)) for values in slices}
        ascending = sorted(slices, key=sizes.__getitem__)
        tried: list[Values] = []
        # Large ones first: small ones may have no rows in the view.
        for values in reversed(ascending):
            fits = sum(map(sizes.__getitem__, tried)) + sizes[values] <= BATCH_BYTES
            if fits and len(tried) < TRIED_SLICES:
                tried.append(values)
        if len(tried) < 2:
            tried = ascending[:2]
        together = self._rows_by_slice(database, view, columns, tried)
        for values in tried if len(tried) > 1 else ():
            if self._rows_by_slice(database, view, columns, [values])[values] != together[values]:
                shown = ", ".join(f"{column} {value}" for column, value in zip(view.by, values, strict=True))
                raise SqlError(
                    f"{view.path}: `kept: by {', '.join(view.by)}` promises that the rows of a slice are made from that "
                    f"slice alone, but those of {shown} are others where further slices are read too. Write "
                    "`-- kept: whole`."
                )

    def _rows_by_slice(
        self,
        database: duckdb.DuckDBPyConnection,
        view: View,
        columns: Sequence[Column],
        batch: Sequence[Values],
    ) -> dict[Values, list[str]]:
        """The rows that one query of these slices gives, in a form and an order in which they can be compared."""
        self._restrict(database, view, batch)
        self._check_place(database, view, " or ".join(f"({in_slice(view, values)})" for values in batch))
        found = {}
        for values in batch:
            sql = f"select {cast(columns)} from {quoted_name(view.name)} where {in_slice(view, values)}"
            found[values] = sorted(comparable(row) for row in database.execute(sql).fetchall())
        return found

    def _batches(self, view: View, missing: Sequence[Values]) -> Iterable[list[Values]]:
        """Slices that one query computes: as many as have small inputs together."""
        batch: list[Values] = []
        total = 0
        for values in missing:
            size = sum(size for _, size in self._divided(view, values))
            if batch and total + size > BATCH_BYTES:
                yield batch
                batch, total = [], 0
            batch.append(values)
            total += size
        if batch:
            yield batch

    def _divided(self, view: View, values: Values) -> Iterable[tuple[str, int]]:
        """The tables and kept views of which a slice reads a part, with the bytes of that part."""
        inputs, prints = self._prints.inputs(view.name), self._prints
        place = dict(zip(view.by or (), values, strict=True))
        for table in inputs.files:
            columns = prints.shared(view.name, table)
            if columns:
                group = prints.stored.groups(table, columns).get(tuple(place[c] for c in columns), ())
                yield table, sum(entry.size_bytes for entry in group)
        for other in inputs.kept:
            columns = prints.shared(view.name, other)
            if columns:
                yield other, sum(each.size_bytes for each in self._files_of(view, other, [values]))

    def _files_of(self, view: View, other: str, batch: Iterable[Values]) -> list[File]:
        """The files of another kept view that these slices read."""
        prints, columns = self._prints, self._prints.shared(view.name, other)
        if other not in self._files:
            self._files[other], _ = there(self._root, prints, other)
        found, groups = self._files[other], prints.grouped(other, columns)
        wanted = dict.fromkeys(_project(view, columns, values) for values in batch)
        return [found[values] for key in wanted for values in groups.get(key, ())]

    def _restrict(self, database: duckdb.DuckDBPyConnection, view: View, batch: Sequence[Values]) -> None:
        """Let the tables and kept views that are divided by the view's columns show what these slices read."""
        inputs, prints = self._prints.inputs(view.name), self._prints
        for name in (*inputs.files, *inputs.kept):
            columns, is_view = prints.shared(view.name, name), name in inputs.kept
            wanted = {_project(view, columns, values) for values in batch}
            groups = {} if is_view else prints.stored.groups(name, columns)
            whole = wanted.issuperset(prints.grouped(name, columns) if is_view else groups)
            key = name if is_view else f"files.{name}"
            if whole and key not in self._restricted:
                continue
            if is_view:
                files = None if whole else [each.name for each in self._files_of(view, name, batch)]
                sql = self._kept[name].select(files)
                database.execute(f"create or replace view {quoted_name(name)} as {sql}")
            else:
                entries = [entry for each, group in groups.items() if each in wanted for entry in group]
                catalogue.make_files_view(database, self._root, key, entries)
            (self._restricted.discard if whole else self._restricted.add)(key)

    def _damages(self, view: View, slices: Sequence[Values]) -> dict[Values, StoreError]:
        """Slices that read a file which is not the one that was written, and what is wrong with it."""
        found = {}
        for values in slices:
            try:
                self._require_undamaged(view, values)
            except StoreError as error:
                found[values] = error
        return found

    def _require_undamaged(self, view: View, values: Values) -> None:
        inputs, prints = self._prints.inputs(view.name), self._prints
        for table in inputs.stored:
            self._require_sound((table,), prints.stored.every(table))
        for table in inputs.files:
            columns = prints.shared(view.name, table)
            place = _project(view, columns, values)
            self._require_sound((table, columns, place), prints.stored.groups(table, columns).get(place, ()))
        for other in inputs.kept:
            for file in self._files_of(view, other, [values]):
                if file.name in self._sound:
                    continue
                require_sound(self._root, [file.name])
                self._sound.add(file.name)

    def _require_sound(self, what: Hashable, entries: Iterable[Entry]) -> None:
        """`StoreError` where one of the files `what` is damaged; each is looked at once."""
        if what not in self._sound:
            for entry in entries:
                require_undamaged(self._root, entry)
            self._sound.add(what)

    def _write_one(
        self, database: duckdb.DuckDBPyConnection, view: View, columns: Sequence[Column], values: Values
    ) -> None:
        order = order_of(view, columns)
        self._copy(
            database,
            f"select {cast(columns)} from {quoted_name(view.name)}{order}",
            view,
            values,
            check=True,
        )

    def _write_several(
        self,
        database: duckdb.DuckDBPyConnection,
        view: View,
        columns: Sequence[Column],
        batch: Sequence[Values],
    ) -> None:
        by = ", ".join(map(quoted_name, view.by or ()))
        database.execute(
            f"create or replace temp table computed as select {cast(columns)} from {quoted_name(view.name)}"
        )
        try:
            found = {tuple(row) for row in database.execute(f"select distinct {by} from computed").fetchall()}
            for other in found.difference(batch):
                raise _elsewhere(view, other)
            for values in batch:
                if values in found:
                    order = order_of(view, columns)
                    sql = f"select * from computed where {in_slice(view, values)}{order}"
                    self._copy(database, sql, view, values, check=False)
                else:
                    self._note_empty(view, values)
        finally:
            if not self._stopped:
                database.execute("drop table computed")

    def _copy(
        self, database: duckdb.DuckDBPyConnection, sql: str, view: View, values: Values, check: bool
    ) -> None:
        """Write the rows of a slice, and make them the kept ones."""
        path = self._root / KEPT / f"{self._prints.file(view.name, values)}.parquet"
        make_folder(path.parent)
        unfinished = path_beside(path)
        try:
            options = "format parquet, compression zstd, compression_level 1"
            [(rows,)] = database.execute(f"copy ({sql}) to {quoted(str(unfinished))} ({options})").fetchall()
            if check and view.by:
                by = ", ".join(map(quoted_name, view.by))
                wrong = database.execute(
                    f"select {by} from read_parquet({quoted(str(unfinished))}, hive_partitioning = false) "
                    f"where ({in_slice(view, values)}) is distinct from true limit 1"
                ).fetchall()
                for other in wrong:
                    raise _elsewhere(view, other)
            if rows:
                note_digest(unfinished, path)
                publish(unfinished, path, final=True)
            else:
                self._note_empty(view, values)
        finally:
            unfinished.unlink(missing_ok=True)

    def _note_empty(self, view: View, values: Values) -> None:
        path = self._root / KEPT / f"{self._prints.file(view.name, values)}.empty"
        make_folder(path.parent)
        path.touch()


def _project(view: View, columns: Values, values: Values) -> Values:
    place = dict(zip(view.by or (), values, strict=True))
    return tuple(place[column] for column in columns)


def _elsewhere(view: View, values: Sequence[object]) -> SqlError:
    shown = ", ".join(f"{column} {value}" for column, value in zip(view.by or (), values, strict=True))
    return SqlError(
        f"{view.path}: `kept: by {', '.join(view.by or ())}` promises that the rows of a slice are made from that slice "
        f"alone, but there are rows of {shown}, which is another one or none."
    )
