"""Commands that ask the warehouse: sql, tables, describe."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xlwh.cli.app import command, warehouse_option
from xlwh.cli.render import grid, write_csv, write_json
from xlwh.errors import SqlError
from xlwh.store.files import replacing, size

if TYPE_CHECKING:
    from xlwh.store import Entry, Warehouse
    from xlwh.store.views import Definitions


@command(name="sql")
@click.argument("query", required=False)
@click.option(
    "--file",
    "-f",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Read the query from a file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one row per line.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, as it is stored.")
@click.option(
    "--csv-safe",
    is_flag=True,
    help="Print CSV for a spreadsheet: texts that it would run as formulas (= + - @ first) get a leading '.",
)
@click.option("--parquet", type=click.Path(dir_okay=False, path_type=Path), help="Write a Parquet file.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Rows of the printed table; 0: all.",
)
@click.option("--everything", is_flag=True, help="Show what the study does not name too: all that is stored.")
@warehouse_option
def sql(
    query: str | None,
    file: Path | None,
    as_json: bool,
    as_csv: bool,
    csv_safe: bool,
    parquet: Path | None,
    limit: int,
    everything: bool,
    root: Path,
) -> None:
    """Run one SELECT on the tables and views.

    QUERY is the statement, or - to read it from standard input. Tables and views hold what the study names; the schema
    `stored` has every table complete (`from stored.tokens`).

    Nothing but reading is possible: no writing, no other files, no extensions.
    """
    if sum((as_json, as_csv, csv_safe, parquet is not None)) > 1:
        raise click.UsageError("give one of --json, --csv, --csv-safe and --parquet")
    text = _query_text(query, file)
    from xlwh.store.opening import connect
    from xlwh.store.query import checked

    with closing(connect(root, everything=everything)) as connection, sql_errors():
        if parquet is not None:
            frame = connection.sql(checked(text)).pl()
            with replacing(parquet) as unfinished:
                frame.write_parquet(unfinished)
            click.echo(f"Wrote {frame.height:,} rows to {parquet}", err=True)
            return
        result = connection.execute(checked(text))
        columns = [column[0] for column in result.description]
        if as_json:
            write_json(sys.stdout, columns, result.fetchmany)
        elif as_csv or csv_safe:
            write_csv(sys.stdout, columns, result.fetchmany, safe=csv_safe)
        else:
            rows = result.fetchmany(limit + 1) if limit else result.fetchall()
            grid(columns, rows[:limit] if limit else rows)
            if limit and len(rows) > limit:
                click.echo(f"… only the first {limit} rows; --limit 0 prints all", err=True)


@contextmanager
def sql_errors() -> Iterator[None]:
    """DuckDB's refusals as errors of ours."""
    import duckdb

    from xlwh.store.connect import failure

    try:
        yield
    except duckdb.Error as error:
        raise failure(error) from error


def _query_text(query: str | None, file: Path | None) -> str:
    if (query is None) == (file is None):
        raise click.UsageError("give either a query (or - for standard input) or --file")
    if query is not None:
        return sys.stdin.read() if query == "-" else query
    if str(file) == "-":
        return sys.stdin.read()
    try:
        return Path(str(file)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SqlError(f"The query in {file} cannot be read: {error}") from None


@command()
@click.option(
    "--count", is_flag=True, help="Count the rows of the views too: each has to be computed for that."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one row per line.")
@warehouse_option
def tables(count: bool, as_json: bool, root: Path) -> None:
    """List the stored tables and the views.

    With rows, size, partitions and the time of the last write, of what the study names; then what else is stored.
    Views have rows with --count only.
    """
    from xlwh.cli.scope import tell_unnamed
    from xlwh.store import Warehouse
    from xlwh.tables import TABLES

    warehouse = Warehouse(root)
    stored_as: dict[str, list[Entry]] = {name: [] for name in TABLES}
    for entry in warehouse.manifest.snapshot().shown:
        stored_as[entry.slot.table].append(entry)
    listed: list[list[object]] = []
    for name, entries in stored_as.items():
        written = max((entry.created_at for entry in entries), default=None)
        partitions = len({entry.slot.keys for entry in entries})
        stored = sum(entry.size_bytes for entry in entries)
        listed.append([name, "table", sum(entry.rows for entry in entries), partitions, stored, written])
    views = [name for name in warehouse.sources().names if name not in TABLES]
    rows = _counted(warehouse, views) if count else {}
    listed += [[name, "view", rows.get(name), None, None, None] for name in views]
    if as_json:
        columns = ["name", "kind", "rows", "partitions", "size_bytes", "last_written"]
        pending = [listed]
        write_json(sys.stdout, columns, lambda _: pending.pop() if pending else [])
        return
    for row in listed:
        row[4] = None if row[4] is None else size(int(str(row[4])))
        row[5] = None if row[5] is None else str(row[5])[:16]
    grid(["name", "kind", "rows", "partitions", "size", "last written (UTC)"], listed)
    tell_unnamed(warehouse)


def _counted(warehouse: Warehouse, views: Sequence[str]) -> dict[str, int]:
    """Rows of views by name."""
    with closing(warehouse.connect()) as connection, sql_errors():
        return {name: connection.execute(f'select count(*) from "{name}"').fetchall()[0][0] for name in views}


@command()
@click.argument("name")
@warehouse_option
def describe(name: str, root: Path) -> None:
    """Show what a table or view holds.

    What a row means, its key, where its equation comes from, and every column with its type and unit. Of the name of a
    column instead: what it is counted in, and where it stands.
    """
    from xlwh.store import metrics
    from xlwh.store.views import Sources, with_shipped
    from xlwh.store.warehouse import OWN_SQL
    from xlwh.tables import TABLES
    from xlwh.tables.glossary import glossary, unit_of

    sources = Sources(tuple(with_shipped(root / OWN_SQL)), metrics.views(root))
    headers = sources.headers()
    if name not in headers and name in glossary()[1]:
        _describe_column(name, {view: v.columns for view, v in headers.items() if name in v.columns})
        return
    if name not in headers:
        near = difflib.get_close_matches(name, headers, n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise SqlError(f"There is no table or view `{name}`.{hint} There are: {', '.join(headers)}.")
    definitions = sources.load_for(name)
    view = definitions.views[name]
    types = column_types(name, definitions, root)
    facts = [
        ("kind", "stored table" if name in TABLES else "view"),
        ("row", view.description),
        ("key", ", ".join(view.key)),
        ("partitions", ", ".join(TABLES[name].partition_by) if name in TABLES else ""),
        ("all that is stored", f"stored.{name}" if name in TABLES else ""),
        ("source", view.source),
        ("reads", "" if name in TABLES else ", ".join(view.depends_on)),
    ]
    for what, text in facts:
        if text:
            click.echo(f"{click.style(what, bold=True)}: {text}")
    grid(
        ["column", "type", "unit", "description"],
        [[c, t, unit_of(name, c) or "", view.columns.get(c, "")] for c, t in types.items()],
    )


def _describe_column(name: str, views: Mapping[str, Mapping[str, str]]) -> None:
    """A column name over all tables and views: its unit, the unit's range, and what it is in each."""
    from xlwh.tables.glossary import glossary, unit_of

    units, columns = glossary()
    entry = columns[name]
    unit = units[entry.unit]
    facts = [
        ("kind", "column"),
        ("meaning", entry.meaning),
        ("unit", f"{unit.name}. {unit.meaning}"),
        ("range", unit.range),
    ]
    for what, text in facts:
        if text:
            click.echo(f"{click.style(what, bold=True)}: {text}")
    grid(
        ["table or view", "unit", "description"],
        [[view, unit_of(view, name) or "", described[name]] for view, described in views.items()],
    )


def column_types(name: str, definitions: Definitions, root: Path = Path()) -> dict[str, str]:
    """Columns of a table or view with their DuckDB types, from empty tables: no warehouse has to be at `root`."""
    import duckdb

    from xlwh.store.catalogue import fill
    from xlwh.store.manifest import Snapshot
    from xlwh.store.views import Definitions, Macro

    with duckdb.connect() as database, sql_errors():
        fill(database, root, Snapshot(0, None, ()), Definitions(()), definitions.files)
        for step in definitions.steps:
            # Tables in place of the views: DuckDB works out a view anew for every one that reads it.
            database.execute(
                step.sql
                if isinstance(step, Macro)
                else f'create table "{step.name}" as {step.sql}\nwith no data'
            )
        return {row[0]: row[1] for row in database.execute(f'describe "{name}"').fetchall()}
