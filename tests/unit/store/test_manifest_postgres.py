"""The manifest in PostgreSQL: several processes, a server that is killed, versions of its schema, and whose it is."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import psycopg
import pytest

from xlwh.errors import StoreError
from xlwh.failures import told
from xlwh.store import Slot, manifest_postgres
from xlwh.store import postgres as connections
from xlwh.store.journal import NAME, Journal
from xlwh.store.manifest import ConflictError, NewFile
from xlwh.store.manifests import open_manifest
from xlwh.store.move import to_postgres
from xlwh.store.postgres import Address, PgConnection
from xlwh.store.soundness import DamagedManifestError

SLOT = Slot("tokens", ("m", "en"), "a")


def new(file: str, slot: Slot = SLOT) -> NewFile:
    return NewFile(slot, file, "mark", 1, 10, 1, f"digest of {file}")


@pytest.fixture
def opened(tmp_path, address):
    """A manifest in PostgreSQL, that of the warehouse at `tmp_path`."""
    to_postgres(tmp_path, address)
    return open_manifest(tmp_path)


@pytest.fixture
def impatient(opened):
    """The same, which waits for half a second only."""
    opened.database.timeout_s = 0.5
    return opened


WORKER = """
import sys
from pathlib import Path
from xlwh.store import Slot
from xlwh.store.manifest import ConflictError, NewFile
from xlwh.store.manifests import open_manifest

root, who, wanted = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
manifest, slot = open_manifest(root), Slot("tokens", ("m", "en"), "a")
made = 0
while made < wanted:
    found = manifest.current(slot)
    count, file = (0, None) if found is None else (int(found.file.split("-")[0]), found.file)
    mine = NewFile(slot, f"{count + 1}-{who}-{made}", "mark", 1, 1, 1, "0" * 64)
    try:
        manifest.commit(put=[mine], expected={slot: file})
    except ConflictError:
        continue
    made += 1
    print(mine.file, flush=True)
"""


def test_processes_that_swap_while_the_server_is_killed_lose_and_double_nothing(postgres, opened, tmp_path):
    """Three processes count one slot up by compare-and-swap; the server is killed and comes back."""
    wanted = 12
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, tmp_path, str(number), str(wanted)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    deadline = time.monotonic() + 60
    while opened.head() < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    postgres.kill()
    postgres.start()
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], [error for _, error in outputs]
    made = Counter(line for output, _ in outputs for line in output.split())
    counted = {int(file.split("-")[0]): file for file in made}
    # Each success is one commit, in its turn; and there are no others.
    assert max(made.values()) == 1
    assert sorted(counted) == list(range(1, 3 * wanted + 1))
    assert opened.head() == 3 * wanted
    for number in range(1, 3 * wanted + 1):
        assert [entry.file for entry in opened.snapshot(number).entries] == [counted[number]]
    # The journal has what a killed server kept.
    opened.commit(drop=[SLOT])
    assert [number for number, _ in Journal(tmp_path / NAME).read().commits] == [
        *range(1, 3 * wanted + 2),
    ]


@pytest.mark.parametrize("arrived", [True, False])
def test_a_commit_whose_answer_was_lost_is_made_once(opened, monkeypatch, arrived):
    """The connection breaks while COMMIT is under way, after or before the server has done it."""
    opened.commit(put=[new("f0")])
    genuine, broken = psycopg.Connection.execute, []

    def execute(self, query, *arguments, **named):
        if query == "commit" and not broken:
            broken.append(1)
            if arrived:
                genuine(self, query)
            self.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return genuine(self, query, *arguments, **named)

    monkeypatch.setattr(psycopg.Connection, "execute", execute)
    [entry] = opened.commit(put=[new("f1")], expected={SLOT: "f0"})
    assert broken
    assert (entry.commit, opened.head(), opened.current(SLOT)) == (2, 2, entry)
    with pytest.raises(ConflictError):
        opened.commit(put=[new("f2")], expected={SLOT: "f0"})


def test_a_server_that_stays_away_is_one_clear_error(postgres, impatient, address):
    impatient.commit(put=[new("f1")])
    postgres.kill()
    try:
        for work in (lambda: impatient.commit(put=[new("f2")]), impatient.head):
            with pytest.raises(StoreError) as error:
                work()
            text = str(error.value)
            assert address.url in text
            assert "refused" in text
            assert "See whether the server runs and can be reached from this machine" in text
    finally:
        postgres.start()
    assert impatient.commit(put=[new("f3")])[0].commit == 2


def test_a_server_that_was_never_there_is_told_without_another_try(postgres, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(connections, "time", SimpleNamespace(monotonic=time.monotonic, sleep=waited.append))
    with pytest.raises(StoreError, match=r"cannot be used: .*See whether the server runs"):
        to_postgres(tmp_path, Address("postgresql://xlwh@127.0.0.1:1/postgres", "xlwh_w"))
    assert waited == []
    assert list(tmp_path.glob("manifest.toml")) == []
    with pytest.raises(StoreError, match='role "nobody" does not exist'):
        to_postgres(tmp_path, Address(postgres.url().replace("xlwh@", "nobody@"), "xlwh_w"))


def test_a_writer_that_hangs_is_waited_for_and_told(postgres, impatient, address):
    impatient.commit(put=[new("f1")])
    with psycopg.connect(postgres.url()) as held:
        held.execute(f"lock table {address.schema}.commits in exclusive mode")
        assert impatient.head() == 1
        with pytest.raises(StoreError, match=r"lock timeout.*Wait for the process that holds it"):
            impatient.commit(put=[new("f2")])
        held.rollback()
    assert impatient.commit(put=[new("f2")])[0].commit == 2


def test_a_full_disk_of_the_server_is_not_taken_for_one_of_this_machine(opened, monkeypatch):
    def full(self, query, *arguments, **named):
        raise psycopg.errors.DiskFull('could not extend file "base/1": No space left on device')

    monkeypatch.setattr(psycopg.Cursor, "executemany", full)
    with pytest.raises(StoreError) as error:
        opened.commit(put=[new("f1")])
    assert told(error.value) == str(error.value)
    assert "the disk of its server has no room" in str(error.value)


def test_a_value_that_is_none_is_damage(postgres, opened, address):
    opened.commit(put=[new("f1")])
    postgres.run(f"update {address.schema}.versions set keys = 'x'")
    with pytest.raises(DamagedManifestError, match="holds a value that cannot be read"):
        opened.snapshot()


def test_two_processes_bring_an_earlier_version_up_to_date(opened, tmp_path, monkeypatch):
    opened.commit(put=[new("f1")])
    later = (*manifest_postgres.MIGRATIONS, ("alter table commits add column note text",))
    calls = []
    genuine = PgConnection.execute

    def execute(self, statement, *values):
        if "add column note" in statement:
            calls.append(statement)
            time.sleep(0.2)
        return genuine(self, statement, *values)

    with monkeypatch.context() as patched:
        patched.setattr(manifest_postgres, "MIGRATIONS", later)
        patched.setattr(PgConnection, "execute", execute)
        found, threads = [], []
        for _ in range(3):
            threads.append(threading.Thread(target=lambda: found.append(open_manifest(tmp_path).head())))
            threads[-1].start()
        for thread in threads:
            thread.join()
        assert (found, len(calls)) == ([1, 1, 1], 1)
        # One that fails leaves the version before it.
        broken = (*later, ("alter table commits add column more text", "nonsense"))
        patched.setattr(manifest_postgres, "MIGRATIONS", broken)
        with pytest.raises(StoreError, match="syntax error"):
            open_manifest(tmp_path)
        patched.setattr(manifest_postgres, "MIGRATIONS", later)
        assert open_manifest(tmp_path).head() == 1
    with pytest.raises(StoreError, match=r"a later version of xlwh made it \(schema 3, this one knows 2\)"):
        open_manifest(tmp_path)


def test_warehouses_of_one_database_do_not_meet(opened, address, tmp_path):
    opened.commit(put=[new("f1")])
    other = tmp_path / "other"
    with pytest.raises(StoreError, match=r"holds the manifest of another warehouse .*--schema"):
        to_postgres(other, address)
    to_postgres(other, replace(address, schema=f"{address.schema}_b"))
    second = open_manifest(other)
    assert second.head() == 0
    second.commit(put=[new("f1"), new("f2", Slot("tokens", ("m", "de"), "a"))])
    assert (opened.head(), len(opened.snapshot().entries)) == (1, 1)
    # Whoever names the wrong one is refused.
    place = (other / "manifest.toml").read_text()
    (other / "manifest.toml").write_text(place.replace(f'"{address.schema}_b"', f'"{address.schema}"'))
    with pytest.raises(DamagedManifestError, match="is not that of the warehouse"):
        open_manifest(other)


@pytest.mark.parametrize(
    ("url", "schema", "reason"),
    [
        ("postgresql://me:secret@host/db", "s", "holds a password. Leave it out"),
        ("postgresql://me@host/db?password=secret", "s", "holds a password"),
        ("mysql://me@host/db", "s", "is no PostgreSQL database; write postgresql://"),
        ("postgresql://me@host", "s", "is no PostgreSQL database"),
        ("postgresql://[me@host/db", "s", "is no URL"),
        ("postgresql://me@host/db", "S; drop", "is no schema"),
    ],
)
def test_what_is_no_address(url, schema, reason):
    with pytest.raises(StoreError, match=reason) as error:
        Address(url, schema)
    assert "secret" not in str(error.value)
