"""The warehouse as the explorer holds it: one connection and the small views' rows, anew after every commit."""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from xlwh.consistency.transport import plan
from xlwh.errors import SqlError, XlwhError
from xlwh.report.figures import all_figures
from xlwh.report.status import Status, status
from xlwh.report.views import FrameViews
from xlwh.store import Warehouse

MEMORY_LIMIT = "500MB"
"""Of DuckDB; what does not fit is spilled to the warehouse's folder."""
_OF_PAGES = ("head_importance",)
"""Tables small enough to keep that pages read besides what figures do."""
log = logging.getLogger(__name__)


class Cache:
    """Rows of views on disk, so that a large warehouse is not asked again at every start; may be deleted any time."""

    def __init__(self, folder: Path, mark: str) -> None:
        self._root, self._folder = folder, folder / mark
        self._usable = True

    def read(self, name: str) -> pl.DataFrame | None:
        """What was kept of a view in this state of the warehouse."""
        path = self._folder / f"{name}.parquet"
        if not path.is_file():
            return None
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            log.warning("The cached view %s is unreadable and asked for again: %s", path, error)
            return None

    def write(self, name: str, frame: pl.DataFrame) -> None:
        """Keep a view's rows; what was kept of other states goes."""
        if not self._usable:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for other in self._root.iterdir():
                if other != self._folder:
                    shutil.rmtree(other, ignore_errors=True)
            unfinished = self._folder / f".{name}.{threading.get_ident()}"
            frame.write_parquet(unfinished)
            unfinished.replace(self._folder / f"{name}.parquet")
        except OSError as error:
            # A warehouse that one may only read is explored all the same.
            self._usable = False
            log.warning("Views cannot be cached in %s: %s", self._root, error)


class CachedViews(FrameViews):
    """Views that are kept on disk too."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, cache: Cache) -> None:
        super().__init__(connection.cursor)
        self._cache = cache

    def ready(self, name: str) -> bool:
        """Whether the rows are at hand."""
        with self._lock:
            return name in self._frames

    def _ask(self, name: str) -> pl.DataFrame | None:
        kept = self._cache.read(name)
        if kept is not None:
            return kept
        found = super()._ask(name)
        if found is not None:
            self._cache.write(name, found)
        return found


@dataclass
class Shown:
    """One state of the warehouse."""

    connection: duckdb.DuckDBPyConnection
    views: CachedViews
    status: Status
    columns: dict[str, dict[str, tuple[str, str]]]
    """View -> column -> type and description."""
    mark: tuple[int, int]
    busy: int = 0
    retired: bool = False
    running: set[duckdb.DuckDBPyConnection] = field(default_factory=set)
    """Cursors of statements that a person started and may stop."""


class Explorer:
    """Hands out the current state; whoever still works with an earlier one keeps it until done."""

    def __init__(self, root: Path | str) -> None:
        self.warehouse = Warehouse(root)
        self._lock = threading.Lock()
        self._shown: Shown | None = None
        self._path = self.warehouse.root / "catalog.duckdb"
        self._ending = threading.Event()
        self._warming: threading.Thread | None = None

    @contextmanager
    def state(self) -> Iterator[Shown]:
        """The current state, open at least until the block ends."""
        with self._lock:
            if self._shown is None or self._mark() != self._shown.mark:
                self._replace()
            shown = self._shown
            assert shown is not None
            shown.busy += 1
        try:
            yield shown
        finally:
            with self._lock:
                shown.busy -= 1
                self._close_if_done(shown)

    def _mark(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return (0, 0)
        return found.st_mtime_ns, found.st_ino

    def _replace(self) -> None:
        connection = self.warehouse.connect(memory_limit=MEMORY_LIMIT)
        mark = self._mark()
        [(commit, definitions)] = connection.execute(
            "select commit, definitions from catalogue_info"
        ).fetchall()
        state = hashlib.blake2b(f"{commit} {definitions}".encode(), digest_size=8).hexdigest()
        cache = Cache(self.warehouse.root / "cache" / "explorer", state)
        columns: dict[str, dict[str, tuple[str, str]]] = {}
        for view, column, kind, comment in connection.execute(
            "select table_name, column_name, data_type, coalesce(comment, '') from duckdb_columns() "
            "where schema_name = 'main' and not internal order by table_name, column_index"
        ).fetchall():
            columns.setdefault(view, {})[column] = (kind, comment)
        columns.pop("catalogue_info", None)
        earlier, self._shown = (
            self._shown,
            Shown(connection, CachedViews(connection, cache), status(self.warehouse), columns, mark),
        )
        if earlier is not None:
            earlier.retired = True
            self._close_if_done(earlier)

    @staticmethod
    def _close_if_done(shown: Shown) -> None:
        if shown.retired and not shown.busy:
            shown.connection.close()

    def begin_warming(self) -> None:
        """Do `warm` beside everything else."""
        self._warming = threading.Thread(target=self.warm, name="xlwh-warm", daemon=True)
        self._warming.start()

    def warm(self) -> None:
        """Ask for every view that a figure reads, and load the solver; errors are left to whoever looks."""
        one = np.ones(1)
        plan(one, one, np.ones((1, 1)))
        with self.state() as shown:
            of_figures = [view for each in all_figures().values() for view in each.views]
            for name in dict.fromkeys((*of_figures, *_OF_PAGES)):
                if self._ending.is_set():
                    return
                try:
                    shown.views.frame(name)
                except (SqlError, XlwhError, duckdb.Error) as error:
                    log.info("The view %s is not ready: %s", name, error)

    def close(self) -> None:
        """End what is being computed and let go of the connection."""
        self._ending.set()
        while self._warming is not None and self._warming.is_alive():
            # A thread inside DuckDB when Python ends would take the process down with it. Again and again, since it
            # may be between two statements.
            with self._lock:
                if self._shown is not None:
                    self._shown.views.stop()
            self._warming.join(timeout=0.05)
        with self._lock:
            if self._shown is not None:
                self._shown.retired = True
                self._close_if_done(self._shown)
                self._shown = None
