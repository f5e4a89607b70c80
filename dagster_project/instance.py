"""Dagster's own memory of runs, kept inside the warehouse: `<warehouse>/dagster`."""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from sqlalchemy import event
from sqlalchemy.engine import Engine

from dagster_project.history import kept_open
from xlwh.store.files import write_whole

OWNER_TAG = "xlwh/process"
"""Run tag: name of the lock file that the process of the run holds while it lives."""

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
    if not config.exists():
        write_whole(config, _CONFIG.encode())
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
    lock = home / "locks" / owner
    ref = kept_open(InstanceRef.from_dir(str(home), overrides=_NO_CAPTURE))
    with lock.open("w") as held, _unsynced(), DagsterInstance.from_ref(ref) as instance:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            _close_runs_of_the_dead(instance, home / "locks")
            yield instance, {OWNER_TAG: owner}
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


def _close_runs_of_the_dead(instance: DagsterInstance, locks: Path) -> None:
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_UNFINISHED)):
        owner = run.tags.get(OWNER_TAG)
        if owner is None or _alive(locks / owner):
            continue
        # It may have ended in peace since the runs were listed.
        now = instance.get_run_by_id(run.run_id)
        if now is not None and now.status in _UNFINISHED:
            instance.report_run_failed(run, "The process of this run was killed.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        (locks / owner).unlink(missing_ok=True)


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
