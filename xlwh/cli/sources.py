"""Commands that bring what a study needs: pin, fetch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xlwh.cli.app import command, study_option
from xlwh.cli.options import file_of_study

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xlwh.sources.fetch import Item
    from xlwh.sources.pin import Pinned

_FEW = 6
"""Keys that are listed of an error that many have."""

study_argument = click.argument("named", type=click.Path(path_type=Path), required=False, metavar="[STUDY]")


@command()
@study_argument
@click.option(
    "--renew", is_flag=True, help="Pin what has a commit already to that of the main branch of today."
)
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@study_option
def pin(named: Path | None, renew: bool, dry_run: bool, study_file: Path) -> int:
    """Write the commits of hub ids into the study.

    STUDY is its file or folder (default: as --study). Every model and dataset with `hub` gets `revision`, the commit that
    its main branch stands at; a branch, tag or pull request that stands there (`refs/pr/4`) becomes its commit. Ids with a
    commit keep it. Comments and layout of the file are kept.

    Shown of each: old and new commit, bytes that will be loaded, licence, task, whether it is gated and has safetensors.
    The exit code is 1 if one of them cannot be used.
    """
    from xlwh.place import mirror
    from xlwh.sources.pin import pin as asked
    from xlwh.sources.pin import write

    _quiet()
    mirror()
    file = file_of_study(named or study_file)
    pins = asked(file, renew, _line)
    if not pins:
        click.echo(f"{file} names nothing of the hub.")
        return 0
    _show_pins(pins)
    for each in pins:
        for note in each.notes:
            click.echo(f"{each.place}: {note}")
    _show_errors((each.place, each.error) for each in pins)
    changed = sum(each.is_changed for each in pins)
    if dry_run:
        click.echo(f"Nothing was written (--dry-run); {changed} of {len(pins)} would be.")
    else:
        written = write(file, pins)
        click.echo(f"Wrote {written} of {len(pins)} into {file}." if written else f"Left {file} as it is.")
    return 1 if any(each.error for each in pins) else 0


@command()
@study_argument
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show what would be fetched, from where, and how much. Cards and lists of files alone come into the hub's cache; nothing is removed.",
)
@click.option(
    "--to", "target", metavar="MIRROR", help="Write all of it into a mirror too: a folder, or s3://..."
)
@click.option("--from", "source", metavar="MIRROR", help="Take all of it from a mirror, and use no network.")
@click.option("--verify", is_flag=True, help="Compare digests of what is there already, too.")
@study_option
def fetch(
    named: Path | None, dry_run: bool, target: str | None, source: str | None, verify: bool, study_file: Path
) -> int:
    """Bring what the study needs, before a run.

    STUDY is its file or folder (default: as --study). Models and datasets of the hub come into its cache, files that the study
    names below its data_root, and a registry knows, come to their places. Only what is loaded is fetched. Afterwards a run
    needs no network (HF_HUB_OFFLINE=1).

    What cannot be had is told, each by itself, and the rest is fetched all the same; the exit code is then 1. What was
    interrupted goes on where it stopped.
    """
    from xlwh.place import mirror
    from xlwh.sources.fetch import Fetching
    from xlwh.sources.mirror import Mirror
    from xlwh.study import load

    _quiet()
    mirror()
    study = load(file_of_study(named or study_file))
    fetching = Fetching(study, None if source is None else Mirror(source), verify, keeps=dry_run)
    items = fetching.look(_line)
    if not items:
        click.echo("The study needs nothing from outside.")
        return 0
    _show_items(items)
    if not dry_run:
        fetching.require_space(items)
        for number, item in enumerate(todo := [item for item in items if item.is_open], start=1):
            click.echo(f"[{number}/{len(todo)}] {item.source}{_sized(item.lacking)}", err=True)
            fetching.bring(item)
            if item.error:
                click.echo(f"[{number}/{len(todo)}] failed", err=True)
        if target is not None:
            _put(fetching, items, Mirror(target))
    for item in items:
        for note in item.notes:
            click.echo(f"Warning: {note}", err=True)
    _show_errors((item.what, item.error) for item in items)
    click.echo(_summary(items))
    return 1 if any(item.error for item in items) else 0


def _put(fetching: Any, items: list[Item], mirror: Any) -> None:
    """Copy what is there into a mirror; what fails is the item's error."""
    from xlwh.errors import XlwhError
    from xlwh.store.files import size

    copied = 0
    try:
        for item in items:
            if item.state in ("there", "fetched"):
                try:
                    copied += fetching.put(item, mirror)
                except (XlwhError, OSError) as error:
                    item.error = str(error)
        fetching.put_lock(mirror)
    finally:
        mirror.close()
    click.echo(f"Mirror {mirror.url}: {size(copied)} copied, {len(mirror.files):,} files in all.")


def _show_errors(told: Iterable[tuple[str, str]]) -> None:
    """Every error once, with the keys of the study that have it."""
    places: dict[str, list[str]] = {}
    for place, error in told:
        if error:
            places.setdefault(error, []).append(place)
    for error, of in places.items():
        more = f" and {len(of) - _FEW} more" if len(of) > _FEW else ""
        click.echo(f"Error: {', '.join(of[:_FEW])}{more}: {error}", err=True)


def _quiet() -> None:
    """The client's bars are for terminals."""
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    if not sys.stderr.isatty():
        disable_progress_bars()


def _line(text: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\rLooking at {text}\033[K", nl=False, err=True)
        click.echo("\r\033[K", nl=False, err=True)


def _show_pins(pins: list[Pinned]) -> None:
    from xlwh.cli.render import grid
    from xlwh.store.files import size

    rows: list[list[Any]] = []
    for each in pins:
        found = each.described
        rows.append(
            [
                each.place,
                each.repository,
                _short(each.old),
                "same" if each.new is not None and each.new == each.old else _short(each.new),
                "" if each.size is None else size(each.size),
                "" if found is None else found.licence,
                "" if found is None else found.task,
                "" if found is None else (found.gated or ("private" if found.private else "no")),
                each.has_safetensors,
            ]
        )
    heads = ["in the study", "hub", "old", "new", "loaded", "licence", "task", "gated", "safetensors"]
    grid(heads, rows)


def _short(revision: str | None) -> str:
    return "-" if revision is None else (revision[:12] if len(revision) == 40 else revision)


def _show_items(items: list[Item]) -> None:
    from xlwh.cli.render import grid
    from xlwh.store.files import size

    rows = [
        [
            item.what,
            item.source,
            "?" if item.bytes is None else size(item.bytes),
            item.licence or "unknown",
            item.state,
        ]
        for item in items
    ]
    grid(["in the study", "from", "size", "licence", "state"], rows)


def _sized(number: int | None) -> str:
    from xlwh.store.files import size

    return "" if number is None else f" ({size(number)})"


def _summary(items: list[Item]) -> str:
    from xlwh.store.files import size

    counts = {state: [item for item in items if item.state == state and not item.error] for state in _STATES}
    parts = [f"{len(found)} {state}" for state, found in counts.items() if found]
    failed = sum(bool(item.error) for item in items)
    if failed:
        parts.append(f"{failed} failed")
    told = f"{len(items)} needs: {', '.join(parts)}."
    if opened := counts["to fetch"]:
        told += f" To come: {size(sum(item.lacking or 0 for item in opened))}."
    return told


_STATES = ("there", "fetched", "to fetch")
