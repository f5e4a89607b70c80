"""Commands that look after a warehouse: check, gc, catalogue; and the readers that fill one."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xlwh.cli.app import command, warehouse_option
from xlwh.cli.render import console, counted, grid, shown
from xlwh.store.files import require_writable, size

if TYPE_CHECKING:
    from xlwh.store import Warehouse

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Duration(click.ParamType[timedelta]):
    """A number and a unit: 90s, 15m, 12h, 7d."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"(\d+)([smhd])", str(value))
        if match is None:
            self.fail(f"{value!r} is no duration; write 90s, 15m, 12h or 7d", param, ctx)
        return timedelta(**{_UNITS[match[2]]: int(match[1])})


@command()
@warehouse_option
def check(root: Path) -> int:
    """Check every stored file.

    Contract, fingerprint, orphans, whether it can be read, and languages that are not parallel though they are joined by
    row; exit code 1 if anything is amiss. What is stored and not named by the study is listed too, and is no fault.
    """
    from xlwh.cli.scope import tell_unnamed
    from xlwh.store import Warehouse

    warehouse = Warehouse(root)
    damaged = warehouse.check()
    findings = [[finding.kind, finding.message] for finding in damaged]
    if not any("parallelism" in finding.file for finding in damaged):
        findings += [["not parallel", told] for told in _not_parallel(warehouse)]
    if not findings:
        click.echo("No faults found.")
        tell_unnamed(warehouse)
        return 0
    grid(["fault", "what"], findings)
    console(stderr=True).print(f"{shown(len(findings))} finding{'s' * (len(findings) != 1)}")
    tell_unnamed(warehouse)
    return 1


def _not_parallel(warehouse: Warehouse) -> list[str]:
    """What the audit of languages has refused."""
    from xlwh.corpora.parallelism import refused

    frame = refused(warehouse.scan("parallelism").collect())
    return [
        f"dataset {row['dataset']}: {row['target_language']} and {row['source_language']}, row {row['first_divergence']}: "
        f"{row['reason']}"
        for row in frame.sort("dataset", "target_language").iter_rows(named=True)
    ]


@command()
@click.option(
    "--grace",
    type=Duration(),
    default="24h",
    show_default=True,
    help="Keep superseded files this long, for readers that began before and for time travel: 90s, 15m, 12h, 7d.",
)
@warehouse_option
def gc(grace: timedelta, root: Path) -> None:
    """Remove files that were superseded long ago."""
    from xlwh.store import Warehouse

    warehouse = Warehouse(root)
    require_writable(root)
    report = warehouse.gc(grace)
    click.echo(f"Removed {shown(report.files)} files, {size(report.size_bytes)}.")


@command()
@warehouse_option
def catalogue(root: Path) -> int:
    """Rebuild catalog.duckdb, and keep the rows of views.

    Needed after the warehouse was moved, where the SQL was changed, or where kept rows were deleted or damaged: all that
    is kept is read, and computed again where that fails.
    """
    from xlwh.cli.display import display
    from xlwh.store import Warehouse
    from xlwh.store.connect import NAME

    warehouse = Warehouse(root)
    require_writable(root)
    with display() as watching:
        made = warehouse.keep_views(progress=watching.keeping, reads_all=True)
    computed = sum(each.computed > 0 and each.error is None for each in made.values())
    click.echo(f"Built {warehouse.root / NAME}; rows of {shown(computed)} views were computed.")
    problems = [each.error for each in made.values() if each.error is not None]
    for problem in problems:
        click.echo(f"Error: {problem}", err=True)
    return 1 if problems else 0


@command()
@click.argument("other", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("tables", nargs=-1, required=True, metavar="TABLE…")
@warehouse_option
def take(other: Path, tables: tuple[str, ...], root: Path) -> None:
    """Copy partitions that another warehouse has.

    OTHER is its folder, such as that of a second machine; only partitions that are missing here are copied. What was
    made for another study or other data is made anew by the next `xlwh materialize`.
    """
    from xlwh.cli.display import keep_again, warn
    from xlwh.store import Warehouse
    from xlwh.store.take import take as copied

    here, there = Warehouse(root), Warehouse(other)
    require_writable(root)
    commit = here.manifest.head()
    for table in tables:
        entries = copied(here, there, table)
        rows = sum(entry.rows for entry in entries)
        click.echo(f"{table}: {counted(len(entries), 'partition')}, {counted(rows, 'row')}")
    if here.manifest.head() != commit:
        warn(keep_again(here))


@command()
def readers() -> None:
    """List the file formats that datasets are read from."""
    from xlwh.corpora import readers as known

    for reader in known():
        click.echo(f"\n{click.style(reader.name, bold=True)}: {reader.description}")
        for option in reader.options:
            default = "required" if option.required else f"default {option.default}"
            click.echo(f"    {option.name} ({default}): {option.description}")
