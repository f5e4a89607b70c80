"""What of a warehouse the study names. What it does not name stays stored, and is in no table or view by default.

A stored file is out of scope where no partition of its step writes its slot for the study. While it cannot be told
what a partition writes (inputs that are missing or out of date), all that lies in it stays shown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS, Step, partitions
from xlwh.store import Entry, Slot
from xlwh.store.manifest import Scope
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
    hidden = [entry for step in STEPS.values() for entry in unnamed(planner, step, partitions(study, step))]
    return manifest.set_scope(hidden, Scope(study.name, mark, planner.head))


def _renew_some(planner: Planner, ran: Iterable[tuple[Step, Key]]) -> bool:
    by_step: dict[str, list[Key]] = {}
    for step, key in ran:
        by_step.setdefault(step.name, []).append(key)
    hidden, among = list[Entry](), set[Slot]()
    for name, keys in by_step.items():
        step = STEPS[name]
        written = _lying_in(planner.study, entries_of(planner, step), keys)
        among.update(entry.slot for entry in written)
        hidden += [
            entry for entry in unnamed(planner, step, partitions(planner.study, step)) if entry.slot in among
        ]
    return planner.warehouse.manifest.set_scope(hidden, among=among)


def unnamed(planner: Planner, step: Step, keys: Iterable[Key]) -> list[Entry]:
    """The stored files of a step that none of these partitions writes."""
    named, untold = set[Slot](), list[Key]()
    for key in keys:
        slots = planner.names(step, key)
        if slots is None:
            untold.append(key)
        else:
            named |= slots
    others = [entry for entry in entries_of(planner, step) if entry.slot not in named]
    spared = {entry.slot for entry in _lying_in(planner.study, others, untold)}
    return [entry for entry in others if entry.slot not in spared]


def entries_of(planner: Planner, step: Step) -> list[Entry]:
    """The current files of a step's tables."""
    return [entry for table in step.tables for entry in planner.entries(table)]


def _lying_in(study: Study, entries: Iterable[Entry], keys: Iterable[Key]) -> list[Entry]:
    """The files that can be written by some of these partitions."""
    keys, found = list(keys), list[Entry]()
    known: dict[tuple[str, tuple[str, ...]], bool] = {}
    for entry in entries:
        folder = entry.slot.table, entry.slot.keys
        if folder not in known:
            known[folder] = any(lies_in(study, entry.slot, key) for key in keys)
        if known[folder]:
            found.append(entry)
    return found


def lies_in(study: Study, slot: Slot, key: Key) -> bool:
    """Whether a slot can be one that partition `key` of its step writes, by what its folder says."""
    columns = {name.removeprefix("target_"): value for name, value in slot.partition.items()}
    if "space" in columns and key.model is not None:
        spaces = {
            f"{of}{name}{unit}"
            for of in ("", f"{key.model}.")
            for name in study.spaces
            for unit in ("", ".tokens")
        }
        if columns["space"] not in spaces:
            return False
    if "lexicon" in columns and columns["lexicon"] not in study.lexica:
        return False
    dimensions = (("model", key.model), ("dataset", key.dataset), ("language", key.language))
    return all(value is None or columns.get(name, value) == value for name, value in dimensions)
