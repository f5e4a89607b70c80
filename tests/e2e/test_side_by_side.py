"""Two commands on one warehouse at once: nothing is made twice, nothing fails, and who waits says for whom."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from xlwh.store import Slot, Warehouse
from xlwh.store.move import to_postgres
from xlwh.store.postgres import Address

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "XLWH_WORKERS": "in_process"}
HOLDER = """
import sys
from xlwh.store import Slot, Warehouse
with Warehouse(sys.argv[1], create=True).claims.claim([Slot.parse(sys.argv[2])]):
    print("held", flush=True)
    sys.stdin.read()
"""
SLOT = Slot("examples", ("nli", "de"), "dev")


@pytest.fixture(params=["sqlite", "postgres"])
def root(request, tmp_path):
    """An empty warehouse, with its manifest in the folder or in a database."""
    root = tmp_path / "warehouse"
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        to_postgres(root, Address(server.url(), f"xlwh_{secrets.token_hex(6)}"))
    else:
        Warehouse(root, create=True)
    return root


def started(study, root, *arguments):
    program = "import sys; from xlwh.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "materialize", *arguments]
    return subprocess.Popen(
        [*command, "--study", str(study), "--warehouse", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


@contextmanager
def holding(root, slot):
    command = [sys.executable, "-c", HOLDER, str(root), str(slot)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def written(root):
    """Files that were ever written of each slot."""
    return Counter(
        re.sub(r"-[0-9a-f]{16}\.parquet$", "", str(path.relative_to(root)))
        for path in (root / "tables").rglob("*.parquet")
    )


def test_a_held_partition_is_left_out_or_waited_for_and_told(tiny_study, root):
    with holding(root, SLOT) as holder:
        # A lease says what the process runs as well.
        named = rf"process {holder.pid} (\(-c .*\) )?on host "
        left_out = started(tiny_study, root, "examples", "tokens", "--model", "plain", "--no-wait")
        out, err = left_out.communicate(timeout=300)
        assert left_out.returncode == 0, err
        assert re.search(f"Left out: examples nli × de: {named}", err), err
        # What needs it is left out too: it does not fail.
        assert re.search(rf"Left out: tokens plain × \w+: waits for .*{named}", err), err
        assert "held by others" in out
        assert {str(entry.slot) for entry in Warehouse(root).entries("examples")} >= {
            str(Slot("examples", ("nli", language), "dev")) for language in ("en", "es")
        }
        waiting = started(tiny_study, root, "examples")
        said = ""
        while "waits for" not in said:
            line = waiting.stderr.readline()
            assert line, said
            said += line
        assert re.search(f"examples nli × de: waits for {named}", said), said
        assert waiting.poll() is None
        # Killed, it holds nothing, and the partition is made by who waited.
        holder.send_signal(signal.SIGKILL)
        _, err = waiting.communicate(timeout=300)
    assert waiting.returncode == 0, err
    assert max(written(root).values()) == 1
    assert Warehouse(root).current(SLOT) is not None


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["in_process", "processes:2"])
def test_two_commands_share_the_work(tiny_study, root, workers):
    commands = [started(tiny_study, root, "--workers", workers)]
    time.sleep(0.5)
    commands.append(started(tiny_study, root, "--workers", workers))
    ended = [command.communicate(timeout=1800) for command in commands]
    assert [command.returncode for command in commands] == [0, 0], ended
    twice = {name: number for name, number in written(root).items() if number > 1}
    assert twice == {}
    assert {finding.kind for finding in Warehouse(root).check(deep=True)} <= {"stale_catalogue"}
