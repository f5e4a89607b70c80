"""Dagster's own memory of runs: inside the warehouse (`<warehouse>/dagster`), or in the database of its manifest."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from sqlalchemy import event
from sqlalchemy.engine import Engine

from dagster_project.history import kept_open
from dagster_project.storage import with_storage
from xlwh.store.files import write_whole
from xlwh.store.host import host_name, machine
from xlwh.store.leases import Leases
from xlwh.store.place import is_embedded, read_place
from xlwh.store.postgres import Database

_HIDDEN = ".dagster/"
"""How tags begin that Dagster's web interface does not show: `xlwh/by` says there what people need."""
OWNER_TAG = f"{_HIDDEN}xlwh/process"
"""Run tag: name of the lock file, and of the lease, that the process of the run holds while it lives."""
PID_TAG, HOST_TAG = f"{_HIDDEN}xlwh/pid", f"{_HIDDEN}xlwh/host"
MACHINE_TAG, LEASE_TAG = f"{_HIDDEN}xlwh/machine", f"{_HIDDEN}xlwh/lease"
"""Run tags: the process's number, its machine's name and identity, and whether it holds a lease."""

_CONFIG = """\
# Written by xlwh where it was missing; edit it as you like.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  pools:
    # On an accelerator runs take turns: one step at a time (the pool is called `gpu`). Elsewhere no step is in a pool.
    default_limit: 1
    granularity: op
  runs:
    # A run holds its own copy of the models: raise this where there is memory for more.
    max_concurrent_runs: 1
"""

_NO_CAPTURE = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}
"""Dagster's capture of standard output turns it away from the terminal, and starts four processes for each step."""

_LEASE_S = 180.0
"""Seconds after which the process of a run that was not heard of is taken for gone by other machines."""

_LOG = logging.getLogger("xlwh")

_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def prepare_home(root: Path) -> Path:
    """The folder of Dagster's memory, made with its configuration if need be; DAGSTER_HOME is set to it."""
    home = root.resolve() / "dagster"
    (home / "locks").mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    before = config.read_text(encoding="utf-8") if config.exists() else None
    wanted = with_storage(_CONFIG if before is None else before, root)
    if wanted != before:
        write_whole(config, wanted.encode())
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
    return home


@contextmanager
def instance_of(root: Path) -> Iterator[tuple[DagsterInstance, dict[str, str]]]:
    """The instance of a warehouse, and the tags that this process's runs must carry.

    Runs of processes that were killed are closed first: they would look alive for ever, and keep their place in
    the pool.
    """
    home = prepare_home(root)
    owner = secrets.token_hex(8)
    tags = {OWNER_TAG: owner, PID_TAG: str(os.getpid()), HOST_TAG: host_name(), MACHINE_TAG: machine()}
    lock = home / "locks" / owner
    leases = None if is_embedded(root) else Leases(Database(read_place(root).address), _LEASE_S)
    if leases is not None:
        tags[LEASE_TAG] = "yes"
    ref = kept_open(InstanceRef.from_dir(str(home), overrides=_NO_CAPTURE))
    with ExitStack() as held:
        if leases is not None:
            held.enter_context(leases.hold({_lease(owner): None}))
        file = held.enter_context(lock.open("w"))
        held.enter_context(_unsynced())
        instance = held.enter_context(DagsterInstance.from_ref(ref))
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            close_runs_of_the_dead(instance, home / "locks", leases)
            yield instance, tags
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def _unsynced() -> Iterator[None]:
    """Let Dagster's SQLite files reach the disk when the system likes, within this process.

    Dagster opens them anew for every event, and waiting for the disk took a third of a small materialisation. A
    killed process loses nothing by it; a power cut can cost the history of runs, never a table.
    """

    def relax(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("pragma synchronous = off")

    event.listen(Engine, "connect", relax)
    try:
        yield
    finally:
        event.remove(Engine, "connect", relax)


def close_runs_of_the_dead(instance: DagsterInstance, locks: Path, leases: Leases | None) -> None:
    """Close the runs of processes that are gone, and give back the places in the pool that runs have left behind.

    Those of this machine are judged by their locks, which reach no other machine; those of others by their leases. Where
    neither tells, a run stays as it is, and is named.
    """
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_UNFINISHED)):
        # Earlier versions did not hide them.
        tags = {f"{_HIDDEN}{name.removeprefix(_HIDDEN)}": value for name, value in run.tags.items()}
        owner = tags.get(OWNER_TAG)
        if owner is None:
            continue
        who = f"process {tags.get(PID_TAG, 'unknown')} on host {tags.get(HOST_TAG, 'unknown')}"
        if tags.get(MACHINE_TAG) == machine():
            gone = None if _alive(locks / owner) else f"The process of this run was killed ({who})."
        elif leases is not None and LEASE_TAG in tags:
            is_held = leases.holder(_lease(owner)) is not None
            gone = None if is_held else f"Nothing was heard of the process of this run for too long ({who})."
        else:
            _LOG.warning(
                f"The run {run.run_id} of {who} has not ended, and whether that process lives cannot be told from this "
                "machine. If it is gone, end the run in `xlwh ui` (Runs, Terminate, and force it)."
            )
            continue
        if gone is None:
            continue
        # It may have ended in peace since the runs were listed.
        now = instance.get_run_by_id(run.run_id)
        if now is not None and now.status in _UNFINISHED:
            instance.report_run_failed(run, gone)
        (locks / owner).unlink(missing_ok=True)
    for run_id in instance.event_log_storage.get_concurrency_run_ids():
        held = instance.get_run_by_id(run_id)
        if held is None or held.is_finished:
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def _lease(owner: str) -> str:
    return f"dagster/{owner}"


def _alive(lock: Path) -> bool:
    """Whether a process still holds the lock; the system lets go of it however the process ends."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
