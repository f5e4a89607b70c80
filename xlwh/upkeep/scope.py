"""What of a warehouse the study names. What it does not name stays stored, and is in no table or view by default.

A stored file is out of scope where no partition of its step writes its slot for the study. While it cannot be told
what a partition writes (inputs that are missing or out of date), all that lies in it stays shown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import product
from typing import TYPE_CHECKING

from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS, Step, partitions, values
from xlwh.store import Entry, Slot
from xlwh.store.manifest import Scope
from xlwh.store.slots import contract
from xlwh.study import Study

if TYPE_CHECKING:
    from xlwh.steps.planning import Planner


def digest(study: Study) -> str:
    """32 hex digits of all that a study says, wherever its file lies."""
    text = json.dumps(study.model_dump(mode="json", exclude={"folder"}), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def renew(planner: Planner, ran: Iterable[tuple[Step, Key]] | None = None) -> bool:
    """Bring the warehouse's scope up to the study; whether that changed what is shown.

    After a run, `ran` are its partitions, and only theirs is looked at; all of it where the scope was another study's.
    Nothing is looked at where neither the study nor the warehouse changed since.
    """
    planner.refresh()
    manifest, study = planner.warehouse.manifest, planner.study
    known, mark = manifest.scope(), digest(study)
    if known is not None and known.digest == mark:
        if known.head == planner.head:
            return False
        if ran is not None:
            return _renew_some(planner, ran)
    return manifest.set_scope(out_of_scope(planner), Scope(study.name, mark, planner.head))


def out_of_scope(planner: Planner) -> list[Entry]:
    """The current files that the study does not name, by slot, as they are found now. Nothing is written."""
    planner.refresh()
    hidden = [
        entry for step in STEPS.values() for entry in unnamed(planner, step, partitions(planner.study, step))
    ]
    return sorted(hidden, key=lambda entry: entry.slot)


def _renew_some(planner: Planner, ran: Iterable[tuple[Step, Key]]) -> bool:
    by_step: dict[str, dict[Key, None]] = {}
    for step, key in ran:
        by_step.setdefault(step.name, {})[key] = None
    hidden, among = list[Entry](), set[Slot]()
    for name, keys in by_step.items():
        step = STEPS[name]
        written = entries_of(planner, step, keys)
        among.update(entry.slot for entry in written)
        beside = dict.fromkeys(other for key in keys for other in _sharing(planner.study, step, key))
        hidden += _not_named(planner, step, written, beside)
    return planner.warehouse.manifest.set_scope(hidden, among=among)


def unnamed(planner: Planner, step: Step, keys: Iterable[Key]) -> list[Entry]:
    """The stored files of a step that none of these partitions writes."""
    return _not_named(planner, step, entries_of(planner, step), keys)


def _not_named(planner: Planner, step: Step, entries: Iterable[Entry], keys: Iterable[Key]) -> list[Entry]:
    named, untold = set[Slot](), set[tuple[str, tuple[str, ...]]]()
    for key in keys:
        slots = planner.names(step, key)
        if slots is None:
            untold.update(folders(planner.study, step, key))
        else:
            named.update(slots)
    return [
        entry
        for entry in entries
        if entry.slot not in named and (entry.slot.table, entry.slot.keys) not in untold
    ]


def entries_of(planner: Planner, step: Step, keys: Iterable[Key] | None = None) -> list[Entry]:
    """The current files of a step's tables: all, or those that some of its partitions can write."""
    if keys is None:
        return [entry for table in step.tables for entry in planner.entries(table)]
    lying = dict.fromkeys(folder for key in keys for folder in folders(planner.study, step, key))
    return [entry for folder in lying for entry in planner.entries_in(*folder)]


def folders(study: Study, step: Step, key: Key) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Table and keys of everything that a partition can write, by what these say."""
    for table in step.tables:
        ranges: list[Iterable[str]] = []
        for column in contract(table).partition_by:
            if column == "space":
                ranges.append(_spaces(study, str(key.model)))
            elif column == "lexicon":
                ranges.append(study.lexica)
            else:
                ranges.append([str(getattr(key, column.removeprefix("target_")))])
        for keys in product(*ranges):
            yield table, keys


def _sharing(study: Study, step: Step, key: Key) -> Iterator[Key]:
    """A partition and those that can write the same files, such as vectors that models share."""
    columns = {name.removeprefix("target_") for table in step.tables for name in contract(table).partition_by}
    ranges = (
        [str(getattr(key, each))] if each in columns else values(study, each) for each in step.dimensions
    )
    for place in product(*ranges):
        yield Key(**dict(zip(step.dimensions, place, strict=True)))


def _spaces(study: Study, model: str) -> set[str]:
    """The spaces that vectors of a model's words can be in."""
    return {
        f"{of}{name}{unit}" for of in ("", f"{model}.") for name in study.spaces for unit in ("", ".tokens")
    }
