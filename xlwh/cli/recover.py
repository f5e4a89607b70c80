"""The command that makes a lost or damaged manifest anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xlwh.cli.app import command, warehouse_option
from xlwh.cli.progress import counting
from xlwh.cli.render import counted, grid
from xlwh.store.files import require_writable
from xlwh.store.roots import name_of

if TYPE_CHECKING:
    from xlwh.store.recover import Recovery


@command()
@click.option(
    "--dry-run", is_flag=True, help="Read everything and say what would become of it; change nothing."
)
@click.option("--force", is_flag=True, help="Rebuild a manifest that is sound, too: it is a backup then.")
@warehouse_option
def recover(dry_run: bool, force: bool, root: Path) -> None:
    """Rebuild a manifest that is lost or damaged.

    It is made of its journal, with the history that this has, and of what the stored files say of themselves; all that
    are to be shown are read, in an object store the ends of them. Files that it cannot place are listed with the reason and left alone, and the damaged
    manifest is kept under another name. Can be stopped and run again.
    """
    from xlwh.store import Warehouse
    from xlwh.store.recover import recover as rebuilt

    if not dry_run:
        require_writable(root)
    with counting("files read") as progress:
        found = rebuilt(root, dry_run, force, progress)
    if found.why is None and not force:
        click.echo(
            f"The manifest of {name_of(root)} is sound, to commit {found.commit}, and {found.backup}. Nothing to recover."
        )
        return
    click.echo(f"The manifest of {name_of(root)}: {found.why or 'sound'}; {found.backup}.")
    _tell(found)
    if dry_run:
        click.echo("Nothing was changed (--dry-run).")
        return
    Warehouse(root).build_catalogue()
    for name in found.aside:
        click.echo(f"Kept as it was: {name}")
    click.echo("Next: `xlwh check --deep` (until then `xlwh gc` removes nothing), then `xlwh materialize`.")


def _tell(found: Recovery) -> None:
    click.echo(
        f"Current: {counted(found.from_backup, 'file')} by the backup, {counted(found.from_files, 'file')} by what they "
        f"say of themselves; the last commit is {found.commit}."
    )
    if found.hidden:
        click.echo(f"Out of the study's scope, by the backup: {counted(found.hidden, 'file')}.")
    elif not found.backup_commit:
        click.echo("All of it is shown: the next `xlwh materialize` hides what the study does not name.")
    rows = [["not current any more", each.file, each.reason] for each in found.ended]
    rows += [["left alone", each.file, each.reason] for each in found.unplaced]
    rows += [["damaged", each.file, each.reason] for each in found.damaged]
    rows += [["not verified", each.file, each.reason] for each in found.unverified]
    if rows:
        from xlwh.store.identity import printable

        # Of files that nobody vouches for.
        grid(
            ["what", "file", "why"],
            [[what, *(printable(text, 500) for text in told)] for what, *told in rows],
        )
    if found.damaged:
        click.echo("What is damaged stays so until `xlwh repair` makes it again from the study.")
    if found.unverified:
        click.echo(
            "Whether tokenizers and configurations that are not verified are as they were made, nothing says. Make such models "
            "again where that matters: xlwh materialize models --model MODEL --force"
        )
