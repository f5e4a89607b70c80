"""Where partitions are made: what `--workers` says, and what `auto` chooses.

Processes help where several cores are there and a model is so small that more threads do not make it faster; they must
fit into memory, each with models of its own. One accelerator is one process's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xlwh.errors import XlwhError
from xlwh.models import Zoo, threads

VARIABLE = "XLWH_WORKERS"
"""Environment variable with the setting, for whatever starts runs by itself."""
MOST = 8
"""Processes that `auto` starts at most: with more, how long they wait for the manifest has not been measured."""
_BASE = 1_500_000_000
"""Bytes of a worker process beside its models, at the peak (measured on the demo: 1.3 GB, in clustering)."""
_PER_PARAMETER = 28
"""Bytes a parameter of the largest model: kept loaded (three models of 4), trained (weights, gradients, two moments)."""
_ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_PROCESSES = re.compile(r"processes:([1-9][0-9]{0,2})")


@dataclass(frozen=True)
class Workers:
    """The setting: a number of processes, 0 for none beside this one, None for `auto`."""

    processes: int | None

    @classmethod
    def parse(cls, text: str) -> Workers:
        """`auto`, `in_process` or `processes:N`; XlwhError for anything else."""
        if text in ("auto", "in_process"):
            return cls(None if text == "auto" else 0)
        if (found := _PROCESSES.fullmatch(text)) is None:
            raise XlwhError(
                f"--workers (or {VARIABLE}) is in_process, processes:N or auto, with N from 1 to 999, not `{text}`."
            )
        return cls(int(found[1]))


IN_PROCESS = Workers(0)


@dataclass(frozen=True)
class Choice:
    """How many processes make the partitions, 0 for none beside this one, and why."""

    processes: int
    reason: str

    def __str__(self) -> str:
        number = "1 process" if self.processes == 1 else f"{self.processes} processes"
        where = number if self.processes else "this process"
        return f"Workers: {where} ({self.reason})"


def choose(workers: Workers, zoo: Zoo, models: Iterable[str], side_by_side: int) -> Choice:
    """What the setting comes to for partitions of these models, of which so many can be made side by side.

    XlwhError where processes are asked for that would share an accelerator.
    """
    if workers.processes == 0:
        return Choice(0, "as asked for")
    if on_accelerator(zoo):
        if workers.processes:
            raise XlwhError(
                f"--workers processes:{workers.processes}: models run on this machine's accelerator, which is one "
                "process's. Use in_process; several accelerators are not shared out yet."
            )
        return Choice(0, "models run on the accelerator")
    if workers.processes:
        number = min(workers.processes, max(1, side_by_side))
        fewer = f"{workers.processes} are asked for, and no step has more partitions to make"
        return Choice(number, "as asked for" if number == workers.processes else fewer)
    cores, sizes = threads.cores(), [size for model in models if (size := zoo.size(model)) is not None]
    if cores == 1:
        return Choice(0, "there is one core")
    if side_by_side < 2:
        return Choice(0, "there is nothing to make side by side")
    small = [size for size in sizes if threads.threads_of(size) == 1]
    if sizes and not small:
        return Choice(0, "its models are large: each uses all cores")
    largest = max((size.parameters for size in small), default=0)
    need, free = _BASE + _PER_PARAMETER * largest, available()
    room = MOST if free is None else free // need
    number = min(cores, room, MOST, side_by_side)
    told = f"{cores} cores, {largest / 1e6:.1f} M parameters at most, {need / 1e9:.1f} GB each"
    if free is not None:
        told += f" of {free / 1e9:.1f} GB that are free"
    if number < 2:
        return Choice(0, told)
    return Choice(number, told)


def on_accelerator(zoo: Zoo) -> bool:
    """Whether models run on another device than the CPU. Imports torch only where there may be one."""
    return any(Path(device).exists() for device in _ACCELERATORS) and zoo.device().type != "cpu"


def available() -> int | None:
    """Bytes of memory that processes may still take; None where the system does not say."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        found.append(limit - int((group / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):
        pass  # another system, no control group, or one without a limit
    return min(found, default=None)
