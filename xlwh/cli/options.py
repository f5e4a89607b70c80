"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

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


def chosen_partitions(command: F) -> F:
    """Which partitions are meant: assets, models, languages, datasets, and whether fresh ones too."""
    for each in reversed(_CHOSEN):
        command = each(command)
    return command
