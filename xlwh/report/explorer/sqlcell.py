"""The SQL page's work: one reading statement, its first rows, or all of them as a file."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from xlwh.errors import SqlError
from xlwh.report.explorer.state import Shown
from xlwh.report.tables import safe_csv
from xlwh.store.connect import failure
from xlwh.store.query import checked

SHOWN_ROWS = 1000
TIMEOUT_S = 60.0
_BATCH = 50_000


@dataclass(frozen=True)
class Result:
    """The first rows of a statement."""

    rows: pl.DataFrame
    more: bool
    seconds: float


def run(shown: Shown, sql: str, rows: int = SHOWN_ROWS, timeout_s: float = TIMEOUT_S) -> Result:
    """The first `rows` rows of one reading statement; `SqlError` for anything else, and for one that takes too long."""
    began = time.perf_counter()
    with _relation(shown, sql, timeout_s) as relation:
        frame: pl.DataFrame = relation.limit(rows + 1).pl()
    return Result(frame.head(rows), frame.height > rows, time.perf_counter() - began)


def download(shown: Shown, sql: str, kind: str, timeout_s: float = 10 * TIMEOUT_S) -> Path:
    """All rows in a temporary file, which the caller removes; csv (safe for spreadsheets) or parquet. Memory is bounded."""
    with tempfile.NamedTemporaryFile(prefix="xlwh-", suffix=f".{kind}", delete=False) as file:
        path = Path(file.name)
    try:
        with _relation(shown, sql, timeout_s) as relation:
            reader = relation.to_arrow_reader(_BATCH)
            _write(reader, path, kind)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _write(reader: pa.RecordBatchReader, path: Path, kind: str) -> None:
    if kind == "parquet":
        with pq.ParquetWriter(path, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
        return
    with path.open("w", encoding="utf-8", newline="") as out:
        empty = pl.DataFrame(pl.from_arrow(reader.schema.empty_table()))
        out.write(safe_csv(empty))
        for batch in reader:
            frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([batch])))
            out.write(safe_csv(frame, header=False))


@contextmanager
def _relation(shown: Shown, sql: str, timeout_s: float) -> Iterator[duckdb.DuckDBPyRelation]:
    """The statement as a relation, stopped when its time is up."""
    statement = checked(sql)
    cursor = shown.connection.cursor()
    late = threading.Event()

    def stop() -> None:
        late.set()
        cursor.interrupt()

    clock = threading.Timer(timeout_s, stop)
    shown.running.add(cursor)
    clock.start()
    try:
        relation = cursor.sql(statement)
        if relation is None:
            raise SqlError("The statement has no result.")
        yield relation
    except duckdb.InterruptException:
        reason = f"it took longer than {timeout_s:g} s" if late.is_set() else "it was stopped"
        raise SqlError(f"No result: {reason}. Ask for a part of it, with WHERE or LIMIT.") from None
    except duckdb.Error as error:
        raise failure(error) from None
    finally:
        clock.cancel()
        shown.running.discard(cursor)
        cursor.close()


def stop(shown: Shown) -> int:
    """Stop all statements that run for a page; returns how many."""
    running = list(shown.running)
    for cursor in running:
        cursor.interrupt()
    return len(running)
