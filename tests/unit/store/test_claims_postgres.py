"""Claims that reach all machines: all or none, lost when they are not renewed, and a commit that knows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack

import psycopg
import pytest

from xlwh.errors import HeldError
from xlwh.store import Slot
from xlwh.store.claims import COMMANDS
from xlwh.store.claims_postgres import PostgresClaims
from xlwh.store.manifest import NewFile
from xlwh.store.manifests import open_manifest
from xlwh.store.move import to_postgres

ONE, TWO, THREE = (Slot("tokens", ("m", language), "a") for language in ("de", "en", "sw"))

OTHER = """
import sys
from pathlib import Path
from xlwh.store import Slot
from xlwh.store.claims_postgres import PostgresClaims
from xlwh.store.manifests import open_manifest

claims = PostgresClaims(open_manifest(Path(sys.argv[1])).database, float(sys.argv[2]))
with claims.claim([Slot("tokens", ("m", language), "a") for language in sys.argv[3:]]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def new(slot: Slot, file: str) -> NewFile:
    return NewFile(slot, file, "mark", 1, 10, 1, "0" * 64)


@pytest.fixture
def manifest(tmp_path, address):
    to_postgres(tmp_path, address)
    return open_manifest(tmp_path)


@pytest.fixture
def other(tmp_path):
    """Starts another process that claims slots of `tokens`, by their languages, and holds them until its input ends."""
    with ExitStack() as running:

        def start(lease_s: float, *languages: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", OTHER, tmp_path, str(lease_s), *languages],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            running.callback(process.communicate)
            running.callback(process.kill)
            assert process.stdout.readline() == "held\n"
            return process

        yield start


def test_all_or_none_while_the_holder_lives(manifest, other):
    claims = PostgresClaims(manifest.database)
    # On a busy machine a process may get no time for a second.
    process = other(3.0, "de", "en")
    assert claims.holder(THREE) is None
    # Longer than its lease: it renews.
    time.sleep(3.5)
    for wanted in ([TWO], [THREE, TWO], [ONE, TWO, THREE]):
        with pytest.raises(HeldError) as error, claims.claim(wanted):
            pass
        told = str(error.value)
        assert error.value.slot in (ONE, TWO)
        assert error.value.holder in told
        assert f"is being worked on by process {process.pid} (" in told
        assert "on host " in told
        assert "since 20" in told
    assert f"process {process.pid} (" in claims.holder(ONE)
    assert claims.holder(THREE) is None
    process.communicate("\n")
    with claims.claim([THREE, TWO, TWO]):
        assert "process" in claims.holder(TWO)
        with pytest.raises(HeldError), claims.claim([TWO]):
            pass
        manifest.commit(put=[new(TWO, "f1")])
    assert claims.holder(TWO) is None


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_held_by_one_process(manifest, command):
    claims = PostgresClaims(manifest.database)
    assert claims.holder_of(command) is None
    with claims.hold(command):
        assert f"process {os.getpid()} (" in claims.holder_of(command)
        with pytest.raises(HeldError, match=f"{command} is being worked on by process"), claims.hold(command):
            pass
        manifest.commit(put=[new(TWO, "f1")])
    assert claims.holder_of(command) is None


@pytest.mark.parametrize("whose", ["of this machine", "of another"])
def test_one_that_was_killed_is_taken_over(manifest, other, whose):
    """At once where it can be known, else when its lease has run out."""
    claims = PostgresClaims(manifest.database)
    process = other(3.0 if whose == "of another" else 600.0, "de", "en")
    if whose == "of another":
        manifest.database.write(
            lambda connection: connection.execute(
                "update leases set claim = replace(claim, split_part(claim, ' ', 2), 'there-1:' || process || ':1')"
            ),
            lock=None,
        )
    with pytest.raises(HeldError), claims.claim([ONE]):
        pass
    process.kill()
    within_s = 120 if whose == "of another" else 0
    if within_s:
        process.wait()
        assert claims.holder(ONE) is not None
    else:
        # Nobody has waited for it: it is a zombie.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    deadline = time.monotonic() + within_s
    while claims.holder(ONE) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    with claims.claim([ONE]):
        assert str(process.pid) not in claims.holder(ONE)
    # What it held beside that is free as well.
    assert claims.holder(TWO) is None


def test_a_holder_that_slept_cannot_commit_what_another_took_over(manifest, other, monkeypatch):
    asleep = PostgresClaims(manifest.database, lease_s=0.5)
    monkeypatch.setattr("xlwh.store.leases.Leases._renew", lambda *_: None)
    with asleep.claim([ONE, TWO]):
        time.sleep(0.7)
        # Nobody took it over meanwhile: nothing is lost.
        manifest.commit(put=[new(ONE, "f1")])
        process = other(30.0, "de")
        with pytest.raises(HeldError, match="tokens/model=m/language=de/a was taken over by another process"):
            manifest.commit(put=[new(ONE, "f2"), new(TWO, "g2")])
        assert manifest.head() == 1
        # Of what it still has, and of what it never claimed, it may commit.
        manifest.commit(put=[new(TWO, "g3"), new(THREE, "h3")])
    # It gave back its own, and not that of the other.
    assert f"process {process.pid} (" in asleep.holder(ONE)
    assert asleep.holder(TWO) is None
    # What was lost within it is of no account afterwards.
    assert manifest.commit(put=[new(ONE, "f4")])[0].commit == 3


def test_nobody_takes_over_during_a_commit(manifest, postgres, address, monkeypatch):
    """Else it could come between the look at the claim and the commit."""
    claims, tried = PostgresClaims(manifest.database, lease_s=0.3), []
    monkeypatch.setattr("xlwh.store.leases.Leases._renew", lambda *_: None)
    genuine = type(manifest.database).write

    def slow(database, work, lock="commits"):
        def then_sleep(connection):
            result = work(connection)
            time.sleep(0.5)
            with psycopg.connect(postgres.url()) as other:
                other.execute("set lock_timeout = 200")
                tried.append(other.execute("select until < clock_timestamp() from " + table).fetchall())
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    other.execute(f"update {table} set claim = 'other'")
                other.rollback()
            return result

        return genuine(database, then_sleep, lock)

    table = f"{address.schema}.leases"
    with claims.claim([ONE]), monkeypatch.context() as patched:
        patched.setattr(type(manifest.database), "write", slow)
        manifest.commit(put=[new(ONE, "f1")])
    assert tried == [[(True,)]]
