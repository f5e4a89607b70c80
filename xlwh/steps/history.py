"""What work took: a line per job that was made, in a small SQLite file beside the tables.

It serves estimates and nothing else. No fingerprint and no table depends on it, it may be deleted at any time, and where
it cannot be written work goes on.

What a job has to do is counted in a unit of its step's own (`size_of`): the same one before it is made, from the plan,
and afterwards.
"""

from __future__ import annotations

import json
import platform
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from xlwh.errors import ModelError
from xlwh.jsons import parsed, typed
from xlwh.models.pins import shapes
from xlwh.mounts import local_cache
from xlwh.steps.job import Planned
from xlwh.store import Entry
from xlwh.study import Finetune, Scratch

Rows = Callable[[Entry], float]
"""Rows of a stored file, or about how many there will be."""

OVERHEAD = "run"
"""In place of a step's name: what a run took beside its partitions; its size is their number."""

CHECKPOINT = "checkpoint"
"""In place of a table's name: the folder of a model that was made."""

EVALUATED_ROWS = "xlwh.evaluated_rows"
"""Metadata of a file of samples: rows that were evaluated for it."""

_COLUMNS = {
    "made_at": "text",
    "step": "text",
    "name": "text",
    "partition": "text",
    "model": "text",
    "parameters": "integer",
    "device": "text",
    "host": "text",
    "size": "real",
    "seconds": "real",
    "tables": "text",
}


@dataclass(frozen=True)
class Made:
    """What one job took."""

    step: str
    name: str
    """What tells jobs of the step apart whose pace differs, such as an attribution method; see `name_of`."""
    size: float
    """How much there was to do, in the step's unit."""
    seconds: float
    tables: Mapping[str, tuple[int, int]]
    """Table -> (rows, bytes)."""
    partition: str = ""
    model: str | None = None
    parameters: int | None = None
    """Weights of the model outside of its embeddings."""
    device: str = "cpu"
    host: str = ""


class History:
    """The history of one warehouse."""

    def __init__(self, root: Path | str) -> None:
        self._path = local_cache(Path(root)) / "history.sqlite"

    def add(self, made: list[Made]) -> None:
        """Write what jobs took; nothing where that cannot be written."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [
            {**asdict(each), "made_at": now, "host": platform.node(), "tables": json.dumps(each.tables)}
            for each in made
        ]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=5)) as connection, connection:
                columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
                connection.execute(f"create table if not exists jobs ({columns})")
                values = ", ".join(f":{name}" for name in _COLUMNS)
                connection.executemany(f"insert into jobs ({', '.join(_COLUMNS)}) values ({values})", rows)
        except (sqlite3.Error, OSError):
            # Estimates are all that depends on it.
            return

    def of_this_machine(self) -> list[Made]:
        """What jobs took on this machine, on the device that was used last; the last ones first. Writes nothing."""
        if not self._path.is_file():
            return []
        names = [name for name in _COLUMNS if name != "made_at"]
        try:
            where = f"{self._path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(where, uri=True, timeout=5)) as connection:
                connection.text_factory = lambda text: text.decode(errors="replace")
                rows = connection.execute(
                    f"select {', '.join(names)} from jobs where host = ? order by rowid desc limit ?",
                    (platform.node(), _LATEST),
                ).fetchall()
        except sqlite3.Error:
            # A damaged one is passed over: estimates, and the order of work, are all that depends on it.
            return []
        made = [each for row in rows if (each := _made(dict(zip(names, row, strict=True)))) is not None]
        device = next((each.device for each in made if each.model is not None), None)
        return [each for each in made if each.model is None or each.device == device]


_LATEST = 50_000
"""Jobs that are looked at."""
_Number = Annotated[int, Field(ge=0, lt=2**63)]


def _counted(size: float) -> float:
    if not (size == 0 or 1e-6 <= size <= 1e15):
        raise ValueError("no size of a job")
    return size


class _Row(BaseModel):
    """What one row holds, where it is one that was written here."""

    step: str
    name: str
    partition: str
    model: str | None
    parameters: _Number | None
    device: str
    host: str
    size: Annotated[float, AfterValidator(_counted)]
    seconds: Annotated[float, Field(ge=0, le=1e10)]
    tables: dict[str, tuple[_Number, _Number]]


def _made(row: Mapping[str, object]) -> Made | None:
    """What a row says; None where it says something else than was written here."""
    try:
        told: _Row = typed(_Row, {**row, "tables": parsed(str(row["tables"]))})
    # SQLite keeps whatever is put into a column, bytes too.
    except (ValueError, TypeError):
        return None
    return Made(**dict(told))


def name_of(planned: Planned) -> str:
    """What tells jobs of a step apart whose pace differs: a method, a sampler, or whether a model is made or only loaded."""
    params, step = planned.job.params, planned.step
    if step in ("attributions", "attribution_probes"):
        return str(params.method.name)
    if step in ("perturbations", "head_samples"):
        return str(params.method if step == "perturbations" else params.name)
    if step == "models":
        return "loaded" if params.making is None else type(params.making).__name__.lower()
    if step == "parallelism":
        # All rows of the files are compared, whatever is kept of them.
        return planned.job.name
    if step in ("lexicon", "word_vectors"):
        return type(params.made_from if step == "lexicon" else params).__name__.strip("_").lower()
    return ""


def size_of(planned: Planned, rows: Rows) -> float:
    """How much a job has to do, in the unit of its step.

    Examples, as far as settings limit them; of files of the user's, bytes; of a comparison, languages; of a training, examples times epochs; of samples of heads, evaluated rows
    (a whole sampler, not a round); of concepts, vectors times clusters, seeds and starts; else rows of what is read.
    """
    job, params = planned.job, planned.job.params

    def of(table: str) -> float:
        return sum(rows(entry) for entry in job.inputs if entry.slot.table == table)

    if planned.step == "models":
        recipe = getattr(getattr(params, "making", None), "recipe", None)
        if isinstance(recipe, Finetune):
            trained = [e for e in job.reads if e.slot.keys[0] == recipe.dataset]
            return recipe.epochs * sum(map(rows, trained))
        if isinstance(getattr(getattr(params, "making", None), "scratch", None), Scratch):
            return max(1.0, of("examples"))
        return 1.0
    if planned.step == "examples":
        return float(sum(document.path.stat().st_size for document in job.tools.documents))
    if planned.step == "parallelism":
        return float(len(params.languages))
    if planned.step == "head_samples":
        return float(max(0, params.sampler.max_rows - params.done))
    if planned.step == "concepts":
        return float(of("activations") * params.clusters * len(params.seeds) * params.restarts)
    if planned.step == "attributions":
        examples = sum(rows(entry) for entry in job.reads if entry.slot.table == "examples")
        limits = [each.limit for each in params.choice.by]
        return float(sum(_limited(examples, limit) for limit in limits) * (params.choice.words or 1))
    if planned.step == "pruning_evaluations":
        evaluated = [
            e for e in job.reads if e.slot.table == "examples" and e.slot.keys[0] == params.evaluated
        ]
        return _limited(sum(map(rows, evaluated)), params.settings.max_evaluated)
    if planned.step == "ccta_pairs":
        # Every source is compared with the language.
        slots = [e for e in job.reads if e.slot.table == "predictions"]
        language = job.slots["ccta_pairs"].partition["target_language"]
        own = sum(rows(e) for e in slots if e.slot.partition["language"] == language)
        return _limited(own, params.max_examples) * len(params.sources)
    if planned.step == "word_vectors" and not job.reads:
        path, _ = job.tools
        return float(path.stat().st_size)
    read = of("examples") or sum(map(rows, job.inputs)) or 1.0
    return _limited(read, getattr(params, "shown", None) or getattr(params, "max_examples", None))


def _limited(rows: float, limit: int | None) -> float:
    return rows if limit is None else min(rows, limit)


@lru_cache(maxsize=256)
def parameters(folder: Path) -> int | None:
    """Weights of a checkpoint outside of its embeddings, by which its pace is compared; None where that cannot be told."""
    try:
        found = shapes(folder.name, folder)
    except (ModelError, OSError):
        return None
    total = 0
    for name, shape in found.items():
        size = 1
        for width in shape:
            size *= width
        total += 0 if "embed" in name or name.startswith("shared") else size
    return total
