"""The self-test of each model: run once per weights, kept beside the warehouse's tables, asked by every step.

The examples that a model is tried on are those of its datasets that are there when it is first tried; other ones later
are no reason to try it again. What was found is kept per identity of the model (weights, tokenizer, configuration),
number format and versions of what computes, so that variants of the same weights and further runs find it there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from xlwh.errors import ModelError
from xlwh.selftest import VERSION, Capability, Result, capability_of, refusal
from xlwh.store import Slot

if TYPE_CHECKING:
    from xlwh.models.loaded import LoadedModel
    from xlwh.models.pins import Pin
    from xlwh.steps.context import Context
    from xlwh.steps.planning import Partition
    from xlwh.study import Study

LANGUAGES = 4
"""Languages of which an example is taken at most."""
OFFERED = 2_000
"""Examples of a language among which one is chosen."""


@cache
def tested_with() -> str:
    """What a result depends on beside the model: the items and the versions of the libraries that compute."""
    versions = (f"{name} {metadata.version(name).partition('+')[0]}" for name in ("torch", "transformers"))
    return f"self-test {VERSION}, {', '.join(versions)}"


def results_of(context: Context, loaded: LoadedModel, again: bool = False) -> tuple[Result, ...]:
    """The results of a model's self-test, which is run unless it was; `again` runs it in any case."""
    file = _file(context.study, context.warehouse.root, loaded.pin)
    known = None if again else _read(file)
    if known is not None:
        return known
    from xlwh.selftest.checks import self_test
    from xlwh.selftest.texts import chosen

    found = self_test(loaded, chosen(_examples(context, loaded.key), loaded.task))
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    unfinished.write_text(json.dumps([result.row() for result in found]), encoding="utf-8")
    unfinished.replace(file)
    return found


def require(context: Context, loaded: LoadedModel, capability: Capability) -> None:
    """ModelError that names the failed items if a model may not be used for something."""
    reason = refusal(loaded.key, results_of(context, loaded), capability)
    if reason is not None:
        raise ModelError(reason)


def load(context: Context, model: str, capability: Capability) -> LoadedModel:
    """A model that is to be used for something; ModelError by name where its self-test refuses that."""
    loaded = context.zoo.load(model)
    require(context, loaded, capability)
    return loaded


def require_base(context: Context, base: str) -> None:
    """ModelError by name where a model may not be trained further: its training would rest on other outputs than its own."""
    known = _read(_file(context.study, context.warehouse.root, context.zoo.pin(base)))
    reason = refusal(
        base, results_of(context, context.zoo.load(base)) if known is None else known, "predictions"
    )
    if reason is not None:
        raise ModelError(reason)


def was_tested(context: Context, model: str) -> bool:
    """Whether the results of a model's self-test are there."""
    return _read(_file(context.study, context.warehouse.root, context.zoo.pin(model))) is not None


def allowed(partition: Partition, model: str, methods: Iterable[str]) -> list[str]:
    """The attribution methods that a model is not refused; the partition's results name the others.

    ModelError with the reasons if all are refused. A model that was never tried is refused nothing yet: the runner
    tries it before it makes anything.
    """
    asked = list(methods)
    known = _read(_file(partition.study, partition.root, partition.pin(model))) or ()
    reasons = {method: refusal(model, known, capability_of(method)) for method in asked}
    refused = {method: reason for method, reason in reasons.items() if reason is not None}
    if asked and len(refused) == len(asked):
        raise ModelError(" ".join(dict.fromkeys(refused.values())))
    if refused:
        partition.remark(
            f"without {', '.join(refused)}, which the self-test of `{model}` refuses (see `models.self_test`)"
        )
    return [method for method in asked if method not in refused]


def _examples(context: Context, model: str) -> list[pl.DataFrame]:
    """Examples of the first dataset of the model that is there, in up to LANGUAGES of its languages."""
    study, warehouse = context.study, context.warehouse
    for dataset in study.models[model].datasets:
        split = study.datasets[dataset].split
        there = [
            language
            for language in study.all_languages()
            if dataset in study.evaluations(model, language)
            and warehouse.current(Slot("examples", (dataset, language), split)) is not None
        ]
        step = max(1, -(-len(there) // LANGUAGES))
        frames = [
            warehouse.scan("examples", dataset=dataset, language=language, split=split)
            .head(OFFERED)
            .collect()
            for language in there[::step]
        ]
        if any(frame.height for frame in frames):
            return frames
    return []


def _file(study: Study, root: Path, pin: Pin) -> Path:
    options = study.models[pin.key]
    named = [*pin.identity, options.dtype, options.attention, tested_with()]
    digest = hashlib.sha256(json.dumps(named).encode()).hexdigest()
    return root / "cache" / "self-tests" / f"{digest}.json"


def unused(study: Study, root: Path, pins: Iterable[Pin]) -> list[Path]:
    """Files of results that none of these models of the study asks for, of other versions too."""
    used = {_file(study, root, pin) for pin in pins}
    return [file for file in (root / "cache" / "self-tests").glob("*.json") if file not in used]


def _read(file: Path) -> tuple[Result, ...] | None:
    try:
        return tuple(Result(**row) for row in json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # not there, or cut off: it is tried again
