"""Commands about what the study names and the warehouse holds: drop, rename."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xlwh.cli.app import command, study_option, warehouse_option
from xlwh.cli.options import dry_run_option
from xlwh.cli.render import grid, shown
from xlwh.errors import MissingDataError
from xlwh.store.files import require_writable, size

if TYPE_CHECKING:
    from xlwh.store import Entry, Warehouse
    from xlwh.upkeep.names import What

_AT_ONCE = "xlwh gc --grace 0s"
_COLUMNS = ("step", "of", "files", "rows", "size")

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@command()
@click.argument("tables", nargs=-1, metavar="[TABLE]…")
@click.option("--model", "-m", "models", multiple=True, help="Only what is of this model; may be repeated.")
@click.option("--language", "-l", "languages", multiple=True, help="Only this language; may be repeated.")
@click.option("--dataset", "-d", "datasets", multiple=True, help="Only this dataset; may be repeated.")
@dry_run_option
@yes_option
@study_option
@warehouse_option
def drop(
    tables: tuple[str, ...],
    models: tuple[str, ...],
    languages: tuple[str, ...],
    datasets: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    study_file: Path,
    root: Path,
) -> None:
    """Remove what the study does not name any more.

    All of it, or only that of some TABLEs, models, languages and datasets. It is shown and asked about first. Files
    stay until `xlwh gc` removes them, so that readers can finish.
    """
    from xlwh.cli.display import keep_again, warn
    from xlwh.store import Warehouse
    from xlwh.study import load
    from xlwh.upkeep import drop as dropping

    study, warehouse = load(study_file), Warehouse(root)
    entries = dropping.unnamed(study, warehouse, tables, models, languages, datasets)
    if not entries:
        of = " of what was chosen" if any((tables, models, languages, datasets)) else ""
        click.echo(f"Nothing{of} is stored that the study `{study.name}` does not name.")
        return
    rows = _by_owner(entries)
    folders = dropping.checkpoints(warehouse, entries)
    rows += [["checkpoints", folder.name, 1, None, size(_bytes([folder]))] for folder in folders]
    tests = dropping.unused_self_tests(study, warehouse) if folders or _holds_models(entries) else []
    if tests:
        rows.append(["results of self-tests", "", len(tests), None, size(_bytes(tests))])
    click.echo(f"Not named by the study `{study.name}`:")
    grid(_COLUMNS, rows)
    total = f"{shown(len(entries))} files, {size(sum(entry.size_bytes for entry in entries))}"
    if dry_run:
        click.echo(f"Would drop {total}.")
        return
    require_writable(root)
    _ask(f"Drop {total}?", yes)
    dropping.drop(warehouse, entries)
    for file in tests:
        file.unlink(missing_ok=True)
    warn(keep_again(warehouse))
    click.echo(
        f"Dropped {total}. They are removed from the disk by `xlwh gc`, 24 hours from now on; at once by `{_AT_ONCE}`."
    )


@command()
@click.argument("what", type=click.Choice(["model", "dataset"]))
@click.argument("old")
@click.argument("new")
@dry_run_option
@yes_option
@study_option
@warehouse_option
def rename(what: What, old: str, new: str, dry_run: bool, yes: bool, study_file: Path, root: Path) -> None:
    """Rename a model or a dataset, and keep what is stored of it.

    The study file has to say NEW already. Every stored file that bears the key OLD is written again, and what was up to
    date stays so.
    """
    from xlwh.cli.display import keep_again, warn
    from xlwh.models import Zoo
    from xlwh.steps.plan import step_of
    from xlwh.steps.planning import Planner
    from xlwh.store import Warehouse
    from xlwh.study import load
    from xlwh.upkeep import scope
    from xlwh.upkeep.rename import Renamer

    study, warehouse = load(study_file), Warehouse(root)
    renamer = Renamer(study, warehouse, what, old, new)
    if renamer.is_done:
        click.echo(f"What is stored of {what} `{old}` is called `{new}` already.")
        if not dry_run:
            scope.renew(Planner(study, warehouse, Zoo(study, warehouse)))
            warn(keep_again(warehouse))
        return
    moves = renamer.moves()
    if not moves:
        raise MissingDataError(f"Nothing is stored of {what} `{old}`.")
    steps = dict.fromkeys(step_of(move.entry.slot.table).name for move in moves)
    rows = []
    for step in steps:
        own = [move for move in moves if step_of(move.entry.slot.table).name == step]
        fresh = sum(move.up_to_date for move in own)
        rows.append([step, len(own), fresh, size(sum(move.entry.size_bytes for move in own))])
    click.echo(f"Files of {what} `{old}`, to be `{new}`:")
    grid(["step", "files", "up to date", "size"], rows)
    total = f"{shown(len(moves))} files, {size(sum(move.entry.size_bytes for move in moves))}"
    if dry_run:
        click.echo(f"Would write {total}, and those whose fingerprint names one of them.")
        return
    require_writable(root)
    _ask(f"Write {total} again as `{new}`?", yes)
    with click.progressbar(length=1, label="renaming", file=sys.stderr) as bar:

        def progress(what: str, done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        entries = renamer.run(progress)
    scope.renew(Planner(study, warehouse, Zoo(study, warehouse)))
    warn(keep_again(warehouse))
    click.echo(
        f"Wrote {shown(len(entries))} files. Those of `{old}` are removed from the disk by `xlwh gc`, 24 hours from now "
        f"on; at once by `{_AT_ONCE}`."
    )


def tell_unnamed(warehouse: Warehouse) -> None:
    """What is stored and not named by the study, with sizes, and what removes it; nothing where there is none."""
    entries = warehouse.hidden()
    known = warehouse.manifest.scope()
    if not entries or known is None:
        return
    click.echo(f"Stored, but not named by the study `{known.study}` (no fault; `xlwh drop` removes it):")
    grid(_COLUMNS, _by_owner(entries))


def _by_owner(entries: Sequence[Entry]) -> list[list[object]]:
    from xlwh.upkeep.drop import by_owner

    return [
        [
            step,
            owner,
            len(own),
            sum(entry.rows for entry in own),
            size(sum(entry.size_bytes for entry in own)),
        ]
        for (step, owner), own in by_owner(entries).items()
    ]


def _holds_models(entries: Sequence[Entry]) -> bool:
    return any(entry.slot.table == "models" for entry in entries)


def _bytes(paths: Sequence[Path]) -> int:
    from xlwh.store.files import files_in

    return sum(found.st_size for path in paths for _, found in files_in(path))


def _ask(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            "there is no terminal to ask on; give --yes (and --dry-run shows what it would do)"
        )
    click.confirm(question, abort=True)
