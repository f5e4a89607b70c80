"""Folders and files whose names mean something to a shell, a pattern, a URL, SQL or TOML: all commands work in them."""

from __future__ import annotations

import json
import shutil

import pytest

from xlwh.models import Zoo
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
from xlwh.store import Warehouse
from xlwh.study import load

NAMES = (
    "w[1]* {a,b} %20x %s #x $HOME;|&!=",
    "w'q\"x\n\t `ls`",
    "model=evil",
    "--help",
    "~",
    "{language}",
    "wü字😀e\u0301 ",
)
COMMANDS = (
    ("sql", "select language, text from examples order by 1", "--csv"),
    ("sql", "select count(*) from examples", "--everything"),
    ("check",),
    ("tables",),
    ("describe", "examples"),
    ("gc", "--grace", "0s"),
)


@pytest.mark.parametrize(
    "name", [name if name == NAMES[0] else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_every_command_works_in_a_warehouse_of_that_name(name, xlwh, filled, tmp_path):
    folder = tmp_path / "names" / name
    folder.parent.mkdir()
    shutil.copytree(filled.root, folder)
    shutil.rmtree(filled.root)
    told = {arguments: xlwh(*arguments, "--warehouse", folder) for arguments in COMMANDS}
    assert {arguments: (code, errors) for arguments, (code, _, errors) in told.items() if code} == {}
    assert told[COMMANDS[0]][1].splitlines()[-1] == "en,=1+1"
    code, _, errors = xlwh("take", folder.with_name("none"), "--warehouse", folder.with_name(f"{name}2"))
    assert (code, errors.count("\n")) == (1, 1), errors
    assert not folder.with_name(f"{name}2").exists(), "nothing is made where there is nothing to take"
    assert xlwh("take", folder, "examples", "--warehouse", folder.with_name(f"{name}2"))[0] == 0
    assert Warehouse(folder.with_name(f"{name}2")).check() == []


@pytest.mark.parametrize("mark", ["?", "\\"])
def test_what_duckdb_cannot_open_is_refused_by_name(mark, xlwh, filled, tmp_path):
    folder = filled.root.rename(tmp_path / f"a{mark}b")
    code, _, errors = xlwh("check", "--warehouse", folder)
    assert (code, errors.count("\n")) == (1, 1), errors
    assert f"has a `{mark}` in its path" in errors


def _toml(text):
    return json.dumps(text, ensure_ascii=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_study_and_its_data_may_have_that_name(name, tmp_path):
    folder = tmp_path / f"study {name}"
    # Where the study may write a placeholder, it is one; in the folders around it, it is a name.
    inside = name.replace("{language}", "data")
    data = folder / inside
    data.mkdir(parents=True)
    (data / f"{inside}.tsv").write_text("text\tlabel\nHello\tyes\nWorld\tno\n")
    text = f"""
name = "s"
languages = ["en"]
data_root = {_toml(inside)}
[datasets.d]
reader = "text_classification"
path = {_toml(f"{inside}.tsv")}
options = {{ text = "text", label = "label" }}
[models]
"""
    (folder / "study.toml").write_text(text, encoding="utf-8")
    study = load(folder / "study.toml")
    warehouse = Warehouse(folder / "warehouse", create=True)
    context = Context(study, warehouse, Zoo(study, warehouse, device="cpu"))
    made = run(STEPS["examples"], context, Key(dataset="d", language="en"))
    assert (made.status, made.rows) == ("written", 2)
    assert warehouse.scan("examples").collect()["text"].to_list() == ["Hello", "World"]
