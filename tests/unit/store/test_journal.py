"""The manifest's journal: complete, small per commit, mended after kills, and what it is when it is damaged."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from itertools import pairwise

import pytest

from xlwh.errors import StoreError
from xlwh.store import Slot
from xlwh.store.artefacts import Artefact, ArtefactFile
from xlwh.store.journal import NAME, Journal, about, history
from xlwh.store.manifest import NewFile

SLOTS = [Slot("tokens", ("m", language), part) for language in ("de", "en") for part in "abc"]


def new(slot: Slot, file: str) -> NewFile:
    return NewFile(slot, file, "mark", 1, 10, 1, f"digest of {file}")


@pytest.fixture
def journal(manifest, tmp_path):
    return Journal(tmp_path / NAME)


def truth(manifest):
    with manifest._open() as connection:
        known = about(connection)
        found = history(connection, known["identity"], known["began_at"])
    for rows in found.rows.values():
        for row in rows:
            # These are found again on disk.
            for name in ("removed", "segment", "number", "packed_from"):
                row.pop(name, None)
    return found


def filled(manifest, commits=12):
    random.seed(5)
    for number in range(commits):
        put = [new(slot, f"f{number}{index}") for index, slot in enumerate(random.sample(SLOTS, 2))]
        gone = [slot for slot in random.sample(SLOTS, 2) if slot not in {file.slot for file in put}]
        made = Artefact("model", "m", f"{number}", (ArtefactFile("models/m/a", 1, f"{number}"),))
        manifest.commit(put=put, drop=gone, artefacts=[made] if number % 3 else [])
        if number % 4 == 0:
            manifest.set_scope(random.sample(manifest.snapshot().entries, 1))


def test_it_says_all_that_the_manifest_does(manifest, journal):
    filled(manifest)
    found = journal.read()
    assert found == truth(manifest)
    # The same when it is made of the manifest at once.
    journal.path.unlink()
    manifest.commit(drop=[SLOTS[0]])
    assert journal.read() == truth(manifest)


def test_what_a_commit_appends_does_not_grow(manifest, journal):
    sizes = []
    for number in range(40):
        manifest.commit(put=[new(SLOTS[0], f"f{number:03d}")])
        sizes.append(journal.path.stat().st_size)
    steps = [later - earlier for earlier, later in pairwise(sizes[1:])]
    assert max(steps) - min(steps) < 10
    assert max(steps) < 500


@pytest.mark.parametrize("lost", [1, 3])
def test_commits_whose_record_was_never_written_are_made_up_for(
    manifest, open_again, journal, monkeypatch, lost
):
    """As after a kill between a commit and its record."""
    filled(manifest)

    def killed(self, connection, identity, began_at):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "follow", killed)
        for number in range(lost):
            with pytest.raises(KeyboardInterrupt):
                manifest.commit(put=[new(SLOTS[0], f"lost{number}")])
    assert journal.read().last == manifest.head() - lost
    again = open_again()
    again.commit(put=[new(SLOTS[0], "next")])
    assert journal.read() == truth(manifest)


@pytest.mark.parametrize("cut", [1, 20, 150, 700])
def test_a_record_that_was_cut_short_is_written_again(manifest, open_again, journal, cut):
    filled(manifest)
    os.truncate(journal.path, journal.path.stat().st_size - cut)
    assert journal.read().damage is not None
    assert journal.read().last < manifest.head()
    again = open_again()
    assert journal.mark().is_torn
    again.commit(drop=[SLOTS[1]])
    assert not journal.mark().is_torn
    assert journal.read() == truth(manifest)


def test_what_a_power_failure_leaves_at_its_end_goes(manifest, open_again, journal):
    filled(manifest)
    with journal.path.open("ab") as file:
        file.write(b'{"commit":99,' + bytes(100_000))
    assert open_again().head() == journal.mark().number
    manifest.commit(drop=[SLOTS[1]])
    assert journal.read() == truth(manifest)


def test_each_damaged_byte_is_noticed(manifest, journal):
    filled(manifest)
    content, whole = journal.path.read_bytes(), journal.read()
    for at in range(content.index(b"\n") + 1, len(content), 97):
        journal.path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        found = journal.read()
        assert found.damage is not None
        assert found.commits == whole.commits[: len(found.commits)]
    for line in (
        b'{"end":' + b"[" * 60_000,
        b'{"end":"x","at":5,"crc":null}',
        b'{"end":1}',
        b'{"end":[]}',
        b"[[]]",
    ):
        journal.path.write_bytes(content + line + b"\n")
        assert (journal.read().damage is not None, journal.mark().number) == (True, whole.last)


def test_what_is_no_journal_is_written_anew(manifest, open_again, journal):
    filled(manifest)
    head = b'{"xlwh":"manifest","format":1,"identity":%b,"began_at":%b}\n'
    for content in (
        *(b"", b"garbage\n" * 100, b'{"xlwh":"other"}\n', b"\xff" * 10, b"[" * 60_000 + b"\n"),
        *(head % each for each in ((b"[1]", b'"x"'), (b'"x"', b"{}"), (b"null", b"null"))),
    ):
        journal.path.write_bytes(content)
        open_again().commit(drop=[SLOTS[1]])
        assert journal.read() == truth(manifest)
    journal.path.write_bytes(b'{"xlwh":"manifest","format":2}\n')
    with pytest.raises(StoreError, match="later version"):
        open_again()


def test_a_journal_that_cannot_be_written_is_told_and_the_commit_is_made(manifest, journal, monkeypatch):
    filled(manifest)
    head = manifest.head()

    def full(self, connection, mark):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "_append", full)
        with pytest.raises(
            StoreError, match=r"The commit is made, but its record in .*No space left on device"
        ):
            manifest.commit(put=[new(SLOTS[0], "made")])
    assert manifest.head() == head + 1
    manifest.commit(drop=[SLOTS[1]])
    assert journal.read() == truth(manifest)


def test_many_writers_keep_it_in_order(manifest, open_again, journal, write_at_once):
    write_at_once(open_again)
    assert journal.read() == truth(manifest)
    assert journal.read().last == 40


@pytest.mark.parametrize("open_again", ["sqlite"], indirect=True)
def test_a_manifest_from_before_gets_one_with_its_next_commit(manifest, open_again, journal, tmp_path):
    filled(manifest)
    journal.path.unlink()
    with closing(sqlite3.connect(tmp_path / "manifest.sqlite")) as connection, connection:
        for statement in ("drop table about", "pragma user_version = 0", "pragma application_id = 0"):
            connection.execute(statement)
    earlier = open_again()
    assert earlier.snapshot().entries == manifest.snapshot().entries
    assert earlier.origin().began_at == earlier.stamps()[0].told
    assert not journal.path.exists()
    earlier.commit(drop=[SLOTS[1]])
    assert journal.read() == truth(manifest)
