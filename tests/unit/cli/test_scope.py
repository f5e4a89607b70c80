"""drop, rename, and what the other commands say of what the study does not name."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from kept_rows import differing, live, rows
from two_models import Bench

from xlwh.cli import scope as commands
from xlwh.models import Zoo
from xlwh.steps.context import Context
from xlwh.store import Slot, Warehouse
from xlwh.store.connect import NAME, read_info
from xlwh.study import load
from xlwh.upkeep import scope

STUDY = """
name = "small"
languages = ["en", "de"]
{datasets}
{models}
"""


def written(bench, *models, datasets=("nli", "second")):
    """study.toml in the folder of a bench, with these models."""
    named = json.dumps(list(datasets))
    text = STUDY.format(
        datasets="\n".join(
            f'[datasets.{name}]\nreader = "xnli"\npath = "{name.split("-")[0]}"\naligned = "unchecked"'
            for name in datasets
        ),
        models="\n".join(
            f'[models.{name}]\npath = "{bench.checkpoint}"\ndatasets = {named}' for name in models
        ),
    )
    (bench.folder / "study.toml").write_text(text)
    return bench


@pytest.fixture
def study(tmp_path, checkpoint):
    """study("a", "b", datasets=...): ./study.toml with these models."""
    return partial(written, Bench(tmp_path, checkpoint("roberta")))


def count(xlwh, sql, *options):
    code, out, err = xlwh("sql", sql, "--json", *options)
    assert code == 0, err
    return next(iter(json.loads(out)[0].values()))


@pytest.fixture(scope="module")
def template(tmp_path_factory, checkpoint):
    """A folder with the study, and the warehouse that has the examples and tokens of its models a and b."""
    bench = written(Bench(tmp_path_factory.mktemp("template"), checkpoint("roberta")), "a", "b")
    found = load(bench.folder / "study.toml")
    warehouse = Warehouse(bench.folder / "warehouse", create=True)
    context = Context(found, warehouse, Zoo(found, warehouse, device="cpu"))
    bench.make(context, "examples", "parallelism", "tokens")
    scope.renew(context.planner)
    warehouse.build_catalogue()
    return bench.folder


@pytest.fixture
def made(xlwh, study, template, tmp_path):
    """The examples and tokens of models a and b."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return Warehouse(tmp_path / "warehouse")


def test_what_the_study_names_no_more_is_shown_no_more_until_it_is_dropped(xlwh, study, made):
    everything = "select count(distinct model) from tokens"
    assert count(xlwh, everything) == 2
    study("a")
    code, _, err = xlwh("drop", "--dry-run")
    assert code == 1
    assert "an earlier state of this study" in err
    assert "xlwh materialize" in err
    code, out, err = xlwh("materialize", "tokens")
    assert code == 0, err
    assert count(xlwh, everything) == 1
    assert count(xlwh, everything, "--everything") == 2
    assert count(xlwh, "select count(distinct model) from stored.tokens") == 2

    code, out, _ = xlwh("check")
    assert code == 0
    assert "No faults found." in out
    assert "not named by the study `small`" in out
    assert "xlwh drop" in out
    assert "not named" in xlwh("tables")[1]

    code, out, _ = xlwh("drop", "--dry-run")
    assert code == 0
    assert "Would drop 4 files" in out
    assert "tokens" in out
    code, out, err = xlwh("drop")
    assert code == 2
    assert "--yes" in err
    assert count(xlwh, everything, "--everything") == 2
    head = made.manifest.head()
    code, out, err = xlwh("drop", "--yes")
    assert code == 0, err
    assert made.manifest.head() == head + 1
    assert "Dropped 4 files" in out
    assert "xlwh gc" in out
    assert count(xlwh, everything, "--everything") == 1
    assert xlwh("gc", "--grace", "0s")[0] == 0
    assert not list((made.root / "tables/tokens/model=b").rglob("*.parquet"))
    assert "Nothing is stored that the study `small` does not name." in xlwh("drop")[1]
    assert xlwh("check")[1].startswith("No faults found.\n")


def test_what_to_drop_can_be_chosen(xlwh, study, made):
    study("a", datasets=("nli",))
    assert xlwh("materialize", "examples")[0] == 0
    hidden = {str(entry.slot) for entry in made.hidden()}
    assert xlwh("drop", "tokens", "--model", "b", "--dataset", "nli", "--language", "en", "--yes")[0] == 0
    left = {str(entry.slot) for entry in made.hidden()}
    assert hidden - left == {str(Slot("tokens", ("b", "en"), "nli"))}
    assert xlwh("drop", "--dataset", "second", "--language", "de", "--yes")[0] == 0
    assert not any("second" in name and "=de" in name for name in {str(e.slot) for e in made.hidden()})
    assert "There is no table `token`" in xlwh("drop", "token", "--yes")[2]
    assert "Nothing of what was chosen is stored" in xlwh("drop", "--model", "nobody", "--yes")[1]


def test_nobody_drops_what_is_being_worked_on_or_before_a_study_has_spoken(xlwh, study, made, tmp_path):
    study("a")
    assert xlwh("materialize", "examples")[0] == 0
    with made.staging([Slot("tokens", ("b", "en"), "nli")], "f"):
        code, _, err = xlwh("drop", "--yes")
    assert code == 1
    assert "is being worked on by process" in err
    assert len(made.hidden()) == 4
    empty = Warehouse(tmp_path / "empty", create=True)
    code, _, err = xlwh("drop", "--yes", "--warehouse", empty.root)
    assert code == 1
    assert "No study has said yet" in err


def test_a_question_comes_before_anything_goes(xlwh, study, made, monkeypatch):
    study("a")
    assert xlwh("materialize", "examples")[0] == 0
    monkeypatch.setattr(commands.sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    answers = iter([False, True])
    monkeypatch.setattr(commands.click, "confirm", lambda text, abort: next(answers) or _abort())
    assert xlwh("drop")[0] == 130
    assert made.hidden()
    assert xlwh("drop")[0] == 0
    assert not made.hidden()


def _abort():
    import click

    raise click.Abort


def test_another_study_takes_the_scope_over(xlwh, study, made, tmp_path):
    study("a", datasets=("nli",))
    (tmp_path / "study.toml").write_text((tmp_path / "study.toml").read_text().replace("small", "other"))
    code, _, err = xlwh("drop", "--yes")
    assert code == 1
    assert "the scope of" in err.lower()
    assert "`small`, which is another study" in err
    assert not made.hidden()


def test_rename_keeps_everything_fresh(xlwh, study, made):
    code, _, err = xlwh("rename", "model", "a", "first", "--yes")
    assert code == 1
    assert "still says `a`" in err
    study("first", "b")
    code, out, err = xlwh("rename", "model", "a", "first", "--dry-run")
    assert code == 0, err
    assert "Would write 4 files" in out
    code, out, err = xlwh("rename", "model", "a", "first", "--yes")
    assert code == 0, err
    assert "Wrote 4 files" in out
    code, out, err = xlwh("materialize", "examples", "parallelism", "tokens")
    assert code == 0, err
    assert "written" not in [word for line in out.splitlines()[3:] for word in line.split()]
    assert made.hidden() == []
    assert count(xlwh, "select count(*) from tokens where model = 'first'") > 0
    study("first", "b", datasets=("nli-dev", "second"))
    code, out, err = xlwh("rename", "dataset", "nli", "nli-dev", "--yes")
    assert code == 0, err
    code, out, _ = xlwh("rename", "dataset", "nli", "nli-dev", "--yes")
    assert (code, "is called `nli-dev` already" in out) == (0, True)
    head = made.manifest.head()
    assert xlwh("materialize", "examples", "parallelism", "tokens")[0] == 0
    assert made.manifest.head() == head
    assert count(xlwh, "select count(*) from tokens where dataset = 'nli'", "--everything") == 0


def test_files_of_an_earlier_version_are_read_and_what_is_made_anew_is_told(xlwh, study, made):
    """Those had another scheme of fingerprints, and the manifest knew of no scope."""
    rows = made.scan("tokens").collect()
    for entry in made.entries():
        path = made.root / entry.file
        made.write({entry.slot: pl.read_parquet(path, hive_partitioning=False)}, entry.fingerprint[::-1])
    with sqlite3.connect(made.root / "manifest.sqlite") as connection:
        connection.execute("drop table hidden")
        connection.execute("drop table scope")
        connection.execute("pragma user_version = 0")
    assert made.scan("tokens").collect().equals(rows)
    assert xlwh("catalogue")[0] == 0
    assert count(xlwh, "select count(*) from tokens") == rows.height
    code, _, err = xlwh("materialize", "examples", "tokens", "--model", "a")
    assert code == 0, err
    told = "Will be made anew: 4 partitions of examples, 2 of tokens: made by an earlier version of xlwh"
    assert told in err
    study("a", "b")
    path = Path("study.toml")
    path.write_text(path.read_text().replace('path = "nli"', 'path = "nli"\nmax_examples = 4'))
    code, _, err = xlwh("materialize", "examples")
    assert "Will be made anew: 2 partitions of examples: options.max_examples is 4, was not set" in err


def test_a_partition_is_counted_once(xlwh, study, made):
    """What is made of tokens takes in partitions between those that are stale, which were counted as fresh already."""
    study("a", "between", "b")
    assert xlwh("materialize", "examples", "tokens")[0] == 0
    made.manifest.commit(
        drop=[entry.slot for entry in made.entries("tokens") if entry.slot.keys == ("a", "de")]
    )
    text = Path("study.toml").read_text().replace("[models.b]", "[models.b]\nmax_length = 16")
    Path("study.toml").write_text(text)
    code, out, err = xlwh("materialize", "predictions", "tokens")
    assert code == 0, err
    assert "12 partitions in" in out


def test_what_waits_for_an_input_is_not_said_to_be_asked_for_less(xlwh, study, made):
    """With examples that are out of date the audit would be planned without their language."""
    path = next(Path("nli").rglob("*de*"))
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    code, _, err = xlwh("materialize", "examples", "parallelism")
    assert code == 0, err
    told = [line for line in err.splitlines() if "be made anew" in line]
    assert told == [
        "Will be made anew: 1 partition of examples: what is read has other content",
        "May be made anew: 1 partition of parallelism: what they are made from is out of date",
    ]


def test_files_that_are_gone_are_said_to_be(xlwh, study, made):
    entry = next(entry for entry in made.entries("examples") if entry.slot.keys == ("nli", "de"))
    (made.root / entry.file).unlink()
    code, _, err = xlwh("materialize", "tokens", "--keep-going")
    assert code == 1
    assert "May be made anew: 2 partitions of tokens: what they are made from is out of date" in err
    assert (
        "examples/dataset=nli/language=de/dev is not all there any more. "
        "Run: xlwh materialize examples --dataset nli --language de"
    ) in " ".join(err.split())
    code, _, err = xlwh("materialize", "examples")
    assert code == 0, err
    assert (
        "Will be made anew: 1 partition of examples: files are gone, were cut short or cannot be read" in err
    )


def test_a_mistake_in_the_study_is_no_reason_to_make_anything_anew(xlwh, study, made):
    next(Path("nli").rglob("*de*")).unlink()
    code, _, err = xlwh("materialize", "examples", "tokens")
    assert code == 1
    assert "be made anew" not in err


@pytest.mark.parametrize("table", ["examples", "parallelism", "tokens"])
def test_a_stored_file_that_cannot_be_read_ends_in_no_traceback(xlwh, study, made, table):
    """Whether it is what is planned from, or is about to be made anew."""
    made.build_catalogue()
    entry = next(entry for entry in made.entries(table) if entry.slot.keys[0] in ("nli", "a"))
    (made.root / entry.file).chmod(0o644)
    # Of its size: one that was cut short is gone to the planner.
    (made.root / entry.file).write_bytes(b"PAR1" + b"x" * (entry.size_bytes - 8) + b"PAR1")
    text = Path("study.toml").read_text().replace("[models.a]", "[models.a]\nmax_length = 16")
    Path("study.toml").write_text(text)
    code, out, err = xlwh("materialize", "parallelism", "tokens")
    assert "Traceback" not in err
    # What is planned from a damaged file stops the run before it begins.
    assert "partitions in" in out or "Nothing was made" in err
    assert code == 0 or "xlwh repair" in err or "ComputeError" in err
    assert code == 0 or "unreadable" in xlwh("check")[1]


def _kept(warehouse):
    return dict(read_info(warehouse.root / NAME).kept)


@pytest.fixture
def keeping(made, tmp_path):
    """The same with the rows of two views kept, of which one is made anew by each change of what is stored."""
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql/mine.sql").write_text(
        "select count(*) as n, count(distinct model) as models from stored.tokens"
    )
    made.adopt_sql(tmp_path / "sql")
    made.keep_views(["fertility", "mine"])
    assert _kept(made).keys() == {"fertility", "mine"}
    return made


@pytest.mark.parametrize("command", ["materialize", "scope", "drop", "rename", "take"])
def test_views_that_were_kept_are_kept_again_whatever_changes_what_is_stored(
    command, xlwh, study, keeping, tmp_path
):
    """Those alone; also where a command was stopped between its change and that."""
    mine = _kept(keeping)["mine"]
    if command == "rename":
        study("c", "b")
        code, _, err = xlwh("rename", "model", "a", "c", "--yes")
    elif command in ("take", "materialize"):
        other = shutil.copytree(keeping.root, tmp_path / "other")
        keeping.drop([entry.slot for entry in keeping.entries("tokens") if entry.slot.keys[0] == "a"])
        keeping.build_catalogue()
        assert "mine" not in _kept(keeping)
        code, _, err = xlwh("take", other, "tokens") if command == "take" else xlwh("materialize", "tokens")
    else:
        study("a")
        code, _, err = xlwh("materialize", "tokens")
        if command == "drop":
            assert code == 0, err
            code, _, err = xlwh("drop", "--yes")
    assert (code, "Warning" in err) == (0, False), err
    assert _kept(keeping).keys() == {"fertility", "mine"}
    assert _kept(keeping)["mine"] != mine
    with keeping.connect() as shown, live(keeping) as truth:
        assert differing(shown, truth, ["fertility", "mine"]) == []
        assert rows(shown, "fertility")


def test_a_full_disk_is_told_where_views_are_kept_again(xlwh, study, keeping):
    keeping.drop([keeping.entries("tokens")[0].slot])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xlwh.store.keeping.make_folder", full)
        code, _, err = xlwh("materialize", "tokens")
    assert code == 0, err
    assert "Warning: The rows of views are not kept" in err
    assert " was full (" in err
    assert count(xlwh, "select models from mine") == 2


def test_a_report_keeps_what_it_shows(xlwh, made, tmp_path):
    code, _, err = xlwh("report", "--figures", tmp_path / "figures", "--only", "fertility")
    assert code == 0, err
    assert _kept(made).keys() == {"fertility"}
    code, _, err = xlwh("report", tmp_path / "report.html")
    assert code == 0, err
    assert _kept(made).keys() > {"fertility"}
