"""Attributions made by one worker, by more, and by Ray on this machine: partitions a minute.

    python tests/benchmarks/bench_workers.py                          # the demo, 1 and 2 processes
    python tests/benchmarks/bench_workers.py --study FILE --workers processes:1 processes:4 ray --rounds 3

Everything that attributions are made from is made once; each setting then makes them anew in a copy of that warehouse.
Workers have loaded their libraries when the clock starts, as in a command that goes on for longer. In each round every setting
has its turn, in the other order than in the round before, and is compared with the first setting of the same round: what
makes the machine slower for some minutes is in both. Only on a quiet machine do the numbers say something: the load before
the first round is printed with them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
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


def measured(study: Study, root: Path, setting: str, keys: list[Key]) -> tuple[float, int]:
    """Seconds that attributions take with a setting, and how many partitions were made."""
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
    return seconds, written


def row(setting: str, turns: list[tuple[float, int]], first: list[tuple[float, int]]) -> dict[str, object]:
    """What a setting comes to, beside the first one of the same rounds."""
    seconds, written = statistics.median(each for each, _ in turns), turns[0][1]
    faster = sorted(one / other for (one, _), (other, _) in zip(first, turns, strict=True))
    return {
        "workers": setting,
        "rounds": len(turns),
        "partitions": written,
        "seconds, median": f"{seconds:.1f}",
        "partitions a minute": f"{60 * written / seconds:.1f}",
        "times the first, median": f"{statistics.median(faster):.2f}",
        "least to most": f"{faster[0]:.2f} to {faster[-1]:.2f}",
    }


def main() -> None:
    """Measure every setting."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--study", type=Path, default=study_path())
    parser.add_argument("--workers", nargs="+", default=["processes:1", "processes:2"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    study, load_before = load(arguments.study), os.getloadavg()[0]
    turns: dict[str, list[tuple[float, int]]] = {setting: [] for setting in arguments.workers}
    with tempfile.TemporaryDirectory() as folder:
        made = opened(study, Path(folder) / "made")
        for name in BEFORE:
            for key in partitions(study, STEPS[name]):
                runner.run(STEPS[name], made, key)
        keys = partitions(study, STEP)
        for number in range(arguments.rounds):
            for setting in list(turns)[:: 1 if number % 2 == 0 else -1]:
                root = Path(folder) / f"{setting.replace(':', '-').replace('/', '-')}-{number}"
                shutil.copytree(made.warehouse.root, root)
                turns[setting].append(measured(study, root, setting, keys))
                shutil.rmtree(root)
    print_table(
        "Workers", [row(setting, each, turns[arguments.workers[0]]) for setting, each in turns.items()]
    )
    print(f"\nLoad over the minute before: {load_before:.1f}")


if __name__ == "__main__":
    main()
