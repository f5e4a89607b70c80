"""Commands that make things: demo, init, materialize, ui."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xlwh.cli.app import command, study_option, warehouse_option
from xlwh.errors import StudyError, XlwhError

if TYPE_CHECKING:
    from xlwh.store import Warehouse
    from xlwh.study import Study

TEMPLATE = Path(__file__).with_name("study_template.toml")


@command()
@warehouse_option
@click.option("--force", is_flag=True, help="Make everything anew.")
def demo(root: Path, force: bool) -> int:
    """Materialise the small study that ships with xlwh.

    It ends with the consistency table of the demo's models, and what to try next.

    No network and no accelerator; a minute or two.
    """
    from xlwh.cli.demo import show
    from xlwh.demo import study_path
    from xlwh.study import load

    study = load(study_path())
    code = materialise(study, root, force=force)
    if code == 0:
        show(study, root)
    return code


@command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".", metavar="[DIR]")
def init(folder: Path) -> None:
    """Write a commented study.toml into DIR."""
    path = folder / "study.toml"
    if path.exists():
        raise StudyError(f"{path} exists already; it was left as it is.")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(TEMPLATE.read_text(encoding="utf-8"), encoding="utf-8")
    click.echo(f"Wrote {path}. Set data_root and the models in it, then run: xlwh materialize --study {path}")


@command()
@click.argument("assets", nargs=-1, metavar="[ASSET]…")
@click.option("--model", "-m", "models", multiple=True, help="Only this model; may be repeated.")
@click.option("--language", "-l", "languages", multiple=True, help="Only this language; may be repeated.")
@click.option(
    "--dataset", "-d", "datasets", multiple=True, help="Only this dataset, where tables are read from files."
)
@click.option("--force", is_flag=True, help="Make partitions anew even where they are fresh.")
@study_option
@warehouse_option
def materialize(
    assets: tuple[str, ...],
    models: tuple[str, ...],
    languages: tuple[str, ...],
    datasets: tuple[str, ...],
    force: bool,
    study_file: Path,
    root: Path,
) -> int:
    """Compute what the study asks for.

    ASSET names tables or views (see `xlwh tables`); `+ASSET` adds all that it is made from; without any, everything
    is made. Partitions that are fresh are skipped. One that fails leaves the others alone.
    """
    from xlwh.study import load

    return materialise(load(study_file), root, assets, models, languages, datasets, force)


def materialise(
    study: Study,
    root: Path,
    assets: Sequence[str] = (),
    models: Sequence[str] = (),
    languages: Sequence[str] = (),
    datasets: Sequence[str] = (),
    force: bool = False,
) -> int:
    """Make what is missing, show it, and return the exit code."""
    # Before torch is loaded: on a busy machine spinning threads cost a factor of ten.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    # Our bars are enough.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from xlwh.cli.display import display, explain, summary
    from xlwh.cli.selection import select, sort
    from xlwh.corpora import check
    from xlwh.models import Zoo
    from xlwh.steps.context import Context
    from xlwh.store import Warehouse
    from xlwh.tables import TABLES
    from xlwh.upkeep import scope
    from xlwh.upkeep.reasons import told

    began = time.perf_counter()
    check(study)
    warehouse = Warehouse(root, create=True)
    warehouse.adopt_sql(study.sql_folder)
    selection = select(study, _view_names(warehouse), assets, models, languages, datasets)
    context = Context(study, warehouse, Zoo(study, warehouse), force)
    planner = context.planner
    # Another study may have hidden what this one reads.
    scope.renew(planner)
    found = sort(context, selection)
    for line in () if force else told(planner, found.todo):
        click.echo(line, err=True)
    outcomes, problems, warnings = list(found.settled), [], []
    views = selection.views if found.todo or (assets and not selection.steps) else ()
    try:
        if found.todo or views:
            from dagster_project.launch import Launcher

            with display() as shown:
                launcher = Launcher(study, root, shown, force, planner)
                launcher.launch(found.todo, views)
            # A block of partitions that are run together may hold some that were fresh already.
            made = {(outcome.step.name, outcome.key): outcome for outcome in (*outcomes, *launcher.outcomes)}
            outcomes = list(made.values())
            problems, warnings = launcher.problems, launcher.warnings
    finally:
        # Also when it is stopped: what was finished is to be seen.
        try:
            scope.renew(planner)
        finally:
            warehouse.build_catalogue()
    rows = {table: sum(entry.rows for entry in planner.entries(table)) for table in TABLES}
    summary(outcomes, rows, time.perf_counter() - began)
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
    explain(outcomes)
    for problem in problems:
        click.echo(f"Error: {problem}", err=True)
    return 1 if problems or any(outcome.error is not None for outcome in outcomes) else 0


def _view_names(warehouse: Warehouse) -> list[str]:
    from xlwh.store.metrics import registered
    from xlwh.tables import TABLES

    return [name for name in dict.fromkeys((*warehouse.sources().names, *registered())) if name not in TABLES]


@command()
@click.option(
    "--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port to listen on."
)
@study_option
@warehouse_option
def ui(port: int, study_file: Path, root: Path) -> int:
    """Serve Dagster's web interface until Ctrl-C.

    It listens on 127.0.0.1 only, and shows the assets and partitions of the study (of the demo where there is no study file), all runs, those of
    the command line too, and starts new ones.
    """
    from dagster_project.instance import prepare_home
    from xlwh.study import load

    if not study_file.exists() and study_file == Path("study.toml"):
        from xlwh.demo import study_path

        study_file = Path(study_path())
        click.echo("No study.toml here: showing the demo.")
    load(study_file)
    prepare_home(root)
    os.environ["XLWH_STUDY"] = str(study_file.resolve())
    os.environ["XLWH_WAREHOUSE"] = str(root.resolve())
    click.echo(f"http://127.0.0.1:{port} (Ctrl-C ends it)")
    where = ["--host", "127.0.0.1", "--port", str(port), "--module-name", "dagster_project.definitions"]
    return _serve([sys.executable, "-W", "ignore", "-m", "dagster", "dev", *where, "--log-level", "warning"])


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
