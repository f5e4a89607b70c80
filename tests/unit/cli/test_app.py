"""Every command: help, documentation, errors and exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from xlwh import __version__
from xlwh.cli.app import app
from xlwh.errors import StoreError

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = [
    "demo",
    "init",
    "materialize",
    "ui",
    "plan",
    "sql",
    "tables",
    "describe",
    "report",
    "explore",
    "concept",
    "check",
    "gc",
    "catalogue",
    "take",
    "readers",
    "drop",
    "rename",
]


def test_the_commands(xlwh):
    code, out, _ = xlwh("--help")
    assert code == 0
    assert app.list_commands(None) == COMMANDS
    assert set(app.commands) == set(COMMANDS)
    assert all(f"  {name} " in out for name in COMMANDS)
    assert xlwh("--version")[1] == f"xlwh {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_every_option_too(xlwh, name):
    code, out, _ = xlwh(name, "--help")
    assert code == 0
    command = app.commands[name]
    assert command.help
    assert command.get_short_help_str(70)[-3:] != "..."
    assert all(p.help for p in command.params if isinstance(p, click.Option))
    assert f"Usage: xlwh {name}" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name):
    readme = ROOT / "README.md"
    if not readme.is_file():
        pytest.skip("no README.md in this checkout")
    rows = re.findall(r"^\|\s*`xlwh (\w+)", readme.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert name in rows, f"README.md's table of commands lacks `xlwh {name}`"


def test_an_error_of_ours_is_one_line_and_exit_code_1(xlwh):
    code, out, errors = xlwh("sql", "select 1")
    assert (code, out) == (1, "")
    assert errors.startswith("Error: There is no warehouse at ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--debug", "sql", "select 1"), ("sql", "--debug", "select 1")])
def test_debug_shows_where_it_came_from(xlwh, arguments):
    with pytest.raises(StoreError):
        xlwh(*arguments)


def test_wrong_usage_is_exit_code_2(xlwh):
    code, _, errors = xlwh("sql")
    assert code == 2
    assert "Usage: xlwh sql" in errors
    assert xlwh("nonsense")[0] == 2


def test_ctrl_c_says_that_nothing_is_lost(xlwh, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("xlwh.store.Warehouse.check", interrupted)
    monkeypatch.setattr("xlwh.store.Warehouse.__init__", lambda *_: None)
    code, _, errors = xlwh("check")
    assert code == 130
    assert "goes on from there" in errors


def _imported(*arguments):
    program = (
        "import sys; from xlwh.cli import main; code = main(sys.argv[1:]); "
        "print(code, *(m for m in ('torch', 'transformers', 'dagster', 'ot', 'faiss') if m in sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return ran.stdout.splitlines()[-1]


def test_light_commands_stay_light(filled):
    root = str(filled.root)
    for arguments in (
        ("sql", "select 1", "--warehouse", root),
        ("tables", "--warehouse", root),
        ("describe", "ccta"),
    ):
        assert _imported(*arguments) == "0"


@pytest.mark.slow
def test_sql_starts_fast(filled):
    def seconds():
        began = time.perf_counter()
        _imported("sql", "select count(*) from examples", "--warehouse", str(filled.root))
        return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < 1
