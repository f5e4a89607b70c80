"""Every benchmark, one after the other, written to benchmarks.md with the machine's description.

    python tests/benchmarks/run.py [--shared ../shared] [--model FOLDER] [--pairs 200]

FOLDER is an NLI checkpoint for the attribution benchmark; without one that part is left out, and says so. The sizes
by default are those of the published table and take about an hour on 2 cores; `--pairs` is what most of it is.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import bench_ccta
import bench_finetune
import bench_lig
import bench_store
from common import machine, table

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--model", type=Path, help="checkpoint of three-class NLI for bench_lig")
    parser.add_argument("--pairs", type=int, default=200, help="XNLI pairs that are attributed")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks.md")
    arguments = parser.parse_args()
    shared: Path = arguments.shared
    parts: list[tuple[str, Callable[[], list[dict[str, Any]]]]] = [
        ("Write, check and catalogue 5 M rows of token_attributions", bench_store.run),
        ("Consistency of 5,000 XNLI pairs", lambda: bench_ccta.run(shared)),
        ("The view ccta over 200,000 pairs and 5 M attribution rows", bench_ccta.run_view),
        ("A fine-tuning step", lambda: bench_finetune.measure(shared)),
    ]
    if arguments.model is not None:
        parts.append(
            (
                f"LIG to 1 % completeness, {arguments.pairs} XNLI pairs",
                lambda: bench_lig.run(shared, arguments.model, arguments.pairs),
            )
        )
    else:
        print("No --model: the attribution benchmark is left out.")
    text = ["# Benchmarks", f"Measured on: {machine()}. Each table's peer ran in the same run."]
    for title, measure in parts:
        section = f"## {title}\n\n{table(measure())}"
        print(section, flush=True)
        text.append(section)
    arguments.output.write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
