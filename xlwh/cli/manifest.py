"""The command that says where the manifest of a warehouse is, and moves it."""

from __future__ import annotations

import re
from pathlib import Path

import click

from xlwh.cli.app import command, warehouse_option
from xlwh.cli.render import counted

_EMBEDDED = "sqlite"


@command()
@click.argument("target", required=False, metavar="[URL | sqlite]")
@click.option(
    "--schema",
    help="Schema of the database; default: xlwh_ and the name of the warehouse's folder. Each warehouse has its own.",
)
@warehouse_option
def manifest(target: str | None, schema: str | None, root: Path) -> None:
    """Say where the manifest of a warehouse is, or move it.

    The manifest says which file is the current one. By default it is a SQLite file in the warehouse, which serves one
    machine. With postgresql://USER@HOST/DATABASE it is in that database from then on, and several machines that share the
    folder can work on it; `sqlite` brings it back. All its history goes with it, and a warehouse that does not exist yet is
    made. The warehouse remembers the URL, which holds no password: that is taken of PGPASSWORD, ~/.pgpass or a service file.
    """
    from xlwh.store.place import is_embedded

    if schema is not None and target in (None, _EMBEDDED):
        raise click.UsageError("--schema is one of a database: name its URL.")
    if target is None:
        from xlwh.store import Warehouse

        found = Warehouse(root).manifest
        kind = "SQLite" if is_embedded(root) else "PostgreSQL"
        click.echo(f"{kind}: {found.place}, {counted(found.head(), 'commit')}.")
        return
    from xlwh.store.files import require_writable
    from xlwh.store.move import to_postgres, to_sqlite

    root = root.resolve()
    require_writable(root)
    if target == _EMBEDDED:
        click.echo(to_sqlite(root))
        return
    from xlwh.store.postgres import Address

    name = re.sub("[^a-z0-9_]", "_", root.name.lower())[:40]
    click.echo(to_postgres(root, Address(target, schema or f"xlwh_{name}")))
