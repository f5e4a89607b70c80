"""The warehouse on disk: writing partitions, reading tables and views, and looking after both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from xlwh.digests import HashCache
from xlwh.errors import StoreError
from xlwh.failures import is_unwritable
from xlwh.store.artefacts import PLACES, Artefact, Kind, on_disk, sql_artefact
from xlwh.store.claims import Claims
from xlwh.store.contract import checked, schema
from xlwh.store.files import make_folder, write_whole
from xlwh.store.integrity import require_undamaged
from xlwh.store.manifest import Manifest, Snapshot
from xlwh.store.manifest_file import has_manifest
from xlwh.store.manifests import open_manifest
from xlwh.store.objects import behind, root_of
from xlwh.store.reading import is_lost, is_stored, scan
from xlwh.store.roots import how_to_make, name_of
from xlwh.store.slots import Entry, Slot, contract
from xlwh.store.staging import Staging
from xlwh.store.write import make_current, write_frame
from xlwh.tables import TABLES

if TYPE_CHECKING:
    import duckdb

    from xlwh.store.checks import Checker
    from xlwh.store.gc import GcReport
    from xlwh.store.integrity import Finding
    from xlwh.store.keeping import Keeper, Keeping, Progress
    from xlwh.store.views import Definitions, Sources


OWN_SQL = PLACES["sql"]
"""Folder in a warehouse with the views that its study brings along."""


def require_usable(root: Path) -> None:
    """Refuse a folder in which DuckDB cannot open a file: it takes what follows a `?` for settings, and `\\` for `/`."""
    for mark in "?\\":
        if mark in str(root.resolve()):
            text = f"The warehouse {root.resolve()} has a `{mark}` in its path, which DuckDB cannot open."
            raise StoreError(f"{text} Choose another folder with --warehouse.")


class Warehouse:
    """A data root: immutable Parquet files, a manifest of the current ones, and a catalogue of views."""

    def __init__(
        self,
        root: Path | str,
        create: bool = False,
        sql_dirs: Sequence[Path | str] | None = None,
        keeps_hashes: bool = True,
    ) -> None:
        """Open the warehouse at `root`, a folder or a URL, or make one there with `create`; `StoreError` if there is none.

        `keeps_hashes`: whether hashes of the user's files that are computed are written down in it.
        `sql_dirs` are the folders that the views come from, by default the project's own
        (`xlwh.store.views.shipped_sql()`) and what `adopt_sql` brought into the warehouse.
        """
        self.root = root_of(root)
        """Its folder on this machine."""
        self._sql_dirs = sql_dirs
        require_usable(self.root)
        if create:
            make_folder(self.root)
        elif not has_manifest(self.root):
            raise StoreError(f"There is no warehouse at {name_of(self.root)}. {how_to_make(self.root)}")
        self.manifest: Manifest = open_manifest(self.root)
        self.claims: Claims = self.manifest.claims()
        self.hashes = HashCache.of(self.root, keeps_hashes)
        self._verifies = False

    def verifying(self) -> Warehouse:
        """The same, whose `scan` compares every file with its digest first, once a process: for rows that lead to stored ones.

        That reads all bytes of the files, whatever columns and rows are asked for. `StoreError` where one is damaged.
        """
        same = copy(self)
        same._verifies = True
        return same

    def current(self, slot: Slot) -> Entry | None:
        """The slot's current entry, or None if it was never written (or dropped)."""
        return self.manifest.current(slot)

    def entries(self, table: str | None = None) -> list[Entry]:
        """All current entries, of one table or of all, ordered by slot."""
        if table is not None:
            contract(table)
        return list(self.manifest.snapshot(table=table).entries)

    def is_fresh(self, slot: Slot, fingerprint: str) -> bool:
        """Whether the slot's current file was made with this fingerprint and is still there, all of it."""
        entry = self.current(slot)
        return entry is not None and entry.fingerprint == fingerprint and is_stored(self.root, entry)

    def write(
        self,
        frames: Mapping[Slot, pl.DataFrame],
        fingerprint: str,
        provenance: Mapping[str, str] | None = None,
        artefacts: Sequence[Artefact] = (),
    ) -> list[Entry]:
        """Check all frames, write each to a new immutable file, then make all current in one commit.

        Frames without rows are written too: they say that the partition is done. `provenance` goes into the
        files' metadata; `artefacts`, such as a model's checkpoint, become current in the same commit. Raises `ContractError` before anything is written if any frame breaks its contract.
        """
        ordered = {slot: checked(slot, frame) for slot, frame in frames.items()}
        before = {slot: self.current(slot) for slot in ordered}
        files = [
            write_frame(self.root, slot, frame, fingerprint, provenance or {})
            for slot, frame in ordered.items()
        ]
        return make_current(self.root, self.manifest, files, before, artefacts)

    def hidden(self) -> list[Entry]:
        """Current entries that are out of the study's scope, ordered by slot."""
        snapshot = self.manifest.snapshot()
        return [entry for entry in snapshot.entries if entry.slot in snapshot.hidden]

    def drop(self, slots: Sequence[Slot]) -> None:
        """Take slots out of the manifest. Their files stay until `gc`, their history for good."""
        present = [slot for slot in slots if self.current(slot) is not None]
        if present:
            self.manifest.commit(drop=present)

    def scan(self, name: str, everything: bool = False, **filters: str) -> pl.LazyFrame:
        """The current rows of a table or a SQL view that are in the study's scope. Filters are equalities.

        With `everything`, all that is stored, also what the study does not name (any more).
        A table is scanned lazily from its exact files, in slot order; filters on partition columns choose files. A view
        is computed by DuckDB at once, also from the current tables, whatever the catalogue shows. Raises `StoreError`
        for a column that is not there and `SqlError` for a name that is neither table nor view.
        """
        if name not in TABLES:
            return self._view(name, filters, everything)
        columns = schema(name)
        _check_columns(name, columns, filters)
        snapshot = self.manifest.snapshot(table=name)
        entries = [
            entry
            for entry in (snapshot.entries if everything else snapshot.shown)
            if all(filters.get(k, v) == v for k, v in entry.slot.partition.items())
        ]
        if not entries:
            return pl.LazyFrame(schema=columns)
        self._require_undamaged(entries)
        # Files of an earlier contract stay readable until they are computed again: absent columns are null.
        outdated = any(entry.version != contract(name).version for entry in entries)
        frame = scan(
            self.root,
            entries,
            schema=columns,
            missing_columns="insert" if outdated else "raise",
            extra_columns="ignore" if outdated else "raise",
        )
        return frame.filter(pl.col(k) == v for k, v in filters.items()) if filters else frame

    def _view(self, name: str, filters: Mapping[str, str], everything: bool) -> pl.LazyFrame:
        import duckdb

        from xlwh.store.catalogue import fill
        from xlwh.store.connect import failure, open_in_memory
        from xlwh.store.kept import Fingerprints, all_kept, require_sound

        definitions = self.definitions()
        snapshot = _complete(self.manifest.snapshot()) if everything else self.manifest.snapshot()
        kept = all_kept(self.root, Fingerprints(definitions, snapshot))
        needed = definitions.needed_for([name], kept)
        if self._verifies:
            steps = [step for step in needed.steps if step.name not in kept]
            tables = {table for step in steps for table in (*step.files, *step.stored)}
            self._require_undamaged([entry for entry in snapshot.entries if entry.slot.table in tables])
            for view in needed.views.keys() & kept.keys():
                require_sound(self.root, kept[view].files)
        with open_in_memory(self.root) as database:
            fill(database, self.root, snapshot, needed, needed.files, kept=kept)
            where = " and ".join(f'"{column}" = ?' for column in filters) or "true"
            try:
                _check_columns(name, database.sql(f'from "{name}"').columns, filters)
                found: pl.DataFrame = database.sql(
                    f'from "{name}" where {where}', params=list(filters.values())
                ).pl()
            except duckdb.Error as error:
                raise failure(error) from error
        return found.lazy()

    def _require_undamaged(self, entries: Iterable[Entry]) -> None:
        if self._verifies:
            for entry in entries:
                require_undamaged(self.root, entry)

    def sources(self) -> Sources:
        """Where the views and macros of this warehouse come from."""
        from xlwh.store import metrics
        from xlwh.store.views import Sources, with_shipped

        if self._sql_dirs is not None:
            return Sources(tuple(map(Path, self._sql_dirs)))
        if behind(self.root) is not None:
            metrics.bring(self.root, self.manifest.artefacts().values())
        return Sources(tuple(with_shipped(self.root / OWN_SQL)), metrics.views(self.root))

    def definitions(self) -> Definitions:
        """The views and macros of this warehouse."""
        return self.sources().load()

    def adopt_sql(self, folder: Path) -> None:
        """Take over the views of a study's own `.sql` files; those of files that are gone there go here too.

        They are copied, so that the warehouse can be read without the study, and are artefacts of the last commit then.
        Without such a folder nothing changes. Raises `SqlError` naming the file, and changes nothing, if one cannot be made into a view.
        """
        if not folder.is_dir():
            return
        objects = behind(self.root)
        with nullcontext() if objects is None else objects.own_sql(wait_s=60):
            self._adopt(folder)

    def _adopt(self, folder: Path) -> None:
        from xlwh.store import metrics
        from xlwh.store.catalogue import try_out
        from xlwh.store.views import load, with_shipped

        mine = self.root / OWN_SQL
        wanted = {file.name: file.read_bytes() for file in sorted(folder.glob("*.sql"))}
        there = dict[str, bytes]()
        for file in mine.glob("*.sql"):
            # Another process may be at it too.
            with suppress(FileNotFoundError):
                there[file.name] = file.read_bytes()
        if wanted != there:
            if wanted:
                try_out(load(with_shipped(folder), metrics.views(self.root)), self.root)
            make_folder(mine)
            for name, content in wanted.items():
                write_whole(mine / name, content)
            for file in mine.glob("*.sql"):
                if file.name not in wanted:
                    file.unlink(missing_ok=True)
        self._keep_up("sql", [sql_artefact(name, content) for name, content in wanted.items()])

    def compute_metrics(self) -> None:
        """Compute the metrics that installed packages register (see `xlwh.store.metrics`); they are artefacts then."""
        from xlwh.store.metrics import compute

        results = compute(self.root, self.verifying()).items()
        found = [on_disk(self.root, "metric", name, [path], self.hashes) for name, path in results]
        self._keep_up("metric", found)

    def _keep_up(self, kind: Kind, artefacts: Sequence[Artefact]) -> None:
        """Make these the artefacts of their kind; no commit where they are."""
        known = self.manifest.artefacts()
        # What an object store lost is put there again.
        put = [each for each in artefacts if known.get(each.address) != each or not each.is_whole(self.root)]
        gone = {name for name in known if name[0] == kind} - {each.address for each in artefacts}
        if put or gone:
            self.manifest.commit(artefacts=put, gone=gone)

    def keeper(
        self, memory_limit: str | None = None, progress: Progress | None = None, reads_all: bool = False
    ) -> Keeper:
        """What computes the kept rows of views for the last commit (see `xlwh.store.keeping`)."""
        from xlwh.store.keeping import Keeper

        snapshot = self.manifest.snapshot()
        return Keeper(self.root, self.definitions(), snapshot, memory_limit, progress, reads_all)

    def keep_views(
        self,
        names: Iterable[str] | None = None,
        progress: Progress | None = None,
        memory_limit: str | None = None,
        reads_all: bool = False,
    ) -> dict[str, Keeping]:
        """Compute the rows of views, by default of all, that are not kept for what is stored now, and keep them.

        Then `catalog.duckdb` is brought up to date. What became of each view, by name; those that cannot be computed
        have their reason with them, and are left as they are. `progress` is called with a view's name, the slices that
        are computed and how many there are to compute; `memory_limit` as DuckDB writes it: 600MB. With `reads_all` every
        file of rows that are kept is read, and computed again where it is damaged; without, where it was cut short.
        """
        outcomes = self.keeper(memory_limit, progress, reads_all).run(names)
        self.build_catalogue()
        return outcomes

    def keep_again(self, progress: Progress | None = None, but: Collection[str] = ()) -> dict[str, Keeping]:
        """`keep_views`, after a change of what is stored, of the views that were kept before it, without those in `but`.

        The catalogue is brought up to date also where that fails or is stopped.
        """
        from xlwh.store.kept import kept_views, were_kept

        try:
            views = kept_views(self.definitions())
            names = [name for name in were_kept(self.root, views) if name not in but]
            return self.keeper(progress=progress).run(names) if names else {}
        finally:
            self.build_catalogue()

    def build_catalogue(self) -> Path:
        """Bring `catalog.duckdb` up to the last commit, the present SQL and the rows that are kept; else does nothing."""
        from xlwh.store.catalogue import publish_catalogue

        return publish_catalogue(self.root, self.manifest, self.sources())

    def catalogue_is_current(self) -> bool:
        """Whether `catalog.duckdb` shows the last commit, the present SQL and this place, and all that it reads is there."""
        from xlwh.store.connect import NAME, read_info, same_place

        info = read_info(self.root / NAME)
        wanted = (self.manifest.head(), self.sources().digest)
        return (
            info is not None
            and (info.commit, info.definitions) == wanted
            and same_place(info.root, self.root)
            and not info.lost()
        )

    def connect(
        self,
        as_of: datetime | int | None = None,
        memory_limit: str | None = None,
        everything: bool = False,
    ) -> duckdb.DuckDBPyConnection:
        """A read-only, sandboxed connection to the catalogue as it stands, or to an earlier commit or time.

        A catalogue that is missing, was built for another place (the warehouse was copied or moved) or reads kept rows
        that are gone is built first, for this connection alone where the folder cannot be written; one that is merely
        older than the last commit is not: call `build_catalogue` for that. Of a warehouse in an object store it is, since
        each machine has a catalogue of its own, and other machines write. `memory_limit` as DuckDB writes it: 600MB. With
        `everything` the tables and views hold all that is stored at the last commit (or at `as_of`), also what the study
        does not name.
        """
        import duckdb

        from xlwh.store.connect import open_catalogue

        if as_of is not None or everything:
            snapshot = self.manifest.snapshot(as_of)
            self._check_complete(snapshot)
            return self._connect_privately(_complete(snapshot) if everything else snapshot, memory_limit)
        is_own = behind(self.root) is not None
        if not is_own and (opened := open_catalogue(self.root, memory_limit)) is not None:
            return opened
        try:
            self.build_catalogue()
        except (OSError, StoreError, duckdb.Error) as error:
            if not is_unwritable(error, self.root):
                raise
        else:
            if (opened := open_catalogue(self.root, memory_limit)) is not None:
                return opened
        return self._connect_privately(self.manifest.snapshot(), memory_limit)

    def _connect_privately(self, snapshot: Snapshot, memory_limit: str | None) -> duckdb.DuckDBPyConnection:
        """A connection to a catalogue of a snapshot that is made for it alone."""
        from xlwh.store.catalogue import build
        from xlwh.store.connect import open_private, sandboxed

        sources = self.sources()
        database = open_private(lambda path: build(path, self.root, snapshot, sources))
        return sandboxed(database, self.root, memory_limit)

    def _check_complete(self, snapshot: Snapshot) -> None:
        gone = [entry.file for entry in snapshot.entries if is_lost(self.root, entry)]
        if gone:
            raise StoreError(
                f"Commit {snapshot.commit} cannot be shown: {len(gone)} of its files were removed by `xlwh gc`, the "
                f"first {gone[0]}. Choose a later commit; the last one is {self.manifest.head()}."
            )

    def gc(self, grace: timedelta) -> GcReport:
        """Remove what no snapshot within the grace period needs; see `xlwh.store.gc`."""
        from xlwh.store.gc import collect

        return collect(self.root, self.manifest, self.claims, grace, self.definitions())

    def checker(
        self, deep: bool = False, tables: Collection[str] = (), sample: float | None = None
    ) -> Checker:
        """What looks this warehouse over as it is now, and says what it looks at (see `xlwh.store.checks`)."""
        from xlwh.store.checks import Checker

        self.manifest.require_whole()
        return Checker(self.root, self.manifest, self.sources(), deep, tables, sample)

    def check(
        self, deep: bool = False, tables: Collection[str] = (), sample: float | None = None
    ) -> list[Finding]:
        """Everything that is not as it should be; empty if all is well.

        Whether every file is there and of its size, and the catalogue up to date. With `deep` every file is read, and
        compared with its digest and its contract; with a `sample` so many of them, or such a share where it is a float.
        Only of some `tables`, where they are named. `StoreError` for a name that is no table.
        """
        return list(self.checker(deep, tables, sample).findings())

    def staging(
        self, slots: Sequence[Slot], fingerprint: str, held_s: float = 0.0, is_claimed: bool = False
    ) -> Staging:
        """Resumable work on some slots; use it as a context manager. `held_s`: see `Staging`.

        `is_claimed`: whether the caller has claimed the slots; else they are claimed for as long as it is open.
        """
        claims = None if is_claimed else self.claims
        return Staging(self.root, self.manifest, claims, slots, fingerprint, held_s)


def _complete(snapshot: Snapshot) -> Snapshot:
    """The same with nothing hidden."""
    return replace(snapshot, hidden=frozenset())


def _check_columns(name: str, columns: Iterable[str], filters: Mapping[str, str]) -> None:
    for column in filters:
        if column not in columns:
            raise StoreError(f"`{name}` has no column `{column}`. Columns: {', '.join(columns)}.")
