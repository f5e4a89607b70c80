"""Metrics that are functions of one's own: registered by an entry point, computed with Polars, shown as views.

    [project.entry-points."xlwh.metrics"]
    surprise = "my_package.metrics:surprise"

    def surprise(warehouse: xlwh.Warehouse) -> pl.LazyFrame:
        "Mean negative log probability of the gold label, by model and language."
        ...

The entry point's name becomes the view's, the docstring its description. The result is kept as a Parquet file under
`metrics/`, named by its content, so that a reader of an earlier catalogue can finish. It says itself what function it is
of: in an object store nothing else does, since a file that tells it of all would be changed by several machines at once.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import EntryPoint, entry_points
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from xlwh.errors import SqlError, StoreError
from xlwh.jsons import parsed, read_object
from xlwh.store.addresses import paths
from xlwh.store.artefacts import Artefact, own_files
from xlwh.store.files import RESULTS, make_folder, path_beside, publish, write_whole
from xlwh.store.objects import Objects, behind
from xlwh.store.parquet import metadata_of
from xlwh.store.views import METRICS, View

GROUP = "xlwh.metrics"
FOLDER = METRICS
"""Folder in a warehouse with the results."""
CURRENT = "current.json"
_TOLD = ("file", "function", "description")
"""What it says of each result."""
_FUNCTION, _DESCRIPTION = "xlwh.metric.function", "xlwh.metric.description"
"""What the metadata of a result's file say."""

Metric = Callable[[Any], pl.DataFrame | pl.LazyFrame]
"""A function of an `xlwh.Warehouse`."""


def registered() -> dict[str, EntryPoint]:
    """The metrics that installed packages bring along, by name. None of them is imported."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", entry.name):
            raise SqlError(f"Metric `{entry.name}` ({entry.value}): use lower-case letters, digits and _.")
        if entry.name in found:
            raise SqlError(
                f"Metric `{entry.name}` comes from {found[entry.name].value} and from {entry.value}."
            )
        found[entry.name] = entry
    return found


def compute(root: Path, warehouse: object) -> dict[str, Path]:
    """Compute every registered metric of the `Warehouse` at `root`; results of metrics that are gone go. Name -> file.

    Raises `SqlError` naming the function that fails, or that returns no frame; what was there before stays.
    """
    entries = registered()
    folder = root / FOLDER
    if not entries and not folder.is_dir():
        return {}
    make_folder(folder)
    made = {name: _computed(warehouse, folder, name, entry) for name, entry in entries.items()}
    write_current(root, made)
    return {name: folder / metric["file"] for name, metric in made.items()}


def bring(root: Path, artefacts: Collection[Artefact]) -> None:
    """Have the results and the SQL of one's own here that are current, where an object store has the files of a warehouse."""
    objects = behind(root)
    if objects is None:
        return
    objects.bring_own(own_files(artefacts))
    files = {each.name: root / each.files[0].file for each in artefacts if each.kind == "metric"}
    said = {name: metadata_of(file) or {} for name, file in files.items()}
    # Files that an earlier version wrote say nothing of themselves; an object did of all.
    former = _former(objects) if any(_FUNCTION not in each for each in said.values()) else {}
    found = {
        name: {
            "file": file.name,
            "function": said[name].get(_FUNCTION) or former.get(file.name, ("", ""))[0],
            "description": said[name].get(_DESCRIPTION) or former.get(file.name, ("", ""))[1],
        }
        for name, file in files.items()
    }
    path = root / FOLDER / CURRENT
    if not found:
        path.unlink(missing_ok=True)
    elif not path.is_file() or path.read_bytes() != _text(found):
        write_current(root, found)


def _former(objects: Objects) -> dict[str, tuple[str, str]]:
    """Function and description of each result, by its file, as an earlier version of xlwh wrote them."""
    try:
        found = parsed((objects.bucket.read(RESULTS) or b"{}").decode())
    except ValueError:
        return {}
    told = found.values() if isinstance(found, dict) else ()
    return {each["file"]: (each["function"], each["description"]) for each in told if is_told(each)}


def current(root: Path) -> dict[str, Mapping[str, str]]:
    """File, function and description of each result that is there, by the metric's name."""
    path = root / FOLDER / CURRENT
    if not path.is_file():
        return {}
    then = "Remove it: `xlwh materialize` computes the metrics of installed packages again."
    found = read_object(path, StoreError, then=then)
    for name, metric in found.items():
        if not is_told(metric):
            raise StoreError(f"{path} does not say what `{name}` is. {then}")
    return found


def is_told(metric: object) -> bool:
    """Whether this can be what is said of one result."""
    return isinstance(metric, dict) and all(isinstance(metric.get(key), str) for key in _TOLD)


def write_current(root: Path, results: Mapping[str, Mapping[str, str]]) -> None:
    """Make these the results that are shown; their files are there."""
    write_whole(root / FOLDER / CURRENT, _text(results))


def _text(results: Mapping[str, Mapping[str, str]]) -> bytes:
    return (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode()


def _computed(warehouse: object, folder: Path, name: str, entry: EntryPoint) -> dict[str, str]:
    try:
        metric: Metric = entry.load()
        frame = metric(warehouse)
        frame = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    except Exception as error:  # it is somebody else's code: whatever it raises is told with its name
        raise SqlError(f"Metric `{name}` ({entry.value}) failed: {type(error).__name__}: {error}") from error
    if not isinstance(frame, pl.DataFrame):
        raise SqlError(
            f"Metric `{name}` ({entry.value}) returned {type(frame).__name__}, not a Polars frame."
        )
    content, description = BytesIO(), " ".join((inspect.getdoc(metric) or "").split())
    frame.write_parquet(content, metadata={_FUNCTION: entry.value, _DESCRIPTION: description})
    file = folder / f"{name}-{hashlib.sha256(content.getvalue()).hexdigest()[:16]}.parquet"
    if not file.is_file() or file.read_bytes() != content.getvalue():
        unfinished = path_beside(file)
        unfinished.write_bytes(content.getvalue())
        publish(unfinished, file, final=True)
    return {
        "file": file.name,
        "function": entry.value,
        "description": description,
    }


def views(root: Path) -> dict[str, View]:
    """The views over the results that are there, by name."""
    found: dict[str, View] = {}
    for name, metric in current(root).items():
        file = root / FOLDER / metric["file"]
        # Polars' statistics leave NaN out, and a filter would skip rows by them.
        sql = f"select * from read_parquet({paths([f'{FOLDER}/{file.name}'])}, can_have_nan = true)"
        found[name] = View(
            name, FOLDER, file, sql, metric["description"], (), metric["function"], columns={}, depends_on=()
        )
    return found
