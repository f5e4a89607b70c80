"""A manifest that is moved, with all that it knows; and one in a database that is lost, read by `take`, and looked after."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta

import pytest

from xlwh.cli import main
from xlwh.errors import StoreError
from xlwh.store import Slot, Warehouse, fingerprint
from xlwh.store.artefacts import sql_artefact
from xlwh.store.journal import NAME
from xlwh.store.manifest import Scope
from xlwh.store.manifest_file import introduce
from xlwh.store.move import to_postgres
from xlwh.store.recover import recover
from xlwh.store.soundness import DamagedManifestError, LostManifestError
from xlwh.store.take import take

LANGUAGES = ("de", "en", "sw")


def slot(language: str) -> Slot:
    return Slot("predictions", ("m", language), "xnli")


def mark(number: int) -> str:
    return fingerprint("predictions", "1", {"n": number}, [])


@pytest.fixture
def stored(open_warehouse, frames):
    """Three partitions, one of them superseded, one out of scope; SQL as an artefact."""
    warehouse = open_warehouse()
    for number in (1, 2):
        for language in LANGUAGES[: 3 if number == 1 else 1]:
            warehouse.write(
                {slot(language): frames.predictions(examples=number, language=language)}, mark(number)
            )
    content = b"select 1 as one"
    (warehouse.root / "sql").mkdir()
    (warehouse.root / "sql" / "mine.sql").write_bytes(content)
    warehouse.manifest.commit(artefacts=[sql_artefact("mine.sql", content)])
    manifest = warehouse.manifest
    manifest.set_scope([warehouse.current(slot("sw"))], Scope("study", "digest", manifest.head()))
    return warehouse


def everything(manifest):
    """All that can be asked of a manifest."""
    last = manifest.head()
    return (
        [manifest.snapshot(at) for at in range(last + 1)],
        [manifest.changes(at) for at in range(last + 1)],
        [manifest.artefacts(at) for at in range(last + 1)],
        manifest.scope(),
        manifest.stamps(),
        manifest.files(),
        manifest.origin(),
    )


def test_there_and_back_with_all_that_it_knows(stored, open_warehouse, address, frames, capsys):
    before, root = everything(stored.manifest), str(stored.root)
    command = ["manifest", "--warehouse", root]
    assert main([*command, address.url, "--schema", address.schema]) == 0
    there = open_warehouse()
    assert everything(there.manifest) == before
    assert there.manifest.place == f"{address.url} (schema {address.schema})"
    assert not (stored.root / "manifest.sqlite").exists()
    # Who had the former one open commits no more to it.
    with pytest.raises(StoreError, match="manifest"):
        stored.write({slot("zu"): frames.predictions(language="zu")}, mark(9))
    there.write({slot("en"): frames.predictions(examples=3, language="en")}, mark(3))
    there.build_catalogue()
    assert there.check(deep=True) == []
    with there.connect() as database:
        assert database.sql("select count(*) from predictions").fetchall() == [(5,)]
    removed = set(there.gc(timedelta(0)).removed)
    assert len(removed) == 2
    before = everything(there.manifest)
    assert main(command) == 0
    assert main([*command, address.url, "--schema", address.schema]) == 0
    told = capsys.readouterr().out
    assert f"PostgreSQL: {address}, {before[0][-1].commit} commits." in told
    assert "already" in told
    second = replace(address, schema=f"{address.schema}_second")
    assert main([*command, second.url, "--schema", second.schema]) == 0
    assert everything(open_warehouse().manifest) == before
    with pytest.raises(StoreError, match="cannot be used"):
        there.drop([slot("de")])
    assert main([*command, "sqlite"]) == 0
    again = open_warehouse()
    assert everything(again.manifest) == before
    again.write({slot("en"): frames.predictions(examples=1, language="en")}, mark(4))
    assert again.manifest.backup_problem() is None


def test_a_waiting_writer_commits_nothing_to_what_was_moved(stored, address):
    """It had the file open, and was about to commit, when that was moved under it."""
    with stored.manifest._file._writing() as waiting:
        waiting.execute("select count(*) from commits").fetchall()
        to_postgres(stored.root, address)
        waiting.execute("begin immediate")
        with pytest.raises(StoreError, match="moved elsewhere meanwhile"):
            introduce(waiting, stored.manifest.journal)
    waiting.close()
    with pytest.raises(StoreError, match="is gone"):
        stored.manifest.head()


def test_a_move_that_was_killed_is_finished_by_the_same_command(stored, open_warehouse, address, monkeypatch):
    before = everything(stored.manifest)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("xlwh.store.move.write_place", killed)
        with pytest.raises(KeyboardInterrupt):
            to_postgres(stored.root, address)
    assert everything(open_warehouse().manifest) == before
    assert (stored.root / "manifest.sqlite").exists()
    to_postgres(stored.root, address)
    assert everything(open_warehouse().manifest) == before


@pytest.mark.parametrize("has_journal", [True, False], ids=["journal", "files alone"])
def test_a_database_that_is_lost_is_made_anew(stored, open_warehouse, postgres, address, has_journal):
    to_postgres(stored.root, address)
    before = everything(open_warehouse().manifest)
    postgres.run(f"drop schema {address.schema} cascade")
    if not has_journal:
        (stored.root / NAME).unlink()
    with pytest.raises(DamagedManifestError, match=r"it is gone\. Run: `xlwh recover`"):
        open_warehouse()
    found = recover(stored.root)
    assert (found.from_backup, found.from_files) == ((3, 0) if has_journal else (0, 3))
    again = open_warehouse()
    if has_journal:
        snapshots, _, artefacts, *_ = everything(again.manifest)
        assert (snapshots, artefacts) == (before[0], before[2])
    assert {e.file for e in again.entries()} == {e.file for e in before[0][-1].entries}
    with pytest.raises(StoreError, match="was rebuilt"):
        again.gc(timedelta(0))
    assert [each.kind for each in again.check(deep=True) if each.kind == "wrong_digest"] == []
    assert recover(stored.root).why is None


def test_an_older_state_of_the_database_is_refused_and_recovered(
    stored, open_warehouse, postgres, address, frames
):
    """As a backup of the server brings it back; the journal in the warehouse knows better."""
    to_postgres(stored.root, address)
    warehouse = open_warehouse()
    head = warehouse.manifest.head()
    warehouse.write({slot("zu"): frames.predictions(language="zu")}, mark(7))
    before = warehouse.manifest.snapshot()
    schema = address.schema
    postgres.run(
        f"delete from {schema}.versions where valid_from > {head}",
        f"delete from {schema}.commits where number > {head}",
    )
    with pytest.raises(DamagedManifestError, match="it is an older copy"):
        open_warehouse()
    found = recover(stored.root)
    assert found.aside == [f"the schema {schema}_damaged_1"]
    assert open_warehouse().manifest.snapshot() == before


def test_a_lost_manifest_toml_is_written_again(stored, open_warehouse, address):
    to_postgres(stored.root, address)
    before = everything(open_warehouse().manifest)
    (stored.root / "manifest.toml").write_text("url = 3")
    with pytest.raises(StoreError, match=r"manifest\.toml has no `schema`"):
        open_warehouse()
    (stored.root / "manifest.toml").unlink()
    with pytest.raises(LostManifestError):
        Warehouse(stored.root)
    assert "again" in to_postgres(stored.root, address)
    assert everything(open_warehouse().manifest) == before


def test_take_reads_the_journal_and_asks_no_server(stored, tmp_path, address, frames):
    to_postgres(stored.root, address)
    there = tmp_path / "there"
    shutil.copytree(stored.root, there)
    place = (there / "manifest.toml").read_text()
    (there / "manifest.toml").write_text(place.replace(address.url, "postgresql://evil@127.0.0.1:1/x"))
    here = Warehouse(tmp_path / "here", create=True)
    taken = take(here, there)
    assert [entry.slot for entry in taken.entries] == [slot("de"), slot("en")]
    assert (taken.hidden, taken.refused) == ([slot("sw")], [])
    for content, reason in (
        (None, "cannot be read: its file is gone"),
        (b"garbage", "is damaged"),
        ((there / NAME).read_bytes()[:-40], "is damaged"),
        ((there / NAME).read_bytes().replace(b'"xnli"', b"[1,2]  "), "damaged|values that no manifest has"),
    ):
        (there / NAME).unlink(missing_ok=True)
        if content is not None:
            (there / NAME).write_bytes(content)
        with pytest.raises(StoreError, match=reason):
            take(here, there)


def test_a_new_warehouse_begins_in_the_database(tmp_path, address, frames, capsys):
    root = tmp_path / "new"
    assert main(["manifest", "--warehouse", str(root), address.url, "--schema", address.schema]) == 0
    assert "is made, with its manifest in" in capsys.readouterr().out
    warehouse = Warehouse(root, create=True)
    warehouse.write({slot("en"): frames.predictions()}, mark(1))
    assert Warehouse(root).manifest.head() == 1
    assert not (root / "manifest.sqlite").exists()
    assert main(["manifest", "--warehouse", str(root), "sqlite", "--schema", "x"]) == 2
    assert main(["manifest", "--warehouse", str(tmp_path / "none"), "sqlite"]) == 1
