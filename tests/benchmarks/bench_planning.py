"""What it costs to look at a study, from small to a hundred models in fifty languages on seven datasets.

    python tests/benchmarks/bench_planning.py [--cells 35000] [--folder FOLDER]

A cell is a model in a language on a dataset. The study has the default attribution methods and faithfulness, and its
warehouse is filled without computing: tiny files under the fingerprints that its steps plan. Every column is measured in a
process of its own. `cpu_s` is processor time, `mb` the most memory that the process held.

- load: reading and checking the study file, in milliseconds;
- plan: every partition planned, and found to be fresh;
- materialize: the whole command, which finds that there is nothing to do, from start to end;
- refresh: a planner that knows everything takes in a commit of one file, in milliseconds;
- catalogue: built for the first time, and brought up to a commit of one file;
- gc: finds that there is nothing to remove.

`growth` is the time of `plan` beside that of half as many cells: 2 is linear.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import large_study
from common import print_table

from xlwh.cli.selection import select, sort
from xlwh.store import Warehouse
from xlwh.study import load

SIZES = ((13, 12, 7), (25, 12, 7), (25, 25, 7), (50, 25, 7), (50, 50, 7), (100, 50, 7))
"""Models, languages and datasets: each about twice the one before."""


def run(cells: int, folder: Path | None = None) -> list[dict[str, Any]]:
    """One row per size of up to so many cells. `folder`: the disk to write to."""
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        models, languages, datasets = size
        if models * languages * datasets > cells:
            break
        scratch = Path(tempfile.mkdtemp(dir=folder))
        try:
            rows.append(_row(scratch, size))
        finally:
            shutil.rmtree(scratch)
        if len(rows) > 1:
            ratio = rows[-1]["plan_cpu_s"] / rows[-2]["plan_cpu_s"]
            rows[-1]["growth"] = round(ratio / (rows[-1]["cells"] / rows[-2]["cells"]) * 2, 2)
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _row(scratch: Path, size: tuple[int, int, int]) -> dict[str, Any]:
    models, languages, datasets = size
    files = _child("fill", scratch, *map(str, size))["files"]
    found = {name: _child(name, scratch) for name in PARTS if name != "fill"}
    file, root = scratch / "study.toml", scratch / "warehouse"
    head = Warehouse(root).manifest.head()
    command = ["-c", "from xlwh.cli import main; main()", "materialize"]
    made = _measured([*command, "--study", str(file), "--warehouse", str(root)])
    if Warehouse(root).manifest.head() != head:
        raise RuntimeError(f"Something was made:\n{made['output']}")
    return {
        "cells": models * languages * datasets,
        "partitions": found["plan"]["partitions"],
        "files": files,
        "load_ms": found["load"]["ms"],
        "plan_cpu_s": found["plan"]["cpu_s"],
        "plan_mb": found["plan"]["mb"],
        "materialize_cpu_s": made["cpu_s"],
        "materialize_mb": made["mb"],
        "refresh_ms": found["refresh"]["ms"],
        "catalogue_cpu_s": found["catalogue"]["first_s"],
        "catalogue_mb": found["catalogue"]["mb"],
        "update_cpu_s": found["catalogue"]["update_s"],
        "gc_cpu_s": found["gc"]["cpu_s"],
    }


def _child(part: str, *arguments: Path | str) -> dict[str, Any]:
    """What one part reports, measured in a process of its own."""
    ran = _measured([__file__, "--part", part, *map(str, arguments)])
    return {"mb": ran["mb"], **json.loads(ran["output"].splitlines()[-1])}


def _measured(arguments: list[str]) -> dict[str, Any]:
    """Output, processor seconds and memory of a Python process; an error where it fails."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, *arguments], stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with code {process.returncode}:\n{text}")
    # Of Linux: kibibytes.
    return {
        "output": text,
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "mb": round(usage.ru_maxrss / 1024),
    }


def _fill(scratch: Path, *size: str) -> dict[str, Any]:
    file = large_study.write(scratch, *map(int, size), methods="")
    return {"files": large_study.fill(large_study.context(file, scratch / "warehouse"))}


def _load(scratch: Path) -> dict[str, Any]:
    return {"ms": round(1000 * _cpu_s(lambda: load(scratch / "study.toml"), 5), 1)}


def _plan(scratch: Path) -> dict[str, Any]:
    context = large_study.context(scratch / "study.toml", scratch / "warehouse")
    selection = select(context.study, [])
    seconds = _cpu_s(lambda: _all_fresh(context, selection))
    return {"cpu_s": seconds, "partitions": sum(map(len, selection.steps.values()))}


def _all_fresh(context: Any, selection: Any) -> None:
    found = sort(context, selection)
    if found.todo:
        raise RuntimeError(f"Not fresh: {[step.name for step in found.todo]}")


def _refresh(scratch: Path) -> dict[str, Any]:
    context = large_study.context(scratch / "study.toml", scratch / "warehouse")
    _all_fresh(context, select(context.study, []))
    seconds = []
    for _ in range(5):
        large_study.touch(context)
        seconds.append(_cpu_s(context.planner.refresh, 5))
    return {"ms": round(1000 * min(seconds), 2)}


def _catalogue(scratch: Path) -> dict[str, Any]:
    context = large_study.context(scratch / "study.toml", scratch / "warehouse")
    first = _cpu_s(context.warehouse.build_catalogue)
    large_study.touch(context)
    return {"first_s": first, "update_s": _cpu_s(context.warehouse.build_catalogue)}


def _gc(scratch: Path) -> dict[str, Any]:
    warehouse = Warehouse(scratch / "warehouse")
    return {"cpu_s": _cpu_s(lambda: warehouse.gc(timedelta(days=7)))}


def _cpu_s(work: Callable[[], object], digits: int = 2) -> float:
    began = time.process_time()
    work()
    return round(time.process_time() - began, digits)


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "fill": _fill,
    "load": _load,
    "plan": _plan,
    "refresh": _refresh,
    "catalogue": _catalogue,
    "gc": _gc,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=35_000, help="the largest study")
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part is not None:
        print(json.dumps(PARTS[asked.part](Path(asked.arguments[0]), *asked.arguments[1:])))
    else:
        print_table("Planning", run(asked.cells, asked.folder))


if __name__ == "__main__":
    main()
