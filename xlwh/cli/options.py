"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])

_CHOSEN = (
    click.argument("assets", nargs=-1, metavar="[ASSET]…"),
    click.option("--model", "-m", "models", multiple=True, help="Only this model; may be repeated."),
    click.option("--language", "-l", "languages", multiple=True, help="Only this language; may be repeated."),
    click.option(
        "--dataset",
        "-d",
        "datasets",
        multiple=True,
        help="Only this dataset, where tables are read from files.",
    ),
    click.option("--force", is_flag=True, help="Make partitions anew even where they are fresh."),
)

workers_option = click.option(
    "--workers",
    envvar="XLWH_WORKERS",
    default="auto",
    show_default=True,
    show_envvar=True,
    metavar="[in_process|processes:N|ray[:ADDRESS]|auto]",
    help="Where partitions that do not read each other are made: one after the other in this process, or side by side "
    "in processes that keep their models loaded, or on a Ray cluster (at ADDRESS, or started for this command). The rows are "
    "the same.",
)


def _chosen_device(context: click.Context, parameter: click.Parameter, text: str) -> None:
    """Check the setting, and put it where whatever loads a model finds it, for as long as the command runs."""
    from xlwh.models.devices import VARIABLE, Devices

    Devices.parse(text)
    if context.get_parameter_source(str(parameter.name)) is not ParameterSource.COMMANDLINE:
        return
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = text

    def restore() -> None:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before

    context.call_on_close(restore)


device_option = click.option(
    "--device",
    envvar="XLWH_DEVICE",
    default="auto",
    show_default=True,
    show_envvar=True,
    expose_value=False,
    callback=_chosen_device,
    metavar="[auto|cpu|cuda|cuda:N,…]",
    help="What models run on: all GPUs of this machine, or the CPU where there is none (auto); GPUs or nothing (cuda); or "
    "the GPUs named (cuda:0,cuda:2). Each GPU has a worker process of its own. Nothing becomes stale by it.",
)

dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


def chosen_partitions(command: F) -> F:
    """Which partitions are meant: assets, models, languages, datasets, and whether fresh ones too."""
    for each in reversed(_CHOSEN):
        command = each(command)
    return command


def quiet_libraries() -> None:
    """Settings of libraries that they read when they are loaded, unless the environment has its own."""
    # On a busy machine spinning threads cost a factor of ten.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    # Our bars are enough.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def file_of_study(path: Path) -> Path:
    """The study's file, where its folder may be named."""
    return path / "study.toml" if path.is_dir() else path
