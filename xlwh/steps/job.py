"""What is written in one commit, and all that it depends on.

A job's fingerprint is that of its recipe: the step and its version, the contracts of all tables that it writes, the
libraries whose numbers reach its rows, its parameters, its model and its inputs. Whoever makes the rows sees the job
and no study, so nothing else can reach them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, cast

import polars as pl
from pydantic import BaseModel

from xlwh.errors import StoreError, StudyError
from xlwh.jsons import parsed, typed
from xlwh.models.pins import Pin
from xlwh.store import Entry, Slot
from xlwh.store.slots import contract
from xlwh.study import Study
from xlwh.study.base import CUT

RECIPE = "xlwh.recipe"
"""Metadata of a file: what it was made from, as JSON."""
ROWS = "xlwh.rows_fingerprint"
"""Metadata of a file: fingerprint of what each of its rows depends on."""

Frames = Mapping[str, pl.DataFrame]
"""Rows by table. Columns that the contract has not are left out, types are cast."""

Stored = Mapping[str, pl.LazyFrame]
"""The rows of a job's files, by table."""

P = TypeVar("P", bound=BaseModel)


class Recipe(BaseModel):
    """What a file was made from, as it says itself (see `Planned.recipe`)."""

    step: str
    version: str
    contracts: dict[str, int]
    libraries: dict[str, str]
    params: dict[str, Any]
    model: list[Any] | None
    inputs: list[str]
    files: list[str]


def recipe_of(metadata: Mapping[str, str]) -> Recipe | None:
    """What a file was made from, by its metadata; None where an earlier version wrote it.

    ValueError where it says something else than xlwh writes.
    """
    if RECIPE not in metadata:
        return None
    recipe: Recipe = typed(Recipe, parsed(metadata[RECIPE]))
    return recipe


_PACKAGES = {"faiss": ("faiss-cpu", "faiss-gpu")}
"""Libraries that come as one of several packages, which give the same numbers."""

_ROLE = "role"
_WHICH = "which"


def which(default: Any = MISSING) -> Any:
    """A parameter that decides which rows there are, or a flag beside them, not what else a row holds.

    It is in the fingerprint, but rows that were made under another value of it are taken over.
    """
    return _field(_WHICH, default)


def cut(default: Any = MISSING) -> Any:
    """A parameter that decides how work is cut, and no row: it is not in the fingerprint."""
    return _field(CUT, default)


def _field(role: str, default: Any) -> Any:
    return field(default=default, metadata={_ROLE: role})


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A model as a job uses it: its identity, and the options that reach the rows."""

    key: str
    pin: Pin
    options: Mapping[str, object]
    """Option of the study's `Model` -> value; `make` is to use no other."""
    only_tokens: bool = False
    """Whether weights do not matter."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Content hashes."""
        return self.pin.token_identity if self.only_tokens else self.pin.identity


@dataclass(frozen=True, slots=True)
class Job:
    """What is written in one commit, and all that it depends on."""

    slots: Mapping[str, Slot]
    """Table -> the file of it that is written."""
    params: Any = None
    """A frozen dataclass: every setting that reaches the rows; see `which` and `cut`."""
    reads: tuple[Entry, ...] = ()
    """Stored files that rows are made from."""
    model: ModelUse | None = None
    files: tuple[str, ...] = ()
    """Identities of files outside the warehouse, and of code of the user's own: a name and a content hash each."""
    folder: Path | None = None
    """A folder beside the tables that is made with them, such as a checkpoint: where it is gone, nothing is fresh."""
    name: str = ""
    """What tells it from others of its pass, such as a method."""
    together: str = ""
    """Jobs of the same pass are made at once; also what progress is shown under."""
    tools: Any = None
    """Objects that stand for `params` and `files` (a reader, a method's function): no settings of their own."""
    minutes: float | None = None
    """Of steps that go on: time after which no further job of the pass is begun."""
    chosen_by: tuple[Entry, ...] = ()
    """Stored files that only decide which rows there are; see `which`."""
    libraries: tuple[str, ...] = ()
    """Those that this job depends on beside the ones of its step."""

    @property
    def inputs(self) -> tuple[Entry, ...]:
        """All stored files that it depends on."""
        return (*self.reads, *self.chosen_by)


@dataclass(slots=True)
class Planned:
    """A job of a step, with its fingerprint."""

    job: Job
    step: str
    version: str
    libraries: tuple[str, ...]
    _fingerprint: str = field(default="", init=False, repr=False, compare=False)

    @property
    def folder(self) -> Path | None:
        """See `Job.folder`."""
        return self.job.folder

    @property
    def recipe(self) -> dict[str, Any]:
        """All that the rows depend on, as JSON values: what a fingerprint is taken of."""
        return self._recipe(frozenset({CUT}))

    @property
    def fingerprint(self) -> str:
        """32 hex digits (blake2b over the recipe's canonical JSON)."""
        # Kept, unlike the recipe, which is a hundred times as large.
        self._fingerprint = self._fingerprint or digest(self.recipe)
        return self._fingerprint

    @property
    def rows_fingerprint(self) -> str:
        """Of what each row depends on, whatever other rows there are."""
        return digest(self._recipe(frozenset({CUT, _WHICH})))

    def _recipe(self, without: frozenset[str]) -> dict[str, Any]:
        job = self.job
        inputs = job.reads if _WHICH in without else job.inputs
        return {
            "step": self.step,
            "version": self.version,
            "contracts": {table: contract(table).version for table in job.slots},
            "libraries": {name: library_version(name) for name in (*self.libraries, *job.libraries)},
            "params": {} if job.params is None else plain(job.params, without),
            "model": None
            if job.model is None
            else [*job.model.identity, plain(job.model.options, frozenset())],
            "inputs": sorted(f"{entry.slot} {entry.fingerprint}" for entry in inputs),
            "files": sorted(job.files),
        }


def options(job: Job) -> Mapping[str, Any]:
    """The options of a job's model."""
    assert job.model is not None
    return job.model.options


def options_of(job: Job, part: type[P]) -> P:
    """Those options of a job's model that a part of the study's models has; others as they are by default."""
    known = {name: value for name, value in options(job).items() if name in part.model_fields}
    return part.model_validate(known)


def digest(recipe: Mapping[str, Any]) -> str:
    """32 hex digits of JSON values; the order of keys does not matter."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@cache
def library_version(name: str) -> str:
    """Major and minor version: a patch release is taken to give the same numbers. StudyError if it is not installed."""
    packages = _PACKAGES.get(name, (name,))
    for package in packages:
        try:
            return ".".join(metadata.version(package).partition("+")[0].split(".")[:2])
        except metadata.PackageNotFoundError:
            continue
    raise StudyError(f"The study's settings need {name}, which is not installed: pip install {packages[0]}")


def plain(value: Any, without: frozenset[str]) -> Any:
    """Parameters as JSON values, without those of some roles; StoreError for what has no lasting text."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, BaseModel):
        left_out = _left_out(type(value), without)
        return {name: plain(each, without) for name, each in value if name not in left_out}
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name), without) for name in _kept(type(value), without)}
    if isinstance(value, Mapping):
        return {str(key): plain(each, without) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, without) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(cast("list[str]", [plain(each, without) for each in value]))
    raise StoreError(f"Parameters cannot be fingerprinted: {type(value).__name__} has no lasting text.")


@cache
def _left_out(part: type[BaseModel], without: frozenset[str]) -> frozenset[str]:
    """The settings of a part of the study that have one of some roles."""
    return frozenset(
        name
        for name, info in part.model_fields.items()
        if any(mark in without for mark in info.metadata if isinstance(mark, str))
    )


@cache
def _kept(params: type, without: frozenset[str]) -> tuple[str, ...]:
    """The parameters of a dataclass that have none of some roles."""
    return tuple(each.name for each in fields(params) if each.metadata.get(_ROLE) not in without)


def options_of_model(study: Study, model: str, names: Iterable[str]) -> dict[str, object]:
    """Some options of a model of a study; see `Partition.options`."""
    spec = study.models[model]
    chosen = {name: _json(getattr(spec, name)) for name in names}
    if "labels" in chosen and spec.labels is None and spec.weights_of is not None:
        chosen["labels"] = _json(study.models[spec.weights_of].labels)
    return chosen


def _json(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
