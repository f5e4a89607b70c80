"""What digests cost while files are written, and what `xlwh check` costs at many files.

    python tests/benchmarks/bench_integrity.py [--rows 2000000] [--files 100000] [--folder FOLDER]

- write: attributions to a synced file, and its SHA-256 within that (`share` of the whole, `mb_s`);
- quick: every file is looked at, and none is read;
- deep: every file is read, compared with its digest and decoded. The files are small ones (no rows), so this is the cost
  of a file; that of its bytes is `mb_s` and the decoding.

`wall_s` is the clock's, `cpu_s` processor time; `us` is the latter for one file. Files of a size are links to a few, so that they take no room.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_store import SLOT, _frame
from common import print_table

from xlwh.digests import sha256
from xlwh.store import Slot, Warehouse, empty
from xlwh.store.manifest import NewFile
from xlwh.store.write import new_name, write_frame

_LINKS = 30_000
"""Names that one file is given: file systems allow some ten thousand."""

_DEEP = 10_000
"""The most files that are read."""


def run(rows: int = 2_000_000, files: int = 100_000, folder: Path | None = None) -> list[dict[str, Any]]:
    """One row per thing that is timed. `folder`: the disk to write to."""
    found = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        found.append(_writing(Path(scratch), rows))
    for number in (1_000, 10_000, 100_000, 1_000_000):
        if number <= files:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                found += _checking(Path(scratch), number)
    return found


def _writing(root: Path, rows: int) -> dict[str, Any]:
    frame = _frame(rows)
    whole, parts = [], []
    for _ in range(3):
        took, file = _timed(lambda: write_frame(root, SLOT, frame, "fingerprint", {}))
        whole.append(took)
        parts.append(_timed(lambda file=file: sha256([root / file.file]))[0])
    size = file.size_bytes / 1e6
    return {
        "what": f"write {rows:,} rows, {size:.0f} MB",
        "files": 1,
        "wall_s": round(min(wall for wall, _ in whole), 3),
        "cpu_s": round(min(cpu for _, cpu in whole), 3),
        "share": round(min(cpu for _, cpu in parts) / min(cpu for _, cpu in whole), 3),
        "mb_s": round(size / min(cpu for _, cpu in parts)),
    }


def _checking(root: Path, files: int) -> list[dict[str, Any]]:
    warehouse = Warehouse(root, create=True)
    warehouse.manifest.commit(put=_linked(root, files))
    found = []
    for deep in (False, True):
        if deep and files > _DEEP:
            continue
        took, findings = _timed(lambda deep=deep: warehouse.check(deep))
        if [each.kind for each in findings] != ["stale_catalogue"]:
            raise RuntimeError(f"There are faults: {findings[:3]}")
        what = "deep" if deep else "quick"
        wall, cpu = took
        found.append(
            {
                "what": what,
                "files": files,
                "wall_s": round(wall, 2),
                "cpu_s": round(cpu, 2),
                "us": round(cpu / files * 1e6),
            }
        )
    return found


def _linked(root: Path, files: int) -> list[NewFile]:
    """Files of as many slots, without rows."""
    put = list[NewFile]()
    rows, template = empty("token_attributions"), None
    for number in range(files):
        slot = Slot("token_attributions", (f"m{number % 100}", f"l{number // 100 % 50}"), f"d{number}.lig")
        if number % _LINKS == 0:
            template = write_frame(root, slot, rows, "fingerprint", {})
            put.append(template)
            continue
        file = new_name(slot, "fingerprint")
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        os.link(root / template.file, root / file)
        put.append(
            NewFile(slot, file, "fingerprint", 0, template.size_bytes, template.version, template.digest)
        )
    return put


def _timed(work: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    """Seconds by the clock and of the processor, and the result."""
    began, cpu = time.perf_counter(), time.process_time()
    result = work()
    return (time.perf_counter() - began, time.process_time() - cpu), result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows that are written")
    parser.add_argument("--files", type=int, default=100_000, help="the most files that are checked")
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    asked = parser.parse_args()
    print_table("Integrity", run(asked.rows, asked.files, asked.folder))


if __name__ == "__main__":
    main()
