"""The script that fills the papers' tables with small models: its commands, their order, and what it writes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from paper_rows import build

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("papers_small", FOLDER / "papers_small.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *papers: str) -> None:
    (tmp_path / "data").mkdir()
    output = str(tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["papers_small", *papers, "--shared", str(tmp_path), "--output", output])


def test_the_page_holds_what_was_measured(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "out" / "ccta" / "warehouse")
    commands = []
    monkeypatch.setattr(script, "xlwh", lambda _, *arguments: commands.append(arguments))
    asked(monkeypatch, tmp_path, "ccta", "--keep-going")
    assert script.main() == 0
    assert [command[0] for command in commands] == ["materialize", "report"]
    assert ["--keep-going" in command for command in commands] == [True, False]
    for command in commands:
        study = command[command.index("--study") + 1]
        assert study.is_file()
        assert command[command.index("--warehouse") + 1] == tmp_path / "out" / "ccta" / "warehouse"
    page = (tmp_path / "out" / "ccta" / "tables.md").read_text(encoding="utf-8")
    assert "## Table 1\n\n0 of 70 numbers measured." in page
    assert "## Table 2\n\n7 of 21 numbers measured." in page
    assert "| XLM-R-Base | de | 0.406 | 0.200 | [0.198, 0.202]* | share | en | " in page


@pytest.mark.parametrize("paper", ["ccta", "faithfulness", "heads"])
def test_every_paper_is_found_under_its_name(script: ModuleType, tmp_path: Path, paper: str) -> None:
    build(tmp_path)
    assert any(row["measured"] is not None for row in script.measured(paper, tmp_path))


def test_what_was_made_is_reported_and_a_paper_that_fails_leaves_the_others_alone(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for paper in ("faithfulness", "heads"):
        build(tmp_path / "out" / paper / "warehouse")

    def xlwh(_: Path, *arguments: object) -> None:
        if arguments[0] == "materialize" and "heads" not in str(arguments):
            raise subprocess.CalledProcessError(1, "xlwh")

    monkeypatch.setattr(script, "xlwh", xlwh)
    asked(monkeypatch, tmp_path, "ccta", "faithfulness", "heads")
    assert script.main() == 1
    told = capsys.readouterr().err
    assert [paper for paper in script.PAPERS if f"{paper}: " in told] == ["ccta", "faithfulness"]
    assert not (tmp_path / "out" / "ccta" / "tables.md").exists(), "nothing was made"
    for paper in ("faithfulness", "heads"):
        assert (tmp_path / "out" / paper / "tables.md").is_file()


def test_commands_are_those_of_this_checkout(script: ModuleType, tmp_path: Path) -> None:
    script.xlwh(tmp_path, "--version")
    with pytest.raises(subprocess.CalledProcessError):
        script.xlwh(tmp_path, "materialize", "--study", tmp_path / "none.toml")
