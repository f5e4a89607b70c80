"""The warehouse as the explorer holds it: one connection and the small views' rows, anew after every commit."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np

from xlwh.consistency.transport import plan
from xlwh.errors import SqlError, XlwhError
from xlwh.report.figures import all_figures, views_of
from xlwh.report.status import Status, status
from xlwh.report.views import FrameViews
from xlwh.store import Warehouse
from xlwh.store.keeping import Keeper

MEMORY_LIMIT = "500MB"
"""Of DuckDB; what does not fit is spilled to temporary space."""
_OF_PAGES = ("head_importance",)
"""Tables small enough to keep that pages read besides what figures do."""
log = logging.getLogger(__name__)


@dataclass
class Shown:
    """One state of the warehouse."""

    connection: duckdb.DuckDBPyConnection
    views: FrameViews
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
        self._keeper: Keeper | None = None

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
        columns: dict[str, dict[str, tuple[str, str]]] = {}
        for view, column, kind, comment in connection.execute(
            "select table_name, column_name, data_type, coalesce(comment, '') from duckdb_columns() "
            "where schema_name = 'main' and not internal order by table_name, column_index"
        ).fetchall():
            columns.setdefault(view, {})[column] = (kind, comment)
        columns.pop("catalogue_info", None)
        earlier, self._shown = (
            self._shown,
            Shown(connection, FrameViews(connection.cursor), status(self.warehouse), columns, mark),
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
        """Keep the rows of every view that a figure reads, and load the solver; errors are left to whoever looks."""
        one = np.ones(1)
        plan(one, one, np.ones((1, 1)))
        names = list(dict.fromkeys((*views_of(all_figures().values()), *_OF_PAGES)))
        self._keep(names)
        with self.state() as shown:
            for name in names:
                if self._ending.is_set():
                    return
                try:
                    shown.views.frame(name)
                except (SqlError, XlwhError, duckdb.Error) as error:
                    log.info("The view %s is not ready: %s", name, error)

    def _keep(self, names: Iterable[str]) -> None:
        try:
            known = self.warehouse.definitions().views
            self._keeper = self.warehouse.keeper(MEMORY_LIMIT)
            for name, made in self._keeper.run([name for name in names if name in known]).items():
                if made.error is not None:
                    log.info("The rows of %s are not kept: %s", name, made.error)
            if not self._ending.is_set():
                self.warehouse.build_catalogue()
        except (XlwhError, duckdb.Error, OSError) as error:
            # A warehouse that one may only read is explored all the same: each start computes again.
            log.warning("The rows of views are not kept in %s: %s", self.warehouse.root, error)

    def close(self) -> None:
        """End what is being computed and let go of the connection."""
        self._ending.set()
        while self._warming is not None and self._warming.is_alive():
            # A thread inside DuckDB when Python ends would take the process down with it. Again and again, since it
            # may be between two statements.
            if self._keeper is not None:
                self._keeper.stop()
            with self._lock:
                if self._shown is not None:
                    self._shown.views.stop()
            self._warming.join(timeout=0.05)
        with self._lock:
            if self._shown is not None:
                self._shown.retired = True
                self._close_if_done(self._shown)
                self._shown = None
