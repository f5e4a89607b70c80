"""`kill -9` of every command that writes, at random moments: what is left is sound, and the command ends its work."""

from __future__ import annotations

import json
import random
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from xlwh.store import Warehouse
from xlwh.store.connect import KEPT

PROGRAM = Path(__file__).with_name("commands_child.py")
REPORTS = runpy.run_path(str(PROGRAM.with_name("nursery.py")))["reports"]
KILLS = 12
"""Of each command, at least."""
STUDY = """
name = "small"
languages = ["en", "de", "fr"]
[datasets.nli]
reader = "xnli"
path = "nli"
aligned = "unchecked"
[datasets.more]
reader = "xnli"
path = "more"
aligned = "unchecked"
[models]
"""
NO_FAULT = {"orphan_file", "stale_catalogue"}
"""What a killed command may leave: files that `gc` removes, and a catalogue that `catalogue` makes anew."""


def run(folder: Path, *arguments: str) -> None:
    program = "import sys; from xlwh.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with two datasets in three languages, and its warehouse with kept rows and some superseded files."""
    folder = tmp_path_factory.mktemp("made")
    for dataset in ("nli", "more"):
        for language in ("en", "de", "fr"):
            path = folder / dataset / f"dev-{language}.tsv"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(f"{language} {n} one\t{language} {n} two\tneutral\n" for n in range(40)))
    (folder / "study.toml").write_text(STUDY)
    run(folder, "materialize", "examples", "parallelism")
    run(folder, "materialize", "examples", "--force")
    run(folder, "catalogue")
    return folder


def _nothing(folder: Path) -> None:
    pass


def _empty(folder: Path) -> None:
    shutil.rmtree(folder / "warehouse")


def _no_kept_rows(folder: Path) -> None:
    shutil.rmtree(folder / "warehouse" / KEPT, ignore_errors=True)
    (folder / "warehouse" / "catalog.duckdb").unlink()


def _damaged(folder: Path) -> None:
    for path in (folder / "warehouse" / "tables").rglob("*.parquet"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.chmod(0o644)
        path.write_bytes(content)


def _elsewhere(folder: Path) -> None:
    (folder / "warehouse").rename(folder / "there")
    Warehouse(folder / "warehouse", create=True)


def _lost(folder: Path) -> None:
    for name in ("manifest.sqlite", "manifest.journal"):
        (folder / "warehouse" / name).unlink()


def _renamed(folder: Path) -> None:
    path = folder / "study.toml"
    path.write_text(path.read_text().replace("datasets.nli", "datasets.other"))


def _left_out(folder: Path) -> None:
    path = folder / "study.toml"
    path.write_text(path.read_text().replace('"en", "de", "fr"', '"en", "de"'))
    run(folder, "materialize", "examples", "parallelism")


def _of_this_place(folder: Path) -> None:
    run(folder, "catalogue")


COMMANDS: dict[str, tuple[Callable[[Path], None], tuple[str, ...], set[str]]] = {
    "materialize": (_empty, ("materialize", "examples", "parallelism"), set()),
    "materialize --force": (_nothing, ("materialize", "examples", "parallelism", "--force"), set()),
    "materialize, in processes": (_empty, ("materialize", "examples", "--workers", "processes:2"), set()),
    "catalogue": (_no_kept_rows, ("catalogue",), set()),
    "gc": (_nothing, ("gc", "--grace", "0s"), set()),
    "repair": (_damaged, ("repair",), {"wrong_digest"}),
    "take": (_elsewhere, ("take", "there"), set()),
    "recover": (_lost, ("recover",), {"lost"}),
    "rename": (_renamed, ("rename", "dataset", "nli", "other", "--yes"), set()),
    "drop": (_left_out, ("drop", "--yes"), set()),
    "check": (_of_this_place, ("check", "--deep"), set()),
    "report": (_no_kept_rows, ("report", "report.html"), set()),
}
"""What is done first, the command, and what a check may find beside `NO_FAULT` before it has ended."""


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_killed(made, tmp_path, name):
    prepare, arguments, before = COMMANDS[name]

    def fresh(place: Path) -> Path:
        shutil.copytree(made, place)
        prepare(place)
        (place / "command.json").write_text(json.dumps(arguments))
        return place

    [undisturbed] = REPORTS(PROGRAM, fresh(tmp_path / "whole"), [float("inf")])
    assert undisturbed["status"] == 0, undisturbed
    assert "error" not in undisturbed, undisturbed
    killed = rounds = 0
    while killed < KILLS:
        rounds += 1
        assert rounds < 5 * KILLS, "it ends before it is killed"
        seed = random.SystemRandom().randrange(10**9)
        moments = random.Random(seed)
        limits = [moments.uniform(0.01, undisturbed["ran"]) for _ in range(4)]
        place = fresh(tmp_path / f"round-{rounds}")
        *cut, last = REPORTS(PROGRAM, place, [*limits, float("inf")])
        for report in (*cut, last):
            assert "error" not in report, f"seed {seed}: {report['error']}"
        for report in cut:
            assert set(report["kinds"]) <= NO_FAULT | before, f"seed {seed}"
        assert last["status"] == 0, f"seed {seed}"
        assert set(last["kinds"]) <= NO_FAULT, f"seed {seed}"
        assert last["slots"] == undisturbed["slots"], f"seed {seed}"
        killed += sum(report["killed"] for report in cut)
        shutil.rmtree(place)
