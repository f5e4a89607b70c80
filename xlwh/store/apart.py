"""A process of its own for decoding bytes that nothing vouches for: a decoder may end its process with them.

Decoders that are given damaged bytes panic, which is an error here, or abort: too large an allocation, or an assertion,
ends the process without a word. Files with a digest are never decoded unless they have it.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import ParamSpec, TypeVar

from xlwh.store.parquet import UnreadableError

P = ParamSpec("P")
R = TypeVar("R")

_PROGRAM = "import sys; from xlwh.store.apart import serve; serve(int(sys.argv[1]))"


class Apart:
    """Calls functions of modules in a process beside this one, and starts another where one ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None
        self._lock = threading.Lock()

    def call(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """The function's result, or its error. UnreadableError where it ends its process."""
        with self._lock:
            line = self._line or self._start()
            try:
                line.send_bytes(pickle.dumps((function, arguments, named)))
                result, error = pickle.loads(line.recv_bytes())
            except (EOFError, OSError):
                code = self._ended()
                how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                raise UnreadableError(f"decoding it ends the process ({how})") from None
            except BaseException:
                # Interrupted: what would come is the answer to another question.
                self.close()
                raise
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        with theirs:
            number = theirs.fileno()
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            command = [sys.executable, "-c", _PROGRAM, str(number)]
            # What a dying decoder prints would be taken for our own words.
            self._process = subprocess.Popen(
                command,
                env=environment,
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._line = ours
        return ours

    def _ended(self) -> int:
        process = self._process
        assert process is not None
        code = process.wait()
        self.close()
        return code

    def close(self) -> None:
        """End the process, if there is one."""
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._line = self._process = None


UNVOUCHED = Apart()
"""For files without a digest, whoever reads them."""

atexit.register(UNVOUCHED.close)


def serve(number: int) -> None:
    """What the process does: answer, until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(number) as line:
        while True:
            try:
                function, arguments, named = pickle.loads(line.recv_bytes())
            except EOFError:
                return
            result, failure = None, None
            try:
                result = function(*arguments, **named)
            except Exception as error:
                failure = error
            line.send_bytes(pickle.dumps((result, failure)))
