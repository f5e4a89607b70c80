"""Ctrl-C and SIGTERM as the process got them, whatever becomes of the exception that Python raises.

A library may turn that exception into an error of its own, keep the signal until it has time for it, or drop it: Dagster
does so between two parts of a run. What the system delivered is therefore noted beside it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_STOPS = {signal.SIGINT, signal.SIGTERM}


@dataclass
class _Noted:
    """Where the system notes signals, and whether one of them was a wish to stop."""

    pipe: int | None = None
    stopped: bool = False


_noted = _Noted()


@contextmanager
def watched() -> Iterator[None]:
    """Note signals while the block runs, and end it with KeyboardInterrupt if one asked to stop, however it ended.

    Signals concern the main thread alone: in others, and within another such block, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread() or _noted.pipe is not None:
        yield
        return
    _noted.pipe, end = os.pipe()
    for each in (_noted.pipe, end):
        os.set_blocking(each, False)
    before = signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    try:
        yield
        require_none()
    except BaseException as error:  # libraries of Rust panic with an error that is no Exception
        if isinstance(error, KeyboardInterrupt) or not _asked():
            raise
        raise KeyboardInterrupt from error
    finally:
        signal.set_wakeup_fd(before)
        os.close(end)
        os.close(_noted.pipe)
        _noted.pipe, _noted.stopped = None, False


def require_none() -> None:
    """KeyboardInterrupt where the process was asked to stop since the block of `watched` began."""
    if _asked():
        raise KeyboardInterrupt


def _asked() -> bool:
    if _noted.pipe is not None and not _noted.stopped:
        try:
            _noted.stopped = not _STOPS.isdisjoint(os.read(_noted.pipe, 4096))
        except BlockingIOError:
            return False
    return _noted.stopped
