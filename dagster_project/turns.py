"""Runs that would share an accelerator take turns at it, by Dagster's pool: the command line says for whom it waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dagster import DagsterInstance

from dagster_project.resources import POOL
from xlwh.models.devices import Devices, chosen, runs_at_once

BY_TAG = "xlwh/by"
"""Run tag: process and host that it runs in."""
NAMED_TAG = "xlwh/devices"
"""Run tag: the GPUs that a run has been given by name, where it has."""
_LOOKED_S = 1.0


def make_room(instance: DagsterInstance) -> dict[str, str]:
    """Set the pool's limit to the runs that may be at the GPUs at once; the tags that this run is to have.

    A run that names its GPUs has others beside it; one that names none takes all of them, alone. Where every run takes
    what there is, the limit stays the one of Dagster's configuration.
    """
    named, room = Devices.asked().numbers, runs_at_once()
    storage = instance.event_log_storage
    pool = storage.get_concurrency_info(POOL)
    before = [instance.get_run_by_id(other) for other in pool.active_run_ids | pool.pending_run_ids]
    alone = any(run is not None and NAMED_TAG not in run.tags for run in before)
    if named and room > 1 and not alone:
        if pool.limit != room:
            storage.set_concurrency_slots(POOL, room)
    elif not named and not pool.using_default_limit and len(chosen()) > 1:
        storage.set_concurrency_slots(POOL, 1)
    return {NAMED_TAG: ",".join(f"cuda:{number}" for number in named)} if named else {}


def others_wait(instance: DagsterInstance, run_id: str) -> bool:
    """Whether another run waits for its turn."""
    return bool(instance.event_log_storage.get_concurrency_info(POOL).pending_run_ids - {run_id})


@contextmanager
def told(instance: DagsterInstance, run_id: str, note: Callable[[str], None]) -> Iterator[None]:
    """While this run goes on, say once of each other run that it waits for at the accelerator who that is."""
    ended, known = threading.Event(), set[str]()

    def watch() -> None:
        while not ended.wait(_LOOKED_S):
            pool = instance.event_log_storage.get_concurrency_info(POOL)
            if run_id not in pool.pending_run_ids:
                continue
            for other in pool.active_run_ids - known - {run_id}:
                known.add(other)
                run = instance.get_run_by_id(other)
                whose = "" if run is None or BY_TAG not in run.tags else f" of {run.tags[BY_TAG]}"
                note(
                    f"Waits for run {other[:8]}{whose}: it has the accelerator, at which runs take turns step by step "
                    f"(Dagster's pool `{POOL}`)"
                )

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
