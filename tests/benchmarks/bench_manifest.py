"""Commits a second to a manifest: SQLite in the warehouse, and PostgreSQL on this machine.

    python tests/benchmarks/bench_manifest.py [--commits 200] [--folder FOLDER]

Each commit is of one file, to a slot of its own process, with compare-and-swap, as a partition is committed; its record in
the journal is part of it. Processes begin together, once all have opened the manifest. PostgreSQL is a server of the
benchmark's own, on the loopback, with synced commits as it has them by default. `head` is the time to ask for the last commit's
number, `opened` that to open the manifest in a process that has its libraries loaded.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import print_table
from postgres_server import Server, binaries

from xlwh.store import Slot
from xlwh.store.manifest import NewFile
from xlwh.store.manifests import open_manifest
from xlwh.store.move import to_postgres
from xlwh.store.postgres import Address


def run(commits: int = 200, folder: Path | None = None) -> list[dict[str, Any]]:
    """One row per kind of manifest and number of processes."""
    programs = binaries()
    if programs is None:
        raise SystemExit("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        Path(scratch).chmod(0o755)
        server = Server(programs, Path(scratch) / "server", fsync="on")
        try:
            for kind in ("SQLite", "PostgreSQL"):
                for processes in (1, 4):
                    root = Path(scratch) / f"{kind}{processes}"
                    root.mkdir()
                    if kind == "PostgreSQL":
                        to_postgres(root, Address(server.url(), f"xlwh_{processes}"))
                    open_manifest(root)
                    rows.append(
                        {"manifest": kind, "processes": processes, **_timed(root, processes, commits)}
                    )
        finally:
            server.stop()
    return rows


def _timed(root: Path, processes: int, commits: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(processes + 1), context.Queue()
    share = commits // processes
    workers = [
        context.Process(target=_commit, args=(root, number, share, barrier, queue))
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.perf_counter()
    found = [queue.get() for _ in workers]
    took = time.perf_counter() - began
    for worker in workers:
        worker.join()
    manifest = open_manifest(root)
    if manifest.head() != share * processes:
        raise RuntimeError("commits were lost")
    slowest = max(each for latencies, *_ in found for each in latencies)
    return {
        "commits": share * processes,
        "commits/s": round(share * processes / took, 1),
        "slowest_ms": round(slowest * 1000),
        "head_ms": round(min(head for _, head, _, _ in found) * 1000, 2),
        "opened_ms": round(min(opened for *_, opened, _ in found) * 1000, 1),
        "cpu_ms_a_commit": round(sum(cpu for *_, cpu in found) / share / processes * 1000, 2),
    }


def _commit(root: Path, number: int, commits: int, barrier: Any, queue: Any) -> None:
    open_manifest(root)
    began = time.perf_counter()
    manifest = open_manifest(root)
    opened = time.perf_counter() - began
    slot, before, latencies = Slot("tokens", (f"m{number}", "en"), "a"), None, []
    barrier.wait()
    cpu = time.process_time()
    for index in range(commits):
        file = f"tables/tokens/model=m{number}/language=en/a-{index:016x}.parquet"
        began = time.perf_counter()
        manifest.commit([NewFile(slot, file, "f" * 32, 10, 1000, 1, "0" * 64)], expected={slot: before})
        latencies.append(time.perf_counter() - began)
        before = file
    cpu = time.process_time() - cpu
    heads = []
    for _ in range(20):
        began = time.perf_counter()
        manifest.head()
        heads.append(time.perf_counter() - began)
    queue.put((latencies, min(heads), opened, cpu))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commits", type=int, default=200, help="in all, by however many processes")
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    asked = parser.parse_args()
    print_table("Commits to a manifest", run(asked.commits, asked.folder))


if __name__ == "__main__":
    main()
