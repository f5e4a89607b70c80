"""Attributions made by one worker, by more, and by Ray on this machine: partitions a minute.

    python tests/benchmarks/bench_workers.py                          # the demo, 1 and 2 processes
    python tests/benchmarks/bench_workers.py --study FILE --workers processes:1 processes:4 ray

Everything that attributions are made from is made once; each setting then makes them anew in a copy of that warehouse.
Workers have loaded their libraries when the clock starts, as in a command that goes on for longer. Only on a quiet machine do
the numbers say something: the load is printed with them.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path

from common import print_table

from xlwh.demo import study_path
from xlwh.models import Zoo
from xlwh.steps import runner
from xlwh.steps.base import Key, no_progress
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, partitions
from xlwh.steps.workers import Workers, choose
from xlwh.store import Warehouse
from xlwh.study import Study, load

STEP = STEPS["attributions"]
BEFORE = ("examples", "parallelism", "models", "predictions", "token_predictions")


def opened(study: Study, root: Path) -> Context:
    """The study on a warehouse."""
    warehouse = Warehouse(root, create=True)
    return Context(study, warehouse, Zoo(study, warehouse))


def measured(study: Study, root: Path, setting: str, keys: list[Key]) -> dict[str, object]:
    """Seconds that attributions take with a setting, and how many were made."""
    context = opened(study, root)
    models = {key.model for key in keys if key.model is not None}
    choice = choose(Workers.parse(setting), context.zoo, models, len(keys))
    crew = choice.hire(study, context.warehouse.root)
    assert crew is not None, f"{setting} comes to no workers"
    with closing(crew):
        for worker in crew._workers[: choice.number if choice.ray is None else 1]:
            worker.awaited.result()
        began = time.perf_counter()
        made = [result for _, result in crew.make(STEP, context, keys, lambda key: no_progress)]
        seconds = time.perf_counter() - began
    failed = [result for result in made if isinstance(result, Exception)]
    assert not failed, failed
    written = sum(result.status == "written" for result in made if not isinstance(result, Exception))
    return {
        "workers": setting,
        "partitions": written,
        "seconds": f"{seconds:.1f}",
        "partitions a minute": f"{60 * written / seconds:.1f}",
    }


def main() -> None:
    """Measure every setting."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--study", type=Path, default=study_path())
    parser.add_argument("--workers", nargs="+", default=["processes:1", "processes:2"])
    arguments = parser.parse_args()
    study, rows = load(arguments.study), []
    with tempfile.TemporaryDirectory() as folder:
        made = opened(study, Path(folder) / "made")
        for name in BEFORE:
            for key in partitions(study, STEPS[name]):
                runner.run(STEPS[name], made, key)
        keys = partitions(study, STEP)
        for setting in arguments.workers:
            root = Path(folder) / setting.replace(":", "-").replace("/", "-")
            shutil.copytree(made.warehouse.root, root)
            rows.append(measured(study, root, setting, keys))
            shutil.rmtree(root)
    for row in rows:
        row["times the first"] = f"{float(rows[0]['seconds']) / float(row['seconds']):.2f}"
    print_table("Workers", rows)


if __name__ == "__main__":
    main()
