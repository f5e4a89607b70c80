"""Every command: help, documentation, errors and exit codes."""

from __future__ import annotations

import errno
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import duckdb
import polars as pl
import pytest

from xlwh import __version__
from xlwh.cli.app import app, commands
from xlwh.errors import StoreError

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = [
    "demo",
    "init",
    "materialize",
    "ui",
    "pin",
    "fetch",
    "plan",
    "devices",
    "sql",
    "tables",
    "describe",
    "report",
    "explore",
    "concept",
    "check",
    "repair",
    "gc",
    "catalogue",
    "take",
    "readers",
    "drop",
    "rename",
    "compact",
    "recover",
    "manifest",
    "export",
]


def test_the_commands(xlwh):
    code, out, _ = xlwh("--help")
    assert code == 0
    assert app.list_commands(None) == COMMANDS == [command.name for command in commands()]
    assert set(app.commands) == set(COMMANDS)
    assert all(f"  {name} " in out for name in COMMANDS)
    assert xlwh("--version")[1] == f"xlwh {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_every_option_too(xlwh, name):
    code, out, _ = xlwh(name, "--help")
    assert code == 0
    command = app.get_command(None, name)
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
    code, _, errors = xlwh("tabels")
    assert code == 2
    assert "tables" in errors


@pytest.fixture
def failing(xlwh, monkeypatch, tmp_path):
    """Runs a command that fails with an error, by default `check`; returns the exit code and what was told."""
    monkeypatch.setenv("XLWH_TEMP", str(tmp_path))

    def run(error, *arguments):
        def fail(*_):
            raise error

        monkeypatch.setattr("xlwh.store.Warehouse.__init__", fail)
        code, out, told = xlwh(*(arguments or ("check",)))
        assert out == ""
        return code, told

    return run


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/data/w"), "Read-only file system: '/data/w'"),
        (PermissionError(errno.EACCES, "Permission denied", "w"), "Permission denied: 'w'"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", b"\xff"), r"Is a directory: '\udcff'"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (MemoryError(), "Memory ran out."),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (UnicodeEncodeError("utf-8", "w\udcff", 1, 2, "surrogates not allowed"), r"Not UTF-8: 'w\udcff'"),
        (ValueError("embedded null byte"), "NUL character"),
        (OSError(errno.ENOSPC, "No space left on device"), " was full ("),
        (duckdb.IOException("Could not write all bytes to file"), " was full ("),
        (sqlite3.OperationalError("database or disk is full"), " was full ("),
        (StoreError("The manifest: disk is full."), "Error: The manifest: disk is full. The file system /"),
    ],
)
def test_known_errors_are_one_line(failing, error, told):
    code, text = failing(error)
    assert code == 1
    assert told in text
    assert text.startswith("Error: ")
    assert text.count("\n") == 1
    assert "stack trace" not in text
    with pytest.raises(type(error)):
        failing(error, "check", "--debug")


@pytest.mark.parametrize("error", [KeyError("a\nb"), pl.exceptions.PanicException("boom"), AssertionError()])
def test_any_other_error_is_one_line_with_its_stack_trace_in_a_file(failing, tmp_path, error):
    code, text = failing(error)
    assert code == 1
    assert text.startswith(f"Error: xlwh check: {type(error).__name__}")
    assert text.count("\n") == 1
    log = Path(re.search(r"The stack trace is in (\S+);", text)[1])
    assert log.parent == tmp_path
    assert "Traceback" in log.read_text()
    assert "in fail" in log.read_text()
    with pytest.raises(type(error)):
        failing(error, "check", "--debug")


def test_without_room_for_the_stack_trace_the_error_is_told_all_the_same(failing, monkeypatch):
    monkeypatch.setenv("XLWH_TEMP", "/nowhere")
    assert "`--debug` shows the stack trace here" in failing(KeyError("a"))[1]


@pytest.mark.parametrize("error", [SystemExit(7), GeneratorExit()])
def test_wishes_to_end_are_no_errors(failing, error):
    with pytest.raises(type(error)):
        failing(error)


STOPS = {
    ("materialize", "--study", "s.toml"): "goes on from there",
    ("gc",): "the same command removes the rest",
    ("sql", "select 1"): "Nothing was changed",
    ("check",): "Nothing was changed",
    ("drop", "--yes", "--study", "s.toml"): "as a whole or not at all",
}


@pytest.mark.parametrize("arguments", STOPS)
def test_ctrl_c_says_what_a_command_leaves_behind(failing, xlwh, filled, monkeypatch, arguments):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    Path("s.toml").write_text("name = 's'\n")
    monkeypatch.setattr("xlwh.study.load", stopped)
    monkeypatch.setattr("xlwh.store.query.checked", stopped)
    code, told = failing(KeyboardInterrupt(), *arguments)
    assert code == 130
    assert STOPS[arguments] in told


def test_a_query_that_is_stopped_says_so(failing):
    stopped = duckdb.InterruptException("INTERRUPT Error: Interrupted!")
    assert failing(stopped) == (130, "\nStopped. Nothing was changed.\n")


HEAVY = {
    *("captum", "dagster", "dataframely", "duckdb", "faiss", "huggingface_hub", "matplotlib", "numpy", "ot"),
    *(
        "polars",
        "pyarrow",
        "pydantic",
        "scipy",
        "sklearn",
        "sqlalchemy",
        "sqlglot",
        "starlette",
        "tokenizers",
    ),
    *("torch", "transformers", "uvicorn"),
}
CONTRACTS = {"dataframely", "numpy", "polars", "pydantic", "sqlalchemy"}
"""What the contracts of the tables bring along."""


def _loaded(program, *arguments):
    """The heavy modules that a program has loaded in the end."""
    told = f"import sys\n{program}\nprint('\\n', *set({sorted(HEAVY)}) & sys.modules.keys())"
    ran = subprocess.run(
        [sys.executable, "-c", told, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(ran.stdout.splitlines()[-1].split())


COMMAND = "from xlwh.cli import main\nassert main(sys.argv[1:]) == 0"


def test_help_and_version_load_nothing():
    asked = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    program = f"from xlwh.cli import main\nfor asked in {asked}:\n    assert main(asked) == 0"
    assert _loaded(program) == set()


def test_the_packages_load_nothing_by_themselves():
    assert _loaded("import xlwh, xlwh.errors, xlwh.store, xlwh.store.files, xlwh.demo, xlwh.cli") == set()


def test_a_command_loads_its_own_module_only():
    program = (
        f"{COMMAND}\nmine = {{name for name in sys.modules if name.startswith('xlwh.cli.')}}\n"
        "assert mine == {'xlwh.cli.app', 'xlwh.cli.care', 'xlwh.cli.options', 'xlwh.cli.progress', 'xlwh.cli.render'}, mine"
    )
    assert _loaded(program, "gc", "--help") == set()


def test_light_commands_load_what_they_need(filled):
    found = {
        arguments: _loaded(COMMAND, *arguments, "--warehouse", filled.root)
        for arguments in (
            ("sql", "select 1"),
            ("sql", "select 1", "--json"),
            ("sql", "select 1", "--parquet", "/dev/null"),
            ("tables",),
            ("describe", "ccta"),
            ("describe", "fertility_difference"),
        )
    }
    assert list(found.values()) == [
        {"duckdb"},
        {"duckdb"},
        {"duckdb", "polars", "pyarrow", "numpy"},
        *[CONTRACTS | {"duckdb"}] * 3,
    ]
    assert _loaded("import xlwh\nxlwh.connect(sys.argv[1]).close()", filled.root) == {"duckdb"}


def test_the_report_of_a_paper_without_its_printed_numbers_says_what_to_run(xlwh, filled, tmp_path):
    code, _, error = xlwh("report", "--paper", "ccta")
    assert (code, error) == (
        1,
        "Error: This warehouse has no published numbers yet. Run: xlwh materialize published_results\n",
    )
    assert not (tmp_path / "ccta.html").exists()


def test_a_reader_that_has_seen_enough_ends_a_command_in_peace(filled, tmp_path):
    program = "import sys; from xlwh.cli import main; sys.exit(main())"
    asked = [sys.executable, "-c", program, "sql", "select * from range(1000000)", "--csv"]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)


def test_any_other_broken_pipe_is_told(xlwh, filled, monkeypatch):
    def broken(*_, **__):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("xlwh.store.Warehouse.sources", broken)
    code, _, err = xlwh("tables")
    assert code == 1
    assert "Broken pipe" in err


def test_no_name_breaks_the_line_of_an_error_or_commands_the_terminal(xlwh, tmp_path):
    code, _, err = xlwh("tables", "--warehouse", tmp_path / "a\nb \x1b[31m\x07")
    assert (code, err.count("\n")) == (1, 1)
    assert "a\\nb \\x1b[31m\\x07" in err
