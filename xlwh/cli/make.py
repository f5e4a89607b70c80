"""Commands that make things: demo, init, materialize, ui."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xlwh.cli.app import command, study_option, warehouse_option
from xlwh.cli.options import chosen_partitions, device_option, file_of_study, quiet_libraries, workers_option
from xlwh.errors import SqlError, StudyError, XlwhError
from xlwh.papers import ALL, PAPERS, SIZES

if TYPE_CHECKING:
    from xlwh.cli.selection import Selection
    from xlwh.steps.base import Key
    from xlwh.steps.context import Context
    from xlwh.steps.crew import Crew
    from xlwh.steps.plan import Step
    from xlwh.steps.workers import Workers
    from xlwh.store import Warehouse
    from xlwh.study import Study

STOPPED_BEFORE = (
    "Nothing was made. `--keep-going` makes what can be made all the same; `xlwh plan` shows what that is."
)

TEMPLATE = Path(__file__).with_name("study_template.toml")


@command()
@warehouse_option
@workers_option
@device_option
@click.option("--force", is_flag=True, help="Make everything anew.")
def demo(root: Path, workers: str, force: bool) -> int:
    """Materialise the small study that ships with xlwh.

    It ends with the consistency table of the demo's models, and what to try next.

    No network and no accelerator; a minute or two.
    """
    from xlwh.cli.demo import show
    from xlwh.demo import study_path
    from xlwh.study import load

    study = load(study_path())
    code = materialise(study, study_path(), root, force=force, workers=workers)
    if code == 0:
        show(study, root)
    return code


@command()
@click.option(
    "--paper",
    type=click.Choice((*PAPERS, ALL)),
    help="Write the study that repeats a paper, or `all` of them in one, instead of a template.",
)
@click.option(
    "--size",
    type=click.Choice(SIZES),
    help="Of the paper's study: full (the default) has the paper's own settings, small takes about a day on one GPU, smoke "
    "rehearses every step on a handful of examples. Each downloads the same checkpoints.",
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".", metavar="[DIR]")
def init(paper: str | None, size: str | None, folder: Path) -> None:
    """Write a commented study.toml into DIR.

    A template, or with --paper the whole study of a paper: its models, data and settings.
    """
    path = folder / "study.toml"
    if path.exists():
        raise StudyError(f"{path} exists already; it was left as it is.")
    if paper is None and size is not None:
        raise click.UsageError("--size is the size of a paper's study: name the paper with --paper.")
    if paper is None:
        text = TEMPLATE.read_text(encoding="utf-8")
        then = f"Set data_root and the models in it, then run: xlwh materialize --study {path}"
    else:
        from xlwh.papers import compose

        text = compose(paper, size or "full")
        then = _paper_commands(paper, folder)
    from xlwh.store.files import write_whole

    write_whole(path, text.encode())
    click.echo(f"Wrote {path}. {then}")


def _paper_commands(paper: str, folder: Path) -> str:
    """What to run for a paper's study, one command a line."""
    steps = {
        "xlwh pin": "write the commits that the study does not name",
        "xlwh fetch": "download its models and data",
        "xlwh plan": "what will be made, how long it takes and what disk it needs",
        "xlwh materialize": "make it; the same command goes on after a stop",
        f"xlwh report --paper {paper}": "the paper's tables beside your own",
    }
    width = max(map(len, steps))
    lines = [f"  {command.ljust(width)}   # {what}" for command, what in steps.items()]
    # A name that begins with - would be a flag.
    named = f"./{folder}" if str(folder).startswith("-") else str(folder)
    into = [] if folder == Path(".") else [f"  cd {shlex.quote(named)}"]
    return "\n".join(["Next:", *into, *lines])


@command()
@chosen_partitions
@click.option(
    "--keep-going", is_flag=True, help="Make what can be made where files, models or settings are at fault."
)
@workers_option
@device_option
@click.option(
    "--no-wait",
    is_flag=True,
    help="Leave out what another process is making, with what needs it, instead of waiting for it.",
)
@study_option
@warehouse_option
def materialize(study_file: Path, root: Path, **chosen: Any) -> int:
    """Compute what the study asks for.

    ASSET names tables or views (see `xlwh tables`); `+ASSET` adds all that it is made from; without any, everything
    is made. Partitions that are fresh are skipped. What is missing (files, models, packages) is told before any work,
    and nothing is made then. A partition that fails later leaves the others alone.
    """
    from xlwh.study import load

    return materialise(load(study_file), study_file, root, **chosen)


def materialise(
    study: Study,
    study_file: Path,
    root: Path,
    assets: Sequence[str] = (),
    models: Sequence[str] = (),
    languages: Sequence[str] = (),
    datasets: Sequence[str] = (),
    force: bool = False,
    keep_going: bool = False,
    workers: str = "auto",
    no_wait: bool = False,
    selection: Selection | None = None,
) -> int:
    """Make what is missing, show it, and return the exit code. A `selection` is made instead of what is named."""
    quiet_libraries()
    from xlwh.cli.display import (
        display,
        explain,
        faults,
        keep_again,
        left_to_others,
        note_overhead,
        summary,
        warn,
    )
    from xlwh.cli.selection import Sorted, select_of, sort
    from xlwh.models import Zoo
    from xlwh.models.devices import require_there
    from xlwh.place import mirror
    from xlwh.steps.context import Context
    from xlwh.steps.workers import Workers
    from xlwh.store import Warehouse
    from xlwh.store.files import require_writable
    from xlwh.store.manifest_file import has_manifest
    from xlwh.tables import TABLES
    from xlwh.upkeep import scope
    from xlwh.upkeep.reasons import told
    from xlwh.upkeep.survey import surveyed

    began, setting = time.perf_counter(), Workers.parse(workers)
    # A mistyped one is one error, not one for each model and dataset.
    mirror()
    if setting.ray is None:
        require_there()
    study_file = file_of_study(study_file)
    require_writable(root)
    if selection is None:
        selection = select_of(study, assets, models, languages, datasets)

    def sorted_(warehouse: Warehouse) -> tuple[Context, Sorted]:
        context = Context(study, warehouse, Zoo(study, warehouse), force)
        return context, sort(context, selection)

    context, found = sorted_(Warehouse(root)) if has_manifest(root) else (None, None)
    todo = selection.steps if found is None else found.todo
    with surveyed(study, root, todo, force) if todo else nullcontext() as survey:
        if survey is not None:
            faults(survey, study_file)
            if not survey.is_possible and not keep_going:
                click.echo(STOPPED_BEFORE, err=True)
                return 1
    if context is None or found is None:
        context, found = sorted_(Warehouse(root, create=True))
    warehouse, planner = context.warehouse, context.planner
    # What is wrong with it was told by then.
    with suppress(SqlError) if keep_going else nullcontext():
        warehouse.adopt_sql(study.sql_folder)
    commit = warehouse.manifest.head()
    # Another study may have hidden what this one reads.
    scope.renew(planner)
    for line in () if force else told(planner, found.todo):
        click.echo(line, err=True)
    outcomes, problems, warnings = list(found.settled), [], []
    views = selection.views if found.todo or assets else ()
    try:
        if found.todo or views:
            with _hired(setting, context, found.todo) as crew:
                from dagster_project.launch import Launcher

                with display() as shown:
                    launcher = Launcher(study, root, shown, force, planner, crew, setting, waits=not no_wait)
                    launcher.launch(found.todo, views, found.settled)
            note_overhead(root, launcher.outcomes, time.perf_counter() - began)
            # A block of partitions that are run together may hold some that were fresh already.
            made = {(outcome.step.name, outcome.key): outcome for outcome in (*outcomes, *launcher.outcomes)}
            outcomes = list(made.values())
            problems += launcher.problems
            warnings += launcher.warnings
    finally:
        # Also when it is stopped: what was finished is to be seen.
        try:
            scope.renew(planner)
        finally:
            warehouse.build_catalogue()
    if warehouse.manifest.head() != commit:
        warnings += keep_again(warehouse, but=views)
    rows = {table: sum(entry.rows for entry in planner.entries(table)) for table in TABLES}
    summary(outcomes, rows, time.perf_counter() - began)
    warn(warnings)
    left_to_others(outcomes)
    explain(outcomes)
    for problem in problems:
        click.echo(f"Error: {problem}", err=True)
    return 1 if problems or any(outcome.error is not None for outcome in outcomes) else 0


@contextmanager
def _hired(workers: Workers, context: Context, todo: Mapping[Step, Collection[Key]]) -> Iterator[Crew | None]:
    """Workers where the setting comes to some, which load their libraries while this process goes on."""
    from xlwh.models.devices import overlooked
    from xlwh.steps.workers import choose

    if not todo:
        yield None
        return
    models = {key.model for keys in todo.values() for key in keys if key.model is not None}
    choice = choose(workers, context.zoo, models, max(map(len, todo.values())))
    click.echo(choice, err=True)
    if choice.ray is None and (why := overlooked()) is not None:
        click.echo(f"{why}.", err=True)
    crew = choice.hire(context.study, context.warehouse.root)
    with nullcontext() if crew is None else closing(crew):
        yield crew


@command()
@click.option(
    "--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port to listen on."
)
@workers_option
@device_option
@study_option
@warehouse_option
def ui(port: int, workers: str, study_file: Path, root: Path) -> int:
    """Serve Dagster's web interface until Ctrl-C.

    It listens on 127.0.0.1 only, refuses what pages of other sites send, and shows the assets and partitions of the study (of the demo where there is no study file), all runs, those of
    the command line too, and starts new ones. A run with the tag `xlwh/workers` has a setting of its own for --workers.
    """
    from dagster_project.instance import prepare_home
    from xlwh.models.devices import require_there
    from xlwh.steps.workers import VARIABLE, Workers
    from xlwh.store.files import require_writable
    from xlwh.study import load

    if not study_file.exists() and study_file == Path("study.toml"):
        from xlwh.demo import study_path

        study_file = Path(study_path())
        click.echo("No study.toml here: showing the demo.")
    load(study_file)
    require_writable(root)
    prepare_home(root)
    os.environ["XLWH_STUDY"] = str(study_file.resolve())
    os.environ["XLWH_WAREHOUSE"] = str(root.resolve())
    if Workers.parse(workers).ray is None:
        require_there()
    os.environ[VARIABLE] = workers
    click.echo(f"http://127.0.0.1:{port} (Ctrl-C ends it)")
    where = ["--host", "127.0.0.1", "--port", str(port), "--module-name", "dagster_project.definitions"]
    return _serve(
        [sys.executable, "-W", "ignore", "-m", "dagster_project.dev", *where, "--log-level", "warning"]
    )


def _serve(arguments: list[str]) -> int:
    """Run a supervisor of servers; Ctrl-C and SIGTERM reach it once, and it is waited for."""
    # A session of its own: else Ctrl-C reaches every server at once, and none ends in order.
    process = subprocess.Popen(arguments, start_new_session=True)

    def stop(_signal: int, _frame: object) -> None:
        process.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code not in (0, -signal.SIGINT):
        raise XlwhError(f"The web interface ended with code {code}; see its messages above.")
    return 0
