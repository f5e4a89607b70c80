"""The command that packs many small files into few large ones."""

from __future__ import annotations

from pathlib import Path

import click

from xlwh.cli.app import command, warehouse_option
from xlwh.cli.progress import counting
from xlwh.cli.render import counted, grid
from xlwh.store.files import require_writable, size


@command()
@click.argument("tables", nargs=-1, metavar="[TABLE]…")
@click.option(
    "--whole",
    is_flag=True,
    help="Pack every segment again of which something was superseded, however little.",
)
@warehouse_option
def compact(tables: tuple[str, ...], whole: bool, root: Path) -> None:
    """Pack small files into few large ones.

    Of all TABLEs, or some. Nothing changes but where rows lie: tables, fingerprints, digests and earlier commits stay what
    they are, and every command works as before. It pays where tables have thousands of files: queries and the catalogue
    get faster. What is packed stays packed; only what came since is packed the next time. Can be stopped at any time and
    run again; `xlwh gc` removes the small files when their time has come.
    """
    from xlwh.store import Warehouse
    from xlwh.store.compaction import compact as pack

    warehouse = Warehouse(root)
    require_writable(root)
    with counting("files packed") as progress:
        done = pack(warehouse, tables, progress, whole)
    taken = sum(segment.size_bytes for segment in done.segments)
    click.echo(
        f"Packed {counted(done.files, 'file')} into {counted(len(done.segments), 'segment')} ({size(taken)})."
        if done.segments
        else "Nothing to pack."
    )
    if done.left:
        grid(["left as it is", "why"], [[file, why] for file, why in sorted(done.left.items())])
