"""A manifest that is lost or damaged: every command gives one clear error, writes nothing, and `recover` mends it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

import xlwh as library
from dagster_project.resources import WarehouseResource
from tests.unit.conftest import examples_frame
from xlwh.cli.app import app
from xlwh.errors import StoreError
from xlwh.store import Slot, Warehouse, empty
from xlwh.store.manifest_sqlite import SqliteManifest

NAME = "manifest.sqlite"


def _sql(*statements):
    def damage(root, elsewhere):
        with closing(sqlite3.connect(root / NAME, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    return damage


def _cut(share):
    return lambda root, elsewhere: os.truncate(root / NAME, int((root / NAME).stat().st_size * share))


def _wiped(root, elsewhere):
    """A page of a table with other bytes."""
    content = bytearray((root / NAME).read_bytes())
    with closing(sqlite3.connect(root / NAME)) as connection:
        [[page]] = connection.execute("select rootpage from sqlite_master where name = 'commits'")
        [[size]] = connection.execute("pragma page_size")
    content[(page - 1) * size : page * size] = os.urandom(size)
    (root / NAME).write_bytes(bytes(content))


def _foreign(root, elsewhere):
    (root / NAME).unlink()
    with closing(sqlite3.connect(root / NAME)) as connection, connection:
        connection.execute("create table notes (text)")


def _folder(root, elsewhere):
    (root / NAME).unlink()
    (root / NAME).mkdir()


def _dangling(root, elsewhere):
    shutil.move(root / NAME, elsewhere / "moved")
    (root / NAME).symlink_to(elsewhere / "nowhere")


def _others(root, elsewhere):
    other = Warehouse(elsewhere / "other", create=True)
    other.write({Slot("examples", ("nli", "xx"), "dev"): empty("examples")}, "there")
    shutil.copy(other.root / NAME, root / NAME)


def _older(root, elsewhere):
    shutil.copy(root / NAME, elsewhere / "older")
    Warehouse(root).write({Slot("examples", ("nli", "xx"), "dev"): empty("examples")}, "new")
    shutil.copy(elsewhere / "older", root / NAME)


def _others_log(root, elsewhere):
    other = Warehouse(elsewhere / "other", create=True)
    with closing(sqlite3.connect(other.root / NAME)) as held:
        held.execute("select * from commits").fetchall()
        other.write({Slot("examples", ("nli", "xx"), "dev"): empty("examples")}, "there")
        shutil.copy(other.root / f"{NAME}-wal", root / f"{NAME}-wal")


_COLUMNS = "slot_table, keys, part, file, fingerprint, rows, size_bytes, version, valid_from, valid_to, removed, digest"
DAMAGES = {
    "gone": lambda root, elsewhere: (root / NAME).unlink(),
    "gone, with its journal": lambda root, elsewhere: [p.unlink() for p in root.glob("manifest.[sj]*")],
    "empty": _cut(0),
    "header": _cut(0.001),
    "half": _cut(0.5),
    "all but a page": _cut(0.95),
    "garbage": lambda root, elsewhere: (root / NAME).write_bytes(b"garbage" * 1000),
    "a page": _wiped,
    "foreign": _foreign,
    "of another program": _sql("pragma application_id = 42"),
    "a folder": _folder,
    "a link to nowhere": _dangling,
    "of another warehouse": _others,
    "an older copy": _older,
    "another log": _others_log,
    "another rollback log": lambda root, elsewhere: (root / f"{NAME}-journal").write_bytes(b"\xd9\xd5\x05\xf9" * 200),
    "a view": _sql(
        "create table others as select * from versions", "drop table versions", "create view versions as select * from others"
    ),
    "a trigger": _sql("create trigger t after insert on versions begin delete from versions; end"),
    "no table": _sql("drop table versions"),
    "no index": _sql("drop index one_current"),
    "another index": _sql("drop index one_current", "create index one_current on versions (keys)"),
    "no unique files": _sql(
        "drop table versions", f"create table versions ({_COLUMNS})",
        "create unique index one_current on versions (slot_table, keys, part) where valid_to is null",
    ),
    "a column less": _sql("alter table versions drop column removed"),
    "a column renamed": _sql("alter table versions rename column rows to lines"),
}  # fmt: skip

FOUND_WHEN_READ = {
    "keys": _sql("update versions set keys = 'none' where rowid = 1"),
    "no keys": _sql("update versions set keys = x'ff00' where rowid = 1"),
    "a time": _sql("update commits set created_at = 'yesterday'"),
    "text": _sql("update versions set file = cast(x'ff' as text) where rowid = 1"),
    "a number": _sql("update versions set rows = 'many'"),
    "a commit": _sql("delete from commits where number = 1"),
    "a day": _sql("update commits set created_at = '2026-02-30T10:00:00.000000+00:00' where number = 2"),
    "a table": _sql("update versions set slot_table = 'uxamples' where rowid = 1"),
    "its beginning": _sql("update about set value = 'yesterday' where name = 'began_at'"),
    "what is hidden": _sql("insert into hidden values ('examples', '[1', 'all', 1, null)"),
    "its scope": _sql("insert into scope values (1, 's', 'd', 'x')"),
    "an artefact's size": _sql(
        "insert into artefacts values ('model', 'm', 'f', 'models/m/f/a', 'big', 'd', 1, null, 0)"
    ),
    "an artefact's kind": _sql(
        "insert into artefacts values ('nodel', 'm', 'f', 'models/m/f/a', 1, 'd', 1, null, 0)"
    ),
}
"""Values that no schema keeps SQLite from."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A warehouse with its catalogue, and a copy of it."""
    folder = tmp_path_factory.mktemp("lost")
    warehouse = Warehouse(folder / "warehouse", create=True)
    for language, text in (("en", "yes"), ("de", "ja")):
        frame = examples_frame([(text, None)], language=language)
        warehouse.write({Slot("examples", ("nli", language), "dev"): frame}, "f" * 32)
    warehouse.build_catalogue()
    shutil.copytree(warehouse.root, folder / "copy")
    return folder


@pytest.fixture
def filled(pristine, xlwh, monkeypatch):
    """The warehouse as it was made, where the command line finds it."""
    shutil.rmtree(pristine / "warehouse")
    shutil.copytree(pristine / "copy", pristine / "warehouse")
    monkeypatch.setenv("XLWH_WAREHOUSE", str(pristine / "warehouse"))
    return Warehouse(pristine / "warehouse")


def state(root: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if path.suffix != ".lock" and not path.name.endswith("-shm")
    }


def refused(error: str, root: Path) -> None:
    assert error.startswith("Error: ")
    assert error.count("\n") == 1
    assert str(root / NAME) in error
    assert "Run: `xlwh recover`" in error


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_a_manifest_is_refused_and_recovered(xlwh, filled, tmp_path, monkeypatch, damage):
    rows = filled.scan("examples").collect()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    DAMAGES[damage](filled.root, elsewhere)
    before = state(filled.root)
    for arguments in (("check",), ("sql", "from examples"), ("gc",), ("tables",)):
        code, out, error = xlwh(*arguments)
        assert (code, out) == (1, "")
        refused(error, filled.root)
    for opened in (
        lambda: library.connect(filled.root),
        lambda: Warehouse(filled.root, create=True),
        lambda: WarehouseResource(root=str(filled.root)).open(),
    ):
        with pytest.raises(StoreError, match="xlwh recover"):
            opened()
    assert state(filled.root) == before
    # To make all views takes longer than all else.
    monkeypatch.setattr(Warehouse, "build_catalogue", lambda self: self.root)
    code, _, error = xlwh("recover")
    assert (code, error) == (0, "")
    again = Warehouse(filled.root).scan("examples", language="de").collect()
    assert again.equals(rows.filter(pl.col("language") == "de"))
    assert {finding.kind for finding in Warehouse(filled.root).check(deep=True)} == {"stale_catalogue"}
    kept = {"gone", "gone, with its journal"}
    assert bool(list(filled.root.glob("manifest-damaged-1.sqlite*"))) is (damage not in kept)


@pytest.mark.parametrize("damage", FOUND_WHEN_READ)
def test_values_that_no_manifest_has_are_found_by_check_and_never_a_stack_trace(
    xlwh, filled, tmp_path, monkeypatch, damage
):
    rows = filled.scan("examples").collect()
    FOUND_WHEN_READ[damage](filled.root, tmp_path)
    code, _, error = xlwh("check")
    assert code == 1
    refused(error, filled.root)
    for arguments in (("gc",), ("tables",), ("sql", "--everything", "from examples")):
        code, _, error = xlwh(*arguments)
        assert code == 0 or error.startswith("Error: ")
    monkeypatch.setattr(Warehouse, "build_catalogue", lambda self: self.root)
    assert xlwh("recover")[0] == 0
    assert Warehouse(filled.root).scan("examples").collect().equals(rows)


def test_a_row_that_is_gone_is_told_by_the_journal_and_comes_back(xlwh, filled, monkeypatch):
    rows = filled.scan("examples").collect()
    _sql("delete from versions where keys like '%de%'")(filled.root, None)
    code, out, _ = xlwh("check", "--deep")
    assert (code, "say different things of versions" in " ".join(out.split())) == (1, True)
    monkeypatch.setattr(Warehouse, "build_catalogue", lambda self: self.root)
    assert xlwh("recover")[0] == 0
    assert Warehouse(filled.root).scan("examples").collect().equals(rows)
    assert {finding.kind for finding in Warehouse(filled.root).check(deep=True)} == {"stale_catalogue"}


def commands(other: Path) -> dict[str, tuple[object, ...]]:
    """Every command that works on a warehouse, as it would be given for this one."""
    return {
        "demo": (),
        "materialize": (),
        "ui": None,
        "init": None,
        "pin": None,
        "fetch": None,
        "plan": ("--no-probe",),
        "sql": ("select 1",),
        "tables": (),
        "describe": None,
        "report": ("out.html",),
        "explore": None,
        "concept": None,
        "check": (),
        "repair": (),
        "gc": (),
        "catalogue": (),
        "take": (other, "examples"),
        "readers": None,
        "devices": None,
        "drop": ("--yes",),
        "rename": ("model", "a", "b"),
        "recover": None,
        "compact": (),
        "manifest": (),
        "export": ("iceberg", "exported"),
    }


STUDY = """
name = "s"
languages = ["en"]
[datasets.nli]
reader = "xnli"
path = "nli"
[models.m]
path = "m"
datasets = ["nli"]
"""


def test_every_command_refuses_a_lost_manifest(xlwh, filled, tmp_path):
    Warehouse(tmp_path / "other", create=True)
    Path("study.toml").write_text(STUDY)
    lost = commands(tmp_path / "other")
    assert set(lost) >= set(app.list_commands(None))
    (filled.root / NAME).unlink()
    before = state(filled.root)
    for name, arguments in lost.items():
        if arguments is not None and name in app.list_commands(None):
            code, _, error = xlwh(name, *arguments)
            assert code == 1, name
            refused(error, filled.root)
            assert state(filled.root) == before, name
    # Also of a warehouse that something is taken from.
    code, _, error = xlwh("take", filled.root, "examples", "--warehouse", tmp_path / "other")
    assert code == 1
    refused(error, filled.root)


def test_one_of_a_later_version_is_left_to_that(xlwh, filled):
    _sql("pragma user_version = 99")(filled.root, None)
    for arguments in (("check",), ("sql", "from examples"), ("recover",), ("recover", "--force")):
        code, _, error = xlwh(*arguments)
        assert code == 1
        assert "a later version of xlwh made it" in error
        assert "xlwh recover" not in error


def test_one_that_is_held_is_waited_for(filled):
    with closing(sqlite3.connect(filled.root / NAME)) as holder:
        holder.execute("pragma locking_mode = exclusive")
        holder.execute("begin exclusive")
        with pytest.raises(StoreError, match=r"is locked\. Wait for the process that holds it"):
            SqliteManifest(filled.root / NAME, timeout_s=0.01)


def test_an_empty_folder_is_no_lost_warehouse(xlwh, tmp_path):
    for name in ("tables/examples", "models/mine", "staging"):
        (tmp_path / "warehouse" / name).mkdir(parents=True)
    (tmp_path / "warehouse" / "models" / "mine" / "weights").write_text("x")
    assert "There is no warehouse" in xlwh("check")[2]
    assert "There is no warehouse" in xlwh("recover")[2]
    assert Warehouse(tmp_path / "warehouse", create=True).manifest.head() == 0
