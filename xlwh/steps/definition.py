"""What a step is to the runner: its jobs, and how rows are made. One module per step defines `STEP`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from xlwh.steps.job import Job
from xlwh.steps.planning import Partition

if TYPE_CHECKING:
    from xlwh.steps.runner import Work

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


class Whole(Definition):
    """A step whose jobs are made in one piece each."""

    @abstractmethod
    def make(self, work: Work, job: Job) -> Frames:
        """All rows of a job."""


class Pieced(Definition):
    """A step whose jobs consist of many pieces: finished ones survive a kill, and are taken over where they can be."""

    piece: ClassVar[tuple[str, ...]] = ("example_id",)
    """Columns that tell the pieces of work apart; every table of the step has them."""
    at_once: ClassVar[int]
    """Pieces that `make` is given at a time: the bound on memory."""
    apart: ClassVar[str | None] = None
    """Column of which no value is in two chunks, where rows are too large to be sorted: they stay in order of making."""

    @abstractmethod
    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """What there is to do for the jobs of one pass, in order: the columns `piece`, and what `make` needs beside."""

    @abstractmethod
    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """The rows of some pieces for each job, in as many parts as are to survive a kill on their own."""

    def taken_over(self, job: Job, frames: Frames) -> Frames:
        """Rows of an earlier file that stay, with those columns renewed that `which` parameters decide."""
        return frames
