"""Where partitions are made: what `--workers` says, and what `auto` chooses.

Processes help where several cores are there and a model is so small that more threads do not make it faster; they must
fit into memory, each with models of its own. One accelerator is one process's. On a cluster Ray finds the places.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xlwh.errors import XlwhError
from xlwh.models import Zoo, devices, threads

if TYPE_CHECKING:
    from xlwh.steps.crew import Crew
    from xlwh.study import Study

VARIABLE = "XLWH_WORKERS"
"""Environment variable with the setting, for whatever starts runs by itself."""
MOST = 8
"""Processes that `auto` starts at most: with more, how long they wait for the manifest has not been measured."""
_MOST_ACTORS = 1000
"""Actors that Ray is asked for at most; it starts as many as it finds, or makes, room for."""
_BASE = 1_500_000_000
"""Bytes of a worker process beside its models, at the peak (measured on the demo: 1.3 GB, in clustering)."""
_PER_PARAMETER = 28
"""Bytes a parameter of the largest model: kept loaded (three models of 4), trained (weights, gradients, two moments)."""
_PROCESSES = re.compile(r"processes:([1-9][0-9]{0,2})")


@dataclass(frozen=True)
class Workers:
    """The setting: a number of processes, 0 for none beside this one, None for `auto`; or a Ray cluster."""

    processes: int | None
    ray: str | None = None
    """Address of a Ray cluster, empty for one that is started here; None for none."""

    @classmethod
    def parse(cls, text: str) -> Workers:
        """`auto`, `in_process`, `processes:N`, `ray` or `ray:ADDRESS`; XlwhError for anything else."""
        if text in ("auto", "in_process"):
            return cls(None if text == "auto" else 0)
        kind, colon, address = text.partition(":")
        if kind == "ray" and bool(address.strip()) == bool(colon):
            # Ray's own variable for the cluster that is meant where none is named.
            return cls(None, address.strip() or os.environ.get("RAY_ADDRESS", ""))
        if (found := _PROCESSES.fullmatch(text)) is None:
            raise XlwhError(
                f"--workers (or {VARIABLE}) is in_process, processes:N, ray, ray:ADDRESS or auto, with N from 1 to 999, "
                f"not `{text}`."
            )
        return cls(int(found[1]))


IN_PROCESS = Workers(0)


@dataclass(frozen=True)
class Choice:
    """How many workers make the partitions, 0 for none beside this process, of which kind, and why."""

    number: int
    reason: str
    devices: tuple[str, ...] = ()
    """Accelerators that processes have, one each."""
    ray: str | None = None
    """Address of the Ray cluster that they are on, empty for one of this machine; None where they are processes."""
    cores: int = 1
    """Cores that a worker on the cluster takes."""

    def __str__(self) -> str:
        if self.ray is not None:
            where = f"on the Ray cluster at {self.ray}" if self.ray else "on a Ray cluster of this machine"
            return f"Workers: {where} ({self.reason})"
        each = ", an accelerator each" if self.devices else ""
        number = ("1 process" if self.number == 1 else f"{self.number} processes") + each
        return f"Workers: {number if self.number else 'this process'} ({self.reason})"

    def hire(self, study: Study, root: Path) -> Crew | None:
        """Start the workers; None for none beside this process."""
        if not self.number:
            return None
        from xlwh.steps.crew import Crew, Kind

        kind: Kind
        if self.ray is None:
            from xlwh.steps.processes import Processes

            kind = Processes(study, root, self.devices)
        else:
            from xlwh.steps.cluster import Cluster

            kind = Cluster(study, root, self.ray, self.cores)
        return Crew(study, root, kind, self.number)


def choose(workers: Workers, zoo: Zoo, models: Iterable[str], side_by_side: int) -> Choice:
    """What the setting comes to for partitions of these models, of which so many can be made side by side.

    XlwhError where more processes are asked for than there are accelerators.
    """
    models = list(models)
    if workers.ray is not None:
        cores = max((threads.threads_of(zoo.size(model)) for model in models), default=1)
        return Choice(min(side_by_side, _MOST_ACTORS), "as asked for", ray=workers.ray, cores=cores)
    if workers.processes == 0:
        return Choice(0, "as asked for")
    if (found := accelerators(zoo)) is not None:
        return _on_accelerators(workers, zoo, found, side_by_side)
    if workers.processes:
        number = min(workers.processes, max(1, side_by_side))
        return Choice(number, _asked(workers.processes, number))
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


def _on_accelerators(workers: Workers, zoo: Zoo, found: Sequence[str], side_by_side: int) -> Choice:
    if workers.processes is not None and workers.processes > len(found):
        raise XlwhError(
            f"--workers processes:{workers.processes}: models run on accelerators, of which there "
            f"{'is' if len(found) == 1 else 'are'} {len(found)} here, and one is one process's. Use "
            f"{'in_process' if len(found) == 1 else f'processes:{len(found)}'}."
        )
    number = min(workers.processes or len(found), max(1, side_by_side))
    if workers.processes is None and number < 2:
        return Choice(0, f"models run on the accelerator {zoo.devices()[0]}")
    reason = _asked(workers.processes, number) if workers.processes else f"{len(found)} accelerators"
    return Choice(number, reason, tuple(found[:number]))


def take_turns(workers: Workers) -> bool:
    """Whether runs with this setting would share an accelerator of this machine: then they take turns at it."""
    return workers.ray is None and devices.may_be_there() and devices.chosen() != (devices.CPU,)


def _asked(asked: int, number: int) -> str:
    fewer = f"{asked} are asked for, and no step has more partitions to make"
    return "as asked for" if number == asked else fewer


def accelerators(zoo: Zoo) -> list[str] | None:
    """Names of the accelerators that models run on, as processes are told of them; None where they run on the CPU.

    Imports torch only where there may be one. XlwhError where one is asked for that is absent.
    """
    if devices.Devices.asked().kind != "cuda" and not devices.may_be_there():
        return None
    found = zoo.devices()
    return None if found == (devices.CPU,) else [devices.visible_as(device) for device in found]


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
