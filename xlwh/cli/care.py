"""Commands that look after a warehouse: check, repair, gc, catalogue; and the readers that fill one."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xlwh.cli.app import command, study_option, warehouse_option
from xlwh.cli.options import device_option, dry_run_option, workers_option
from xlwh.cli.progress import counting
from xlwh.cli.render import console, counted, grid, shown
from xlwh.store.files import require_writable, size

if TYPE_CHECKING:
    from xlwh.store import Entry, Finding, Warehouse
    from xlwh.store.checks import Checker
    from xlwh.store.take import Taken

_FROM_ELSEWHERE = ("metrics/", "sql/")
"""Places of files that installed packages and the study's folder bring, and no step makes."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Duration(click.ParamType[timedelta]):
    """A number and a unit: 90s, 15m, 12h, 7d."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"(\d{1,9})([smhd])", str(value))
        if match is None:
            self.fail(f"{str(value)[:40]!r} is no duration; write 90s, 15m, 12h or 7d", param, ctx)
        return timedelta(**{_UNITS[match[2]]: int(match[1])})


class Sample(click.ParamType[float]):
    """A number of files, or a share of them: 100, 5%, 0.05."""

    name = "number or share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        try:
            found = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            found = 0.0
        is_number = text.isdecimal()
        if found <= 0 or (found > 1 and not is_number) or not math.isfinite(found):
            self.fail(
                f"{text[:40]!r} is no number of files and no share of them; write 100 or 5%", param, ctx
            )
        return int(text) if is_number else found


@command()
@click.argument("tables", nargs=-1, metavar="[TABLE]…")
@click.option(
    "--deep", is_flag=True, help="Read every file, and compare it with its digest and its contract."
)
@click.option(
    "--sample", type=Sample(), help="Read so many files, drawn at random, or such a share: 100, 5%."
)
@warehouse_option
def check(tables: tuple[str, ...], deep: bool, sample: float | None, root: Path) -> int:
    """Check what is stored: all of it, or only some TABLEs.

    Whether every file is there, of its size and whole at its ends, files that no commit names, the catalogue, and
    languages that are not parallel though they are joined by row. With --deep, or for a --sample, files are read: their
    bytes are compared with the digests in the manifest, and their rows with contracts and texts. The exit code is 1 if
    anything is amiss. What is stored and not named by the study is listed too, and is no fault.
    """
    from xlwh.cli.scope import tell_unnamed
    from xlwh.store import Warehouse

    warehouse = Warehouse(root)
    checker = warehouse.checker(deep, tables, sample)
    damaged = looked_over(checker)
    findings = [[finding.kind, finding.message] for finding in damaged]
    if not (tables or any("parallelism" in finding.file for finding in damaged)):
        findings += [["not parallel", told] for told in _not_parallel(warehouse)]
    if findings:
        grid(["fault", "what"], findings)
        console(stderr=True).print(counted(len(findings), "finding"))
    else:
        click.echo("No faults found.")
    for line in what_was_looked_at(checker):
        click.echo(line)
    if not tables:
        tell_unnamed(warehouse)
        _tell_wrong_times(warehouse)
    return 1 if findings else 0


def _tell_wrong_times(warehouse: Warehouse) -> None:
    """Commits that were made while the clock was wrong; nothing where there are none."""
    from xlwh.store.clock import text

    wrong = [stamp for stamp in warehouse.manifest.stamps() if stamp.made_at is None]
    if wrong:
        click.echo(
            f"Made while the clock was wrong: {counted(len(wrong), 'commit')}, the first number {wrong[0].number}, which says "
            f"{text(wrong[0].told)} (no fault; `as_of` with a time near it may ask for a number)."
        )


def looked_over(checker: Checker) -> list[Finding]:
    """What a check finds, with a bar while it is made."""
    with counting("files checked") as progress:
        return list(checker.findings(progress))


def what_was_looked_at(checker: Checker) -> Iterator[str]:
    """What a check looked at, and what it did not."""
    told = f"Looked at {counted(checker.files, 'file')}"
    if checker.tables:
        yield f"{told} of {', '.join(sorted(checker.tables))}. Kept rows of views and the catalogue were not looked at."
    else:
        yield f"{told}, those of kept rows of views among them."
    read = len(checker.read)
    if read == checker.files:
        yield "All of them were read and compared with their digests."
    elif read:
        yield f"{shown(read)} of {shown(checker.files)}, drawn at random, were read and compared with their digests."
    else:
        yield "None was read: whether their bytes are those that were written is told by `xlwh check --deep`."
    if checker.unused_catalogue:
        yield (
            f"Nothing can be written here, and of the catalogue it is true that {checker.unused_catalogue}: each connection makes its "
            "own. No fault."
        )
    if checker.undigested:
        yield (
            f"No digest: {counted(checker.undigested, 'file')} from an earlier version of xlwh. When they are read they "
            "are only decoded, which does not find everything; `xlwh materialize --force` makes them anew."
        )


def _not_parallel(warehouse: Warehouse) -> list[str]:
    """What the audit of languages has refused."""
    from xlwh.corpora.parallelism import refused
    from xlwh.store.parquet import UnreadableError, decoded

    try:
        frame = refused(decoded(warehouse.scan("parallelism").collect))
    except UnreadableError as error:
        return [f"It cannot be told which languages are not parallel: {error}. Run: xlwh check --deep"]
    return [
        f"dataset {row['dataset']}: {row['target_language']} and {row['source_language']}, row {row['first_divergence']}: "
        f"{row['reason']}"
        for row in frame.sort("dataset", "target_language").iter_rows(named=True)
    ]


@command()
@click.argument("tables", nargs=-1, metavar="[TABLE]…")
@dry_run_option
@workers_option
@device_option
@study_option
@warehouse_option
def repair(tables: tuple[str, ...], dry_run: bool, workers: str, study_file: Path, root: Path) -> int:
    """Make again what is damaged, and nothing else.

    Everything is checked as by `xlwh check --deep`, or only some TABLEs. Damaged files are taken out of the warehouse in
    one commit, and the partitions that they are of are made again from the study; if it is stopped, the same command goes
    on. `xlwh gc` removes the files later. What cannot be made again, such as where its data are gone, stays as it is and
    is told with the reason (exit code 1).
    What is made from them keeps its fingerprint and stays. Kept rows of views and the catalogue are computed again.
    """
    from xlwh.store import Warehouse
    from xlwh.store.compaction import renew
    from xlwh.store.kept import kept_views, were_kept
    from xlwh.store.segments import is_segment
    from xlwh.upkeep.repair import taken_out

    warehouse = Warehouse(root)
    if not dry_run:
        require_writable(root)
    checker = warehouse.checker(deep=True, tables=tables)
    findings = looked_over(checker)
    if findings:
        grid(["fault", "what"], [[finding.kind, finding.message] for finding in findings])
    bad = {
        finding.slot for finding in findings if finding.slot is not None and finding.kind != "old_contract"
    }
    code = 0
    segments = {finding.file for finding in findings if is_segment(finding.file)}
    if segments and not dry_run:
        renewed = renew(warehouse, segments)
        click.echo(
            f"Packed again: {counted(renewed.files, 'file')} that are sound in {counted(len(segments), 'damaged segment')}."
        )
    gone = taken_out(warehouse)
    if gone:
        click.echo(f"Taken out by a repair that was stopped: {counted(len(gone), 'file')}.")
    if bad or gone:
        entries = [entry for entry in checker.known if entry.slot in bad]
        code = _made_again(warehouse, entries, gone, study_file, dry_run, workers)
    else:
        click.echo("No stored file is damaged.")
    if any(finding.slot is None and finding.kind != "orphan_file" for finding in findings) and not dry_run:
        names = were_kept(warehouse.root, kept_views(warehouse.definitions()))
        computed, failed = _kept_again(warehouse, names)
        click.echo(f"The catalogue was brought up to date; rows of {shown(computed)} views were computed.")
        code = max(code, failed)
    for finding in findings:
        if finding.file.startswith(_FROM_ELSEWHERE):
            click.echo(f"Error: {finding.message}", err=True)
            code = 1
    return code


def _made_again(
    warehouse: Warehouse,
    entries: list[Entry],
    gone: list[Entry],
    study_file: Path,
    dry_run: bool,
    workers: str,
) -> int:
    """Make the partitions of damaged files, and of those that were taken out before, again, and return the exit code."""
    from xlwh.cli.make import materialise
    from xlwh.cli.options import file_of_study
    from xlwh.cli.selection import Selection
    from xlwh.place import mirror
    from xlwh.steps.workers import Workers
    from xlwh.study import load
    from xlwh.upkeep.repair import drop_untouched, note_taken_out, planned

    entries, total = [*entries, *gone], counted(len(entries) + len(gone), "damaged file")
    if not file_of_study(study_file).is_file():
        click.echo(f"{total}. To make them again, name the study: xlwh repair --study STUDY", err=True)
        return 1
    study = load(study_file)
    plan = planned(study, warehouse, entries)
    for step, keys in plan.steps.items():
        click.echo(f"To be made again: {step.name} {', '.join(map(str, keys))}")
    for entry in plan.foreign:
        if entry in gone:
            click.echo(
                f"Error: {entry.slot} was taken out by a repair that was stopped, and the study `{study.name}` does not "
                "name it. Run `xlwh materialize` with the study that does.",
                err=True,
            )
            continue
        click.echo(
            f"Error: {entry.file} is damaged, and the study `{study.name}` does not name it. Run `xlwh repair` with the "
            "study that does, or remove it: xlwh drop",
            err=True,
        )
    for entry, reason in plan.refused.items():
        stays = "out" if entry in gone else "as it is"
        click.echo(f"Error: {entry.slot} cannot be made again, and stays {stays}: {reason}", err=True)
    left = bool(plan.foreign or plan.refused)
    if dry_run:
        click.echo(f"Would make {counted(len(plan.entries), 'damaged file')} again.")
        return 1 if left else 0
    # What the study does not name was told, and is made by a run of the one that does.
    stay = [entry for entry in gone if entry in plan.refused]
    if not plan.entries:
        note_taken_out(warehouse.root, stay)
        return 1
    # Whatever would stop the run before it makes anything.
    Workers.parse(workers)
    mirror()
    note_taken_out(warehouse.root, [*plan.entries, *stay])
    drop_untouched(warehouse, plan.entries)
    code = materialise(
        study, study_file, warehouse.root, workers=workers, selection=Selection(plan.steps, ())
    )
    missing = [entry for entry in plan.entries if warehouse.current(entry.slot) is None]
    note_taken_out(warehouse.root, [*missing, *stay])
    for entry in missing:
        click.echo(f"Error: {entry.slot} was not made again. Run: xlwh repair", err=True)
    return 1 if missing or left else code


def _kept_again(warehouse: Warehouse, names: Collection[str] | None = None) -> tuple[int, int]:
    """Compute damaged kept rows of views (default: all) again, and bring the catalogue up to date.

    The views that were computed, and the exit code.
    """
    from xlwh.cli.display import display

    with display() as watching:
        made = warehouse.keep_views(names, progress=watching.keeping, reads_all=True)
    problems = [each.error for each in made.values() if each.error is not None]
    for problem in problems:
        click.echo(f"Error: {problem}", err=True)
    computed = sum(each.computed > 0 and each.error is None for each in made.values())
    return computed, 1 if problems else 0


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
    is kept is compared with its digests, and computed again where it is not as it was written.
    """
    from xlwh.store import Warehouse
    from xlwh.store.connect import NAME

    warehouse = Warehouse(root)
    require_writable(root)
    computed, code = _kept_again(warehouse)
    click.echo(f"Built {warehouse.root / NAME}; rows of {shown(computed)} views were computed.")
    return code


@command()
@click.argument("other")
@click.argument("tables", nargs=-1, metavar="[TABLE]…")
@warehouse_option
def take(other: str, tables: tuple[str, ...], root: Path) -> int:
    """Copy what another warehouse has and this one lacks.

    OTHER is its folder, such as that of a second machine, or its URL in an object store; nothing is written there. Of some TABLEs (or steps) also all that
    they are made from; without any, everything, with results of metrics and SQL of one's own. Models that were trained there
    bring their checkpoints. Every file is verified first; what is refused is told with its reason (exit code 1), and the rest
    becomes current in one commit; a warehouse that is not there is made. What is here under another fingerprint stays. What was made for another study or other
    data is made anew by the next `xlwh materialize`.
    """
    from xlwh.cli.display import keep_again, warn
    from xlwh.steps.plan import tables_behind
    from xlwh.store import Warehouse
    from xlwh.store.manifest_file import has_manifest
    from xlwh.store.objects import root_of
    from xlwh.store.take import take as copied

    require_writable(root)
    # One that is not there is made, unless there is nothing to take.
    place = root_of(other)
    here = Warehouse(root, create=place.is_dir() and has_manifest(place))
    commit = here.manifest.head()
    with counting("copied", size) as progress:
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
