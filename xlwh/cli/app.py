"""The commands in one group, and what every command does about errors."""

from __future__ import annotations

import importlib
import os
import select
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from xlwh import __version__
from xlwh.errors import XlwhError

STOPPED = "Stopped. What was finished is kept: the same command goes on from there."

_WHOLE = "Stopped. What it changes is changed as a whole or not at all: `xlwh tables` shows which."

_STOPPED = {
    **dict.fromkeys(("materialize", "demo", "fetch", "catalogue", "take"), STOPPED),
    **dict.fromkeys(("drop", "rename", "manifest"), _WHOLE),
    "compact": "Stopped. What was packed is; the same command packs the rest.",
    "gc": "Stopped. What was removed stays removed; the same command removes the rest.",
    "report": "Stopped. Files that it said it wrote are whole; the others were not written.",
    "pin": "Stopped. The study is as it was.",
    "export": "Stopped. Each table shows the new commit or the one before; the same command goes on.",
    **dict.fromkeys(
        ("sql", "tables", "describe", "check", "plan", "explore", "devices"), "Stopped. Nothing was changed."
    ),
}
"""What a command that was stopped leaves behind."""

_MODULES = {
    "make": ("demo", "init", "materialize", "ui"),
    "sources": ("pin", "fetch"),
    "plan": ("plan",),
    "devices": ("devices",),
    "query": ("sql", "tables", "describe"),
    "report": ("report", "explore"),
    "concept": ("concept",),
    "care": ("check", "repair", "gc", "catalogue", "take", "readers"),
    "scope": ("drop", "rename"),
    "compact": ("compact",),
    "recover": ("recover",),
    "manifest": ("manifest",),
    "export": ("export",),
}
"""Modules of this package -> the commands that they add to the group when they are imported."""

_HOMES = {name: module for module, names in _MODULES.items() for name in names}

F = TypeVar("F", bound=Callable[..., Any])


class _Group(click.Group):
    """Imports the module of a command when that is asked for; lists them in the order in which a newcomer meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        # All of them for a name that is none: click then offers those that are near.
        for module in [_HOMES[cmd_name]] if cmd_name in _HOMES else _MODULES:
            importlib.import_module(f"xlwh.cli.{module}")
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # click itself ends the program on any of them, without a word.
            if _is_read(sys.stdout):
                from xlwh.failures import as_error

                raise as_error(error) from error
            # Whoever read our output has seen enough; without this Python complains once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="xlwh %(version)s")
@click.option("--debug", is_flag=True, help="Show the stack trace of an error.")
def app(debug: bool) -> None:
    """An analysis warehouse for the interpretability of multilingual language models.

    A study (study.toml) says what to compute; `xlwh materialize` computes what is missing into a warehouse; and
    everything else is asked of it in SQL.
    """
    click.get_current_context().obj.debug |= debug


def command(**settings: Any) -> Callable[[F], click.Command]:
    """A command of `xlwh`; the flag --debug is accepted behind its name too."""

    def register(function: F) -> click.Command:
        return _with_debug(app.command(**settings)(function))

    return register


def _with_debug(made: click.Command) -> click.Command:
    made.params.append(
        click.Option(
            ["--debug"], is_flag=True, expose_value=False, callback=_debug, help="Show stack traces."
        )
    )
    return made


class _Commands(click.Group):
    """A group whose commands accept --debug as well."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        super().add_command(_with_debug(cmd), name)


def group(**settings: Any) -> Callable[[F], click.Group]:
    """A command of `xlwh` that has commands of its own."""

    def register(function: F) -> click.Group:
        made: click.Group = app.group(cls=_Commands, **settings)(function)
        return made

    return register


@dataclass
class _Running:
    """What is known of the command line that runs, for what is said of its errors."""

    command: str = ""
    """Without the program's name: `sql`, `concept export`."""
    debug: bool = False
    root: Path | None = None
    """Its warehouse."""


def _debug(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    running = context.find_root().obj
    running.command = context.command_path.partition(" ")[2]
    running.debug |= wanted


def _warehouse(context: click.Context, _parameter: click.Parameter, named: Path) -> Path:
    root = named
    if ":" in str(named):
        from xlwh.store.objects import root_of
        from xlwh.store.roots import is_url

        root = root_of(named) if is_url(named) else named
    context.find_root().obj.root = root
    return root


warehouse_option = click.option(
    "--warehouse",
    "root",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="XLWH_WAREHOUSE",
    callback=_warehouse,
    default="warehouse",
    show_default=True,
    show_envvar=True,
    help="The warehouse: a folder, or a URL in an object store (s3://, gs://, az://).",
)

study_option = click.option(
    "--study",
    "study_file",
    type=click.Path(path_type=Path),
    envvar="XLWH_STUDY",
    default="study.toml",
    show_default=True,
    show_envvar=True,
    help="The study file.",
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and turn whatever it raises into a message and an exit code: nothing leaves a stack trace."""
    running = _Running()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app.main(arguments, prog_name="xlwh", standalone_mode=False, obj=running)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _stopped(running)
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # libraries of Rust panic with an error that is no Exception
        from xlwh.failures import told, was_stopped

        if was_stopped(error):
            return _stopped(running)
        if running.debug or "--debug" in arguments:
            raise
        doing = "" if isinstance(error, XlwhError) or not running.command else f"xlwh {running.command}: "
        places = [place for place in (running.root, Path()) if place is not None]
        click.echo(f"Error: {doing}{_on_lines(told(error, places), places)}", err=True)
        return 1


def _is_read(stream: IO[str]) -> bool:
    """Whether somebody still reads what is written: no pipe whose other end is closed."""
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except (OSError, ValueError):  # no file of the system
        return True
    return not poll.poll(0)


def _on_lines(text: str, places: Iterable[Path]) -> str:
    """What is said, on its own lines only: names of folders break none, and nothing commands the terminal."""
    for place in places:
        text = text.replace(str(place), str(place).replace("\n", "\\n"))
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def _stopped(running: _Running) -> int:
    click.echo(f"\n{_STOPPED.get(running.command.partition(' ')[0], 'Stopped.')}", err=True)
    return 130


def commands() -> list[click.Command]:
    """Every command, in the order in which a newcomer meets them."""
    context = click.Context(app)
    found = [app.get_command(context, name) for name in app.list_commands(context)]
    return [command for command in found if command is not None]
