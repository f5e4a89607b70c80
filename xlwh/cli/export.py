"""The command that exports the tables of a warehouse for other engines."""

from __future__ import annotations

from pathlib import Path

import click

from xlwh.cli.app import command, warehouse_option
from xlwh.cli.render import grid


@command()
@click.argument("kind", type=click.Choice(["iceberg"]), metavar="iceberg")
@click.argument("target", metavar="TARGET")
@click.argument("tables", nargs=-1, metavar="[TABLE]…")
@warehouse_option
def export(kind: str, target: str, tables: tuple[str, ...], root: Path) -> None:
    """Show the tables to other engines, as Iceberg tables.

    They are made over the files that are stored. TARGET is a folder, or a URL in an object store where the warehouse is in one; it gets Iceberg's metadata, and no copy
    of any file. Only some TABLEs, or all that the study names. The same command brings them up to the last commit: what
    came since is added in a new snapshot, and what went is removed. Columns of types that Iceberg has not are left out and
    told. Needs `pip install 'xlwh[iceberg]'`.
    """
    from xlwh.store import Warehouse
    from xlwh.store.iceberg import export as exported
    from xlwh.store.roots import name_of

    warehouse = Warehouse(root)
    commit, done = exported(warehouse, target, tables)
    if not done:
        click.echo("Nothing is stored that could be exported.")
        return
    grid(
        ["table", "files", "added", "removed"],
        [[each.table, each.files, each.added, each.removed] for each in done],
    )
    for each in done:
        for column, dtype in each.left_out.items():
            click.echo(f"Left out: {each.table}.{column}, since Iceberg has no type {dtype}.")
    click.echo(
        f"They show commit {commit} of {name_of(warehouse.root)}. Older snapshots can be read until `xlwh gc` removes their files."
    )
