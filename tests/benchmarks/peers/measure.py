"""One measured script: its arguments, what its stages used, and the line of JSON that it reports.

Only the standard library: peers' environments have nothing of ours. Processor time counts child processes that have
ended. Peak memory is the high-water mark of this process's own address space (VmHWM). On Linux `ru_maxrss` of
`resource.getrusage` is not that: it survives exec, so that a process begins with the peak of the one that started it;
it stands in only where there is no /proc.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


class Run:
    """`script.py INPUTS TASK RESULT`: the folder of the inputs, what to do, where the result goes (without suffix)."""

    def __init__(self) -> None:
        inputs, self.task, result = sys.argv[1:4]
        self.inputs, self.result = Path(inputs), Path(result)
        self._stages: dict[str, tuple[float, float]] = {}
        self._peak = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Seconds of the clock and of the processor, and the peak so far: `with run.stage("import"): ...`."""
        wall, processor = time.perf_counter(), _processor_seconds()
        yield
        self._stages[name] = time.perf_counter() - wall, _processor_seconds() - processor
        self._peak = peak_mb()

    def report(self, package: str, note: str = "") -> None:
        """Print the line: the last one of the process. Memory is as of the end of the last stage."""
        try:
            by = f"{package} {version(package)}"
        except PackageNotFoundError:  # run from a checkout
            by = package
        facts = {
            "by": by,
            "stages": self._stages,
            "peak_mb": self._peak,
            "note": note,
        }
        print(json.dumps(facts), flush=True)


def peak_mb() -> float:
    """Most memory that this process has held, or a child that has ended, in MB of 10^6 bytes."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    # A child's ru_maxrss begins with what this process held, so the larger one is right for either.
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(int(line.split()[1]), children) * 1024 / 1e6


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(of.ru_utime + of.ru_stime for of in used)
