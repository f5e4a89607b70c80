"""What every step says of itself: its jobs. How rows are made is a `Whole` or a `Pieced` of the runner.

One module per step defines `STEP`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

import polars as pl

from xlwh.steps.job import Job
from xlwh.steps.planning import Partition

Frames = Mapping[str, pl.DataFrame]
"""Rows by table. Columns that the contract has not are left out, types are cast."""

Stored = Mapping[str, pl.LazyFrame]
"""The rows of a job's files, by table."""


class Definition(ABC):
    """What all steps have. Instances hold nothing: one serves every partition."""

    version: ClassVar[str]
    """Raised where the same inputs and parameters would give other rows."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Packages whose numbers or random streams reach the rows: another version makes them stale."""
    counted: ClassVar[tuple[str, ...]] = ()
    """Tables whose rows a result counts; default: the first one of the step."""
    goes_on: ClassVar[bool] = False
    """Whether what was made decides if there is more to make: `jobs` is asked again after each pass."""

    @abstractmethod
    def jobs(self, partition: Partition) -> Iterable[Job]:
        """Everything that a partition asks for, found without writing anything or loading a model.

        Raises NotApplicable with the reason where it asks for nothing, MissingDataError for an input.
        """

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """What a run says of a job that it has made."""
        return {}

    def judge(self, job: Job, rows: Stored) -> None:  # noqa: B027 - most have nothing to say
        """Raise if what is stored, now or since earlier, must not be used."""
