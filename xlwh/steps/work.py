"""What a definition works with, and how its rows are made: whole, or in pieces."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import polars as pl

from xlwh.errors import ModelError
from xlwh.models import LoadedModel
from xlwh.selftest import Capability, Result
from xlwh.selftest.stored import require
from xlwh.steps.context import Context
from xlwh.steps.job import Frames, Job
from xlwh.steps.planning import Definition
from xlwh.store import schema
from xlwh.store.artefacts import Artefact, faults
from xlwh.store.checkpoints import CHECKPOINT, CHECKPOINT_FILES, bring, checkpoint, files_text
from xlwh.store.integrity import require_undamaged
from xlwh.store.reading import StoredFile, bring_files, scan

if TYPE_CHECKING:
    import torch

_SHOWN = 50
"""Rows of a table in a run's metadata."""


class Work:
    """What a definition works with: the inputs that its jobs declare, models, and somebody to tell. No study."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.root = Path(context.warehouse.root)
        """Folder of the warehouse."""
        self.provenance: dict[str, str] = {}
        """More metadata for the files of the job that is being made."""
        self.artefacts: list[Artefact] = []
        """Files beside the tables that belong to the job that is being made."""
        self.kept: dict[Any, Any] = {}
        """What one job may leave to the next of the same run, such as a loaded engine: never what decides rows."""
        self.told: dict[str, object] = {}
        self.examples = 0
        self.share = 1.0
        """Of the pieces of the last pass, how many were made and not there already."""
        self.remarks: list[str] = []
        self._what, self._done, self._total, self._width = "", 0, 0, 0

    def scan(self, job: Job, table: str, **keys: str) -> pl.LazyFrame:
        """The rows of a table among a job's inputs, in the order of its files; `keys` choose partitions and `part`."""
        columns = schema(table)
        chosen = self.files(job, table, **keys)
        if not chosen:
            return pl.LazyFrame(schema=columns)
        return scan(self.root, (file.entry for file in chosen), schema=columns)

    def pieces_of(self, job: Job, table: str, pieces: pl.DataFrame, **keys: str) -> pl.DataFrame:
        """The rows of a table among a job's inputs that belong to some examples, in their order there."""
        ids = pieces.lazy().select("example_id").unique()
        found = self.scan(job, table, **keys).join(ids, on="example_id", how="semi", maintain_order="left")
        return found.collect()

    def files(self, job: Job, table: str, **keys: str) -> list[StoredFile]:
        """The files of a table among a job's inputs. StoreError where one has other bytes than were written."""
        chosen = [
            entry
            for entry in job.inputs
            if entry.slot.table == table
            and all((entry.slot.partition | {"part": entry.slot.part})[k] == v for k, v in keys.items())
        ]
        bring_files(self.root, chosen)
        for entry in chosen:
            require_undamaged(self.root, entry)
        return [StoredFile.of(self.root, entry) for entry in chosen]

    def load(self, job: Job, capability: Capability) -> LoadedModel:
        """The job's model; ModelError where its self-test refuses that, or its files are others by now."""
        assert job.model is not None
        loaded = self._context.zoo.load(job.model.key)
        require(loaded.key, self._context.self_tests.of(loaded), capability)
        return _unchanged(loaded, job.model.pin.identity)

    def trainable(
        self, model: str, identity: Sequence[str], labels: tuple[str, ...], seed: int, head: str
    ) -> LoadedModel:
        """A copy of a model to be trained under a head for `labels`, as `Zoo.load_base` gives it.

        ModelError where its self-test refuses predictions, or its files are others than `identity` says.
        """
        zoo, tests = self._context.zoo, self._context.self_tests
        known = tests.known(zoo.pin(model))
        require(model, tests.of(zoo.load(model)) if known is None else known, "predictions")
        return _unchanged(zoo.load_base(model, len(labels), labels, seed, head), identity)

    def checkpoint(self, model: str, folder: Path) -> Path | None:
        """The folder of a model that was made here, if it is there with the bytes that were committed of it, if any were."""
        known = self._context.warehouse.manifest.artefact(("model", model), folder.name)
        bring(self.root, known)
        if not folder.is_dir():
            return None
        damaged = [] if known is None else list(faults(self.root, known, deep=True))
        if damaged:
            file, (_, how) = damaged[0]
            self.remark(f"{file.file}: {how}; it was made again")
        return None if damaged else folder

    def keep_checkpoint(self, model: str, folder: Path) -> None:
        """Have the folder of a finished checkpoint committed with the rows, which say what is in it."""
        found = checkpoint(self.root, model, folder, self._context.warehouse.hashes)
        self.artefacts.append(found)
        self.provenance |= {CHECKPOINT: folder.name, CHECKPOINT_FILES: files_text(found)}

    def try_out(
        self, model: str, identity: Sequence[str], folder: Path | None
    ) -> tuple[LoadedModel, tuple[Result, ...]]:
        """A model, loaded once as by everything later, and the results of its self-test, repeated where work is forced.

        `folder` is that of a model that was made here: whether its files are those of `identity` is then not asked.
        """
        zoo = self._context.zoo
        loaded = _unchanged(zoo.load(model), identity) if folder is None else zoo.load_made(model, folder)
        return loaded, self._context.self_tests.of(loaded, again=self.force)

    @property
    def force(self) -> bool:
        """Whether everything is made anew, whatever is there."""
        return self._context.force

    def device(self) -> torch.device:
        """Where to compute."""
        return self._context.zoo.device()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A temporary folder beside the tables."""
        with tempfile.TemporaryDirectory(dir=self.root, prefix=".tmp-work-") as folder:
            yield Path(folder)

    def tell(self, name: str, value: object) -> None:
        """Something for the run's metadata."""
        self.told[name] = value

    def count(self, name: str, number: int) -> None:
        """Add to a number in the run's metadata."""
        self.told[name] = cast("int", self.told.get(name, 0)) + number

    def table(self, name: str, rows: pl.DataFrame) -> None:
        """Add to a table in the run's metadata, which holds the first few."""
        before = cast("list[pl.DataFrame]", [self.told[name]] if name in self.told else [])
        self.told[name] = pl.concat([*before, rows]).head(_SHOWN)

    def remark(self, text: str) -> None:
        """Something for whoever reads the result; nothing where it is empty."""
        if text:
            self.remarks.append(text)

    def progress(self, what: str, done: int, total: int) -> None:
        """How far a job is."""
        self._context.progress(what, done, total)

    def within(self, done: int, total: int) -> None:
        """How far `make` is with the pieces that it was given."""
        self._context.progress(
            self._what, self._done + round(self._width * done / max(1, total)), self._total
        )

    def parts(
        self, pieces: pl.DataFrame, size: int
    ) -> Iterator[tuple[pl.DataFrame, Callable[[int, int], None]]]:
        """The pieces that `make` was given, some at a time, each with what tells how far it is with them."""
        for start in range(0, pieces.height, size):
            part = pieces[start : start + size]
            yield part, partial(self._within, start, part.height, pieces.height)

    def _within(self, before: int, width: int, pieces: int, done: int, total: int) -> None:
        self.within(before * total + width * done, pieces * total)

    def at(self, what: str, done: int, total: int, width: int = 0) -> None:
        """The runner's own count; `width` pieces are about to be made."""
        self._what, self._done, self._total, self._width = what, done, total, width
        self._context.progress(what, done, total)


def _unchanged(loaded: LoadedModel, identity: Sequence[str]) -> LoadedModel:
    if loaded.pin.identity != tuple(identity):
        raise ModelError(
            f"Model `{loaded.key}`: its files changed while it was being used. Run the command again."
        )
    return loaded


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

    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """What there is to do for the jobs of one pass, in order: the columns `piece`, and what `make` needs beside.

        By default all examples among their inputs.
        """
        return work.scan(jobs[0], "examples").select(self.piece).collect()

    @abstractmethod
    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """The rows of some pieces for each job, in as many parts as are to survive a kill on their own."""

    def taken_over(self, job: Job, frames: Frames) -> Frames:
        """Rows of an earlier file that stay, with those columns renewed that `which` parameters decide."""
        return frames
