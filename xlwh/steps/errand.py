"""What the command's side of a worker keeps, whatever kind it is: its start, and the partition that it is at."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from xlwh.models.zoo import KEEP
from xlwh.steps.base import Key, Progress


class Errand:
    """The common part of `Worker`s."""

    def __init__(self, start: Future[Any], starts: int) -> None:
        """`start` is done when it has loaded its libraries; `starts` were made in its place before."""
        self.starts = starts + 1
        self.models: deque[str] = deque(maxlen=KEEP)
        self._start = start
        self._task: Future[Any] | None = None
        self._key: Key | None = None
        self._report: Progress | None = None

    @property
    @abstractmethod
    def is_dead(self) -> bool:
        """See `Worker.is_dead`."""

    @property
    def awaited(self) -> Future[Any]:
        """See `Worker.awaited`."""
        return self._start if self._task is None else self._task

    @property
    def is_idle(self) -> bool:
        """See `Worker.is_idle`."""
        return not self.is_dead and self._task is None and self._start.done()

    def _take(self, key: Key, report: Progress) -> None:
        """It has started, and is about to make a partition."""
        self.starts = 0
        if key.model is not None:
            with suppress(ValueError):
                self.models.remove(key.model)
            self.models.append(key.model)
        self._key, self._report = key, report

    def _finished(self) -> tuple[Key, Future[Any]] | None:
        """The partition that it was at and what came of it, once; None while it is not done."""
        if self._task is None or not self._task.done():
            return None
        assert self._key is not None
        key, task = self._key, self._task
        self._task = self._key = self._report = None
        return key, task
