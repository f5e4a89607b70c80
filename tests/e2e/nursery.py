"""Work in forked children that may be killed at any moment, for programs that have imported what is slow to import.

No thread of torch may have been started before, so that forking is safe.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def rear(
    work: Callable[[], object], seconds: Iterable[float], about: Callable[[], Mapping[str, object]]
) -> None:
    """Do the work once per number in a child that gets SIGKILL after so many seconds (`inf`: never).

    Prints a JSON line per child: whether it was killed, its status, how long it ran, and what `about` tells then.
    """
    for limit in seconds:
        begun = time.perf_counter()
        child = os.fork()
        if child == 0:
            work()
            os._exit(0)
        status = None
        while status is None and time.perf_counter() - begun < limit:
            finished, code = os.waitpid(child, os.WNOHANG)
            status = code if finished else None
            time.sleep(0.001)
        if status is None:
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
        ran = time.perf_counter() - begun
        report = {"killed": os.WIFSIGNALED(status), "status": status, "ran": ran, **about()}
        print(json.dumps(report), flush=True)


def reports(program: Path, root: Path, seconds: Sequence[float]) -> list[dict[str, Any]]:
    """Run a program of this folder that rears children: what it told of each."""
    done = subprocess.run(
        [sys.executable, str(program), str(root), *map(str, seconds)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(program.parents[2])},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(report["status"] in (0, signal.SIGKILL) for report in told), done.stderr
    return told
