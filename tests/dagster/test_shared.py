"""Runs of several machines: whose process lives, where Dagster's history is, and what is never guessed."""

from __future__ import annotations

import subprocess
import sys
import time

import dagster as dg
import pytest
import yaml
from dagster._core.test_utils import create_run_for_test
from postgres_server import Server

from dagster_project import instance as module
from dagster_project.instance import HOST_TAG, MACHINE_TAG, instance_of, prepare_home
from dagster_project.storage import dagster_url
from xlwh.store.move import to_postgres, to_sqlite
from xlwh.store.postgres import Address

STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE

HOLDER = """
import sys, time
from pathlib import Path
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from dagster_project import instance
instance.machine = lambda: "the other one"
instance.host_name = lambda: "elsewhere"
instance._LEASE_S = 1.5
with instance.instance_of(Path(sys.argv[1])) as (opened, tags):
    print(create_run_for_test(opened, status=DagsterRunStatus.STARTED, tags=tags).run_id, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def shared(root, postgres: Server):
    """The warehouse with its manifest in PostgreSQL."""
    to_postgres(root, Address(postgres.url(), f"xlwh_d{time.time_ns()}"))
    return root


@pytest.fixture
def elsewhere(request):
    """Starts a process that has a run, and says that it is of another machine."""
    started = []

    def start(root):
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", HOLDER, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_run_of_another_machine_is_never_closed_for_want_of_a_lock(root, caplog, monkeypatch):
    """A lock of a file need not reach other machines: here none can be seen, and none is held."""
    with instance_of(root) as (instance, tags):
        other = {**tags, MACHINE_TAG: "another", HOST_TAG: "node7"}
        before = {key: value for key, value in tags.items() if key == module.OWNER_TAG}
        runs = [create_run_for_test(instance, status=STARTED, tags=each) for each in (other, before)]
        (root / "dagster" / "locks" / tags[module.OWNER_TAG]).unlink()
        with instance_of(root):
            assert [instance.get_run_by_id(run.run_id).status for run in runs] == [STARTED, STARTED]
        told = caplog.text
        assert (
            f"The run {runs[0].run_id} of process {tags[module.PID_TAG]} on host node7 has not ended" in told
        )
        assert "xlwh ui" in told
        shown = {key.removeprefix(".dagster/"): value for key, value in tags.items()}
        assert not shown.keys() & tags.keys(), "they are not for people"
        # Of this version, and of earlier ones, which did not hide them.
        mine = [create_run_for_test(instance, status=STARTED, tags=each) for each in (tags, shown)]
        with instance_of(root):
            assert [instance.get_run_by_id(run.run_id).status for run in mine] == [FAILURE, FAILURE]


def test_leases_tell_which_runs_of_other_machines_live(shared, elsewhere):
    process, run_id = elsewhere(shared)
    time.sleep(2)
    with instance_of(shared) as (instance, tags):
        assert instance.get_run_by_id(run_id).status is STARTED
        assert tags[MACHINE_TAG] != "the other one"
        process.kill()
        process.wait()
        deadline = time.monotonic() + 120
        while instance.get_run_by_id(run_id).status is STARTED and time.monotonic() < deadline:
            time.sleep(0.5)
            with instance_of(shared):
                pass
        assert instance.get_run_by_id(run_id).status is FAILURE
        [event] = [
            record.event_log_entry.message
            for record in instance.get_records_for_run(run_id).records
            if record.event_log_entry.dagster_event_type == dg.DagsterEventType.RUN_FAILURE
        ]
        assert f"process {process.pid} on host elsewhere" in event


def test_the_history_of_runs_is_where_the_manifest_is(root, postgres):
    config = prepare_home(root) / "dagster.yaml"
    mine = config.read_text().replace("max_concurrent_runs: 1", "max_concurrent_runs: 3")
    config.write_text(mine)
    address = Address(f"{postgres.url()}?connect_timeout=7", f"xlwh_d{time.time_ns()}")
    to_postgres(root, address)
    with instance_of(root) as (instance, _):
        run = create_run_for_test(instance, status=STARTED)
        assert type(instance.run_storage).__name__ == "PostgresRunStorage"
    found = yaml.safe_load(config.read_text())
    assert found["concurrency"]["runs"]["max_concurrent_runs"] == 3
    assert found["storage"]["postgres"]["postgres_url"] == dagster_url(address, f"{address.schema}_dagster")
    with instance_of(root) as (instance, _):
        assert instance.get_run_by_id(run.run_id) is not None
    assert not (root / "dagster" / "history").exists()
    to_sqlite(root)
    prepare_home(root)
    assert config.read_text() == mine


def test_places_in_the_pool_that_a_run_left_behind_are_given_back(root):
    with instance_of(root) as (instance, tags):
        run = create_run_for_test(instance, status=STARTED, tags=tags)
        log = instance.event_log_storage
        log.set_concurrency_slots("gpu", 1)
        assert log.claim_concurrency_slot("gpu", run.run_id, "step").is_claimed
        # As when it is ended in the interface.
        instance.report_run_canceled(run)
        with instance_of(root):
            assert log.get_concurrency_run_ids() == set()
