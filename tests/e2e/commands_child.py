"""Runs a command of xlwh on a warehouse again and again, each time killed after some seconds, and looks at what is left.

    python commands_child.py ROOT SECONDS…

ROOT/command.json holds the command's arguments. A line of JSON per run says whether it was killed, and what a deep
check finds then, looked at in a process of its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def looked(root: Path) -> Mapping[str, object]:
    """What is wrong with the warehouse, and what it holds; found by a forked process."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        told: dict[str, Any] = {}
        try:
            told = _state(root)
        except BaseException as error:
            told = {"error": f"{type(error).__name__}: {error}"}
        with os.fdopen(writing, "w") as out:
            json.dump(told, out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as source:
        found: dict[str, object] = json.load(source)
    os.waitpid(child, 0)
    return found


def _state(root: Path) -> dict[str, Any]:
    from xlwh.store import Warehouse
    from xlwh.store.soundness import LostManifestError

    if not (root / "manifest.sqlite").exists() and not (root / "tables").exists():
        return {"kinds": [], "slots": {}}
    try:
        warehouse = Warehouse(root)
    except LostManifestError:
        return {"kinds": ["lost"], "slots": {}}
    findings = warehouse.check(deep=True)
    slots = {str(entry.slot): [entry.fingerprint, entry.digest] for entry in warehouse.entries()}
    return {
        "kinds": sorted({finding.kind for finding in findings}),
        "slots": slots,
        "files": sorted(path.name for path in (root / "tables").rglob("*.parquet")),
    }


def main() -> None:
    import dagster  # noqa: F401
    import duckdb  # noqa: F401
    import polars  # noqa: F401
    from nursery import rear

    from xlwh.cli import main as xlwh

    root = Path(sys.argv[1])
    os.chdir(root)
    arguments = json.loads((root / "command.json").read_text())

    def work() -> None:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        code = xlwh(arguments)
        os._exit(0 if code == 0 else 3)

    rear(work, map(float, sys.argv[2:]), lambda: looked(root / "warehouse"))


if __name__ == "__main__":
    main()
