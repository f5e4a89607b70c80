"""How many threads compute with a model: one for a small model, all for a large one, wherever it runs.

The number of threads decides in which order sums are taken, and so the last bits of what is stored, and after some
steps of training every bit. It must therefore follow from the model and the machine alone, not from how many processes
share the work. Small models are no faster with more threads: other partitions are what keeps other cores busy.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from xlwh.models.sizes import Size

SMALL = 30_000_000
"""Parameters outside word embeddings up to which one thread is as good as two (measured: 21 M no gain, 86 M up to 1.9)."""
VARIABLE = "XLWH_THREADS"
"""Environment variable: threads that compute with a large model; by default OMP_NUM_THREADS, or one per core."""
_LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def cores() -> int:
    """Cores that this process may use: those that it is bound to, or fewer where its control group has less time."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):
        return allowed  # no such group, or `max`


def threads_of(size: Size | None) -> int:
    """Threads that compute with a model of this size; None: without a model."""
    # Read once and kept in the environment: `limit` sets OMP_NUM_THREADS, and worker processes are to find the same.
    asked = os.environ.setdefault(VARIABLE, os.environ.get("OMP_NUM_THREADS") or str(cores()))
    return 1 if size is None or size.layers <= SMALL else max(1, int(asked))


def limit(number: int) -> None:
    """Let every library of this process compute with that many threads, also those that are loaded later."""
    global _limit
    if number == _limit:
        return
    from threadpoolctl import threadpool_limits

    for name in _LIBRARIES:
        os.environ[name] = str(number)
    threadpool_limits(number)
    if (torch := sys.modules.get("torch")) is not None:
        # It would else take the number that it found when it was loaded, at its first parallel region.
        torch.set_num_threads(number)
    _limit = number


_limit: int | None = None
"""What this process was limited to last. Threads are the process's, whoever asks."""
