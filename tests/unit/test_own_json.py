"""JSON that xlwh writes and reads again: whatever became of it, it is an error that says so, or made anew.

Each reader is given its own content with every part of it exchanged, taken out, cut, nested beyond measure, or in
another coding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xlwh.errors import XlwhError
from xlwh.heads.export import read_mask
from xlwh.models import training_record
from xlwh.models.made import training_columns
from xlwh.selftest.items import ITEMS, Result
from xlwh.selftest.stored import SelfTests
from xlwh.sources.mirror import Mirror
from xlwh.steps.job import RECIPE, recipe_of
from xlwh.store import Slot, kept, metrics, staging
from xlwh.store.claims import FileClaims
from xlwh.store.connect import KEPT

OTHERS: tuple[Any, ...] = (None, True, -1, 10**400, 1e300, float("nan"), "", "x\0", [], [[]], {}, {"x": 1})


def exchanged(value: Any) -> Iterator[Any]:
    """The value with one part of it, however deep, another one, or gone."""
    yield from OTHERS
    if isinstance(value, dict):
        for name, part in value.items():
            yield {key: each for key, each in value.items() if key != name}
            yield {**{key: each for key, each in value.items() if key != name}, f"{name}x": part}
            yield from ({**value, name: other} for other in exchanged(part))
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield [*value[:place], *value[place + 1 :]]
            yield from ([*value[:place], other, *value[place + 1 :]] for other in exchanged(part))


def contents(value: Any) -> Iterator[bytes]:
    """What a file that held the value may hold."""
    text = json.dumps(value)
    for other in exchanged(value):
        yield json.dumps(other).encode()
    yield from (text[:length].encode() for length in range(0, len(text), max(1, len(text) // 40)))
    for mark in ("[", '{"a":'):
        yield (mark * 100_000).encode()
    yield from (text.encode("utf-16"), text.encode() + b"\xff", b"\0" * 40, b"9" * 10_000, text.encode() * 2)


TRAINING = {
    "model": "m", "recipe": {"dataset": "d", "languages": ["en"], "seed": 1, "epochs": 2.0}, "train_examples": 3,
    "train_steps": 4, "best_step": 2, "dev_score": 0.5, "duration_s": 1.5, "stopped_early": False,
}  # fmt: skip
RESULTS = [Result(each.name, each.capability, "passed", 1e-7, 1e-4, "").row() for each in ITEMS]


def _staging(path: Path) -> object:
    return list(staging.abandoned(path.parents[2], FileClaims(path.parents[2])))


def _kept(path: Path) -> object:
    found = kept.columns_of(path.parents[2], SimpleNamespace(folder=lambda name: path.parent.name), "v")  # type: ignore[arg-type]
    return None if found is None else [f"{each.name} " + f"{each.type} {each.stored}" for each in found]


def _self_test(path: Path) -> object:
    class Here(SelfTests):
        def _file(self, pin: object) -> Path:
            return path

    known = Here(None, None).known(None)  # type: ignore[arg-type]
    return (
        None
        if known is None
        else [f"{each.item}{each.capability}{each.deviation or 0:.3f}" for each in known]
    )


def _training(path: Path) -> object:
    record = training_record.read_training(path.parent)
    return training_columns(
        record
    ), f"{record['dev_score']:.3f} {record['best_step']:,} {record['stopped_early']}"


def _recipe(path: Path) -> object:
    try:
        found = recipe_of({RECIPE: path.read_text(encoding="utf-8", errors="replace")})
    except ValueError as error:
        raise XlwhError(str(error)) from None
    return found.model_dump()


READERS: dict[str, tuple[str, Any, Callable[[Path], object]]] = {
    "slots of staged work": ("staging/0123/slots.json", {"slots": [str(Slot("tokens", ("m", "en"), "nli")), str(Slot("examples", ("nli", "en"), "dev"))], "fingerprint": "f"}, _staging),
    "columns of kept rows": (f"{KEPT}/v/columns.json", [["a", "BIGINT", "BIGINT"], ["b", "HUGEINT", "VARCHAR"]], _kept),
    "results of metrics": (
        "metrics/current.json",
        {"m": {"file": "m-1.parquet", "function": "p:f", "description": "D."}},
        lambda path: metrics.current(path.parents[1]),
    ),
    "results of self-tests": ("cache/self-tests/x.json", RESULTS, _self_test),
    "record of a training": ("models/m/training.json", TRAINING, _training),
    "mask of heads": ("pruned/mask.json", {"removed_heads": {"0": [1, 2], "3": [0]}}, lambda path: read_mask(path.read_text(errors="replace"))),
    "list of a mirror": (
        "mirror/mirror.json",
        {"version": 1, "files": {"a": {"bytes": 1, "sha256": "0" * 64}}},
        lambda path: Mirror(str(path.parent)).below(""),
    ),
    "recipe of a file": (
        "recipe",
        {"step": "s", "version": "1", "contracts": {"t": 1}, "libraries": {"polars": "2"}, "params": {"a": [1]},
         "model": ["w", {}], "inputs": ["a b"], "files": ["a b"]},
        _recipe,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_json_of_our_own_that_was_changed(name, tmp_path):
    place, value, read = READERS[name]
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    sound, refused, other = read(path), 0, 0
    for content in contents(value):
        path.write_bytes(content)
        try:
            other += read(path) != sound
        except XlwhError:
            refused += 1
    # What can be made anew is not there.
    assert refused > 20 or (other > 20 and name in ("columns of kept rows", "results of self-tests"))
