"""Writing 5 M rows of `token_attributions`, checked and catalogued, against a bare `write_parquet` of the same frame.

    python tests/benchmarks/bench_store.py [--rows 5000000] [--rounds 5]

The frame is what attribution makes: six text columns, most of them constant, forty sub-tokens per example and target.
Ours checks the contract and the key, writes a synced file with metadata, commits it and builds the catalogue with all
shipped views. Rounds take turns with the peer's; the fastest of each counts. `cpu_s` is processor time of all threads,
`wall_s` the clock's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import print_table

from xlwh.store import Slot, Warehouse, schema
from xlwh.store.contract import checked

SLOT = Slot("token_attributions", ("mini-x11", "sw"), "xnli.lig")
TOKENS = 40
TARGETS = ("contradiction", "entailment", "neutral")


def run(rows: int = 5_000_000, rounds: int = 5, folder: Path | None = None) -> list[dict[str, Any]]:
    """One row per thing that is timed, with its ratio to the bare write. `folder`: the disk to write to."""
    frame = _frame(rows)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = Path(scratch)
        warehouse = Warehouse(root / "warehouse", create=True)
        # What is loaded once per process, the SQL parser above all, is not part of a write.
        warehouse.build_catalogue()

        def ours() -> None:
            warehouse.write({SLOT: frame}, "fingerprint")
            warehouse.build_catalogue()

        best = _fastest(
            {
                "bare polars write_parquet": lambda: frame.write_parquet(root / "bare.parquet"),
                "write + validate + catalogue": ours,
                "of which: contract and key": lambda: checked(SLOT, frame),
                "connect to the catalogue": lambda: warehouse.connect().close(),
            },
            rounds,
        )
        size = (root / "bare.parquet").stat().st_size
        [entry] = warehouse.entries()
    peer = best["bare polars write_parquet"]
    sizes = {"bare polars write_parquet": size, "write + validate + catalogue": entry.size_bytes}
    return [
        {
            "what": what,
            "rows": rows,
            "wall_s": round(wall, 2),
            "cpu_s": round(cpu, 2),
            "wall_ratio": round(wall / peer[0], 2),
            "cpu_ratio": round(cpu / peer[1], 2),
            **({"size_mb": round(sizes[what] / 1e6, 1)} if what in sizes else {}),
        }
        for what, (wall, cpu) in best.items()
    ]


def _frame(rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    number = np.arange(rows)
    run = number // TOKENS
    text = {"model": "mini-x11", "dataset": "xnli", "split": "dev", "language": "sw", "method": "lig"}
    frame = pl.DataFrame(
        {
            **{name: pl.Series(np.full(rows, value)) for name, value in text.items()},
            "example_id": pl.Series(run // len(TARGETS)).cast(pl.String),
            "target": pl.Series(np.array(TARGETS)[run % len(TARGETS)]),
            "position": (number % TOKENS).astype(np.int32),
            "attribution": (0.1 * rng.standard_normal(rows)).astype(np.float32),
        }
    )
    return frame.select(list(schema(SLOT.table)))


def _fastest(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for what, case in cases.items():
            wall, cpu = time.perf_counter(), time.process_time()
            case()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            best[what] = min(best.get(what, spent), spent)
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    arguments = parser.parse_args()
    print_table("Writing token attributions", run(arguments.rows, arguments.rounds, arguments.folder))


if __name__ == "__main__":
    main()
