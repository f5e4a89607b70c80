"""Commands that look after a warehouse: check, gc, catalogue; and the readers that fill one."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xlwh.cli.app import command, warehouse_option
from xlwh.cli.render import console, counted, grid, shown
from xlwh.store.files import size

if TYPE_CHECKING:
    from xlwh.store import Warehouse
    from xlwh.store.take import Taken

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

    report = Warehouse(root).gc(grace)
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
@click.argument("tables", nargs=-1, metavar="[TABLE]…")
@warehouse_option
def take(other: Path, tables: tuple[str, ...], root: Path) -> int:
    """Copy what another warehouse has and this one lacks.

    OTHER is its folder, such as that of a second machine; nothing is written there. Of some TABLEs (or steps) also all that
    they are made from; without any, everything, with results of metrics and SQL of one's own. Models that were trained there
    bring their checkpoints. Every file is verified first; what is refused is told with its reason (exit code 1), and the rest
    becomes current in one commit. What is here under another fingerprint stays. What was made for another study or other
    data is made anew by the next `xlwh materialize`.
    """
    from xlwh.cli.display import copying, keep_again, warn
    from xlwh.steps.plan import tables_behind
    from xlwh.store import Warehouse
    from xlwh.store.take import take as copied

    here = Warehouse(root)
    commit = here.manifest.head()
    with copying() as progress:
        taken = copied(here, other, tables_behind(tables) if tables else None, progress)
    _tell_taken(taken)
    if here.manifest.head() != commit:
        warn(keep_again(here))
    for refused in taken.refused:
        click.echo(f"Refused: {refused.what}: {refused.reason}", err=True)
    if taken.refused:
        click.echo(
            f"Error: {counted(len(taken.refused), 'thing')} of {other} refused; nothing of them is here.",
            err=True,
        )
    return 1 if taken.refused else 0


def _tell_taken(taken: Taken) -> None:
    """What was taken by table, and what was not and why."""
    tables = dict.fromkeys(entry.slot.table for entry in taken.entries)
    rows = []
    for table in tables:
        own = [entry for entry in taken.entries if entry.slot.table == table]
        bytes_taken = sum(entry.size_bytes for entry in own)
        rows.append([table, len(own), sum(entry.rows for entry in own), size(bytes_taken)])
    for kind, what in (
        ("model", "checkpoints"),
        ("metric", "results of metrics"),
        ("sql", "SQL of one's own"),
    ):
        found = [artefact for artefact in taken.artefacts if artefact.kind == kind]
        if found:
            rows.append([what, len(found), None, size(sum(artefact.size_bytes for artefact in found))])
    if rows:
        grid(["taken", "partitions", "rows", "size"], rows)
    else:
        click.echo("Nothing was taken.")
    for slots, why in (
        (taken.same, "here already"),
        (taken.kept, "here with other fingerprints, and kept"),
        (taken.hidden, "out of the scope of the study there, and left there"),
    ):
        if slots:
            click.echo(
                f"{counted(len(slots), 'partition')} {why}: {', '.join(dict.fromkeys(s.table for s in slots))}."
            )


@command()
def readers() -> None:
    """List the file formats that datasets are read from."""
    from xlwh.corpora import readers as known

    for reader in known():
        click.echo(f"\n{click.style(reader.name, bold=True)}: {reader.description}")
        for option in reader.options:
            default = "required" if option.required else f"default {option.default}"
            click.echo(f"    {option.name} ({default}): {option.description}")
