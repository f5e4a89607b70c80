"""Solving many pairs on all cores: spawned worker processes that hold nothing but NumPy and POT."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from xlwh.consistency.transport import Float, Problem, solve_chunk
from xlwh.errors import XlwhError

CHUNK = 200
"""Pairs that travel to a worker at once: about a fifth of a second of work with 20 draws."""

_WORTH_IT_S = 10.0
"""Seconds of work from which a pool pays: a worker takes about 2 to start."""
_PER_WORKER_S = 4.0
"""Seconds of work that a worker deserves at least."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def expected_seconds(sizes: Iterable[tuple[int, int]], weightings: int, draws: int) -> float:
    """Rough time to solve pairs of (source units, target units) on one core."""
    return sum((2e-5 + 8e-8 * n_s * n_t) for n_s, n_t in sizes) * weightings * (draws + 2)


def workers_for(seconds: float) -> int:
    """How many processes a job of so many seconds deserves; 1 means none but this one."""
    return min(available_cores(), int(seconds / _PER_WORKER_S)) if seconds > _WORTH_IT_S else 1


def solve_all(problems: Iterable[Problem], draws: int, workers: int) -> Iterator[Float]:
    """`[pairs' weightings, 4]` chunk by chunk, in the order of `problems` (see `transport.solve`).

    Problems are made as workers ask for them: at most three chunks a worker are held at a time.
    """
    chunks = _chunks(problems)
    if workers <= 1:
        for chunk in chunks:
            yield solve_chunk(chunk, draws)
        return
    waiting: deque[Future[Float]] = deque()
    # Spawned, not forked: a fork after torch or faiss has used OpenMP hangs.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(solve_chunk, chunk, draws))
                if len(waiting) >= 3 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise XlwhError(
                "A worker process died while solving pairs, probably for lack of memory. Run again."
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def _chunks(problems: Iterable[Problem]) -> Iterator[Sequence[Problem]]:
    chunk: list[Problem] = []
    for problem in problems:
        chunk.append(problem)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
