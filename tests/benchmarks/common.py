"""What the benchmarks share: a description of the machine, and tables in Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def machine() -> str:
    """Processor, cores, matrix units, load and versions, in one line."""
    import duckdb
    import polars
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    name = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    flags = next((line for line in lines if line.startswith("flags")), "")
    units = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if unit in flags.split()]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{name}, {os.cpu_count()} cores ({', '.join(units)}), {gpu}, load {os.getloadavg()[1]:.1f} over the last "
        f"5 minutes, the benchmark's own included; Python {platform.python_version()}, "
        f"torch {torch.__version__}, polars {polars.__version__}, duckdb {duckdb.__version__}"
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; a column that a row lacks stays empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, ["---"] * len(names), *([str(row.get(name, "")) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The table as it goes into benchmarks.md, with the machine it was measured on."""
    print(f"## {title}\n\n{machine()}\n\n{table(rows)}")
