"""Removing what a study no longer names: always asked for, never a side effect."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from xlwh.errors import MissingDataError, StoreError, XlwhError
from xlwh.models import Zoo
from xlwh.selftest.stored import SelfTests
from xlwh.steps.plan import STEPS
from xlwh.steps.planning import Planner
from xlwh.store import Entry, Slot, Warehouse
from xlwh.store.claims import require_idle
from xlwh.store.roots import name_of
from xlwh.study import Study
from xlwh.tables import TABLES
from xlwh.upkeep import scope
from xlwh.upkeep.names import known, languages_of, model_of


def unnamed(
    study: Study,
    warehouse: Warehouse,
    tables: Collection[str] = (),
    models: Collection[str] = (),
    languages: Collection[str] = (),
    datasets: Collection[str] = (),
) -> list[Entry]:
    """The stored files that a study does not name, as they are found now: all, or those that are chosen. Nothing is written.

    `tables` are names of tables or steps. Refused with StoreError where the scope of the warehouse is another study's,
    and for a name that is no table.
    """
    require_scope(study, warehouse)
    found = scope.out_of_scope(Planner(study, warehouse, Zoo(study, warehouse)))
    wanted = _tables(tables)
    keys = known([study], warehouse.entries())
    every_model = {*study.models, *(e.slot.partition["model"] for e in found if "model" in e.slot.partition)}
    return [
        entry
        for entry in found
        if (not wanted or entry.slot.table in wanted)
        and (not models or model_of(entry.slot, every_model) in models)
        and (not languages or set(languages_of(entry.slot)) & set(languages))
        and (not datasets or set(keys.datasets_of(entry.slot)) & set(datasets))
    ]


def require_scope(study: Study, warehouse: Warehouse) -> None:
    """Refuse with StoreError (MissingDataError where there is none) if the scope is not that of this study as it is now."""
    known_scope, file = warehouse.manifest.scope(), study.folder / "study.toml"
    again = f"Run `xlwh materialize --study {file}` first: the scope is that of the study materialised last."
    if known_scope is None:
        raise MissingDataError(f"No study has said yet what it names of {name_of(warehouse.root)}. {again}")
    if known_scope.digest != scope.digest(study):
        whose = "an earlier state of this study" if known_scope.study == study.name else "another study"
        raise StoreError(
            f"The scope of {name_of(warehouse.root)} is that of `{known_scope.study}`, which is {whose} than the one given "
            f"(`{study.name}`): what that one names would be removed. {again}"
        )


def drop(warehouse: Warehouse, entries: Sequence[Entry]) -> None:
    """Take files out of the warehouse in one commit; `gc` removes them from the disk.

    StoreError naming the process where another run works on one of them, ConflictError where one was changed.
    """
    require_idle(warehouse.claims, (entry.slot for entry in entries))
    if entries:
        warehouse.manifest.commit(
            drop=[entry.slot for entry in entries], expected={entry.slot: entry.file for entry in entries}
        )


def checkpoints(warehouse: Warehouse, entries: Sequence[Entry]) -> list[Path]:
    """Folders of models made here that go with these files: `gc` removes them once their rows are gone."""
    gone = {entry.slot.keys[0] for entry in entries if entry.slot.table == "models"}
    return [folder for model in sorted(gone) if (folder := warehouse.root / "models" / model).is_dir()]


def unused_self_tests(study: Study, warehouse: Warehouse) -> list[Path]:
    """Results of self-tests that no model of the study asks for; none where that cannot be told of some model."""
    zoo = Zoo(study, warehouse)
    try:
        return SelfTests(study, warehouse).unused(zoo.pin(model) for model in study.models)
    except XlwhError:
        return []


def by_owner(entries: Sequence[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """(step, model, dataset, space or lexicon that the files are of) -> files, in the order of the plan."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for step in STEPS.values():
        for entry in entries:
            if entry.slot.table in step.tables:
                found.setdefault((step.name, _owner(entry.slot)), []).append(entry)
    return found


def _owner(slot: Slot) -> str:
    return slot.keys[0] if slot.keys else "all"


def _tables(names: Collection[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        if name not in TABLES and name not in STEPS:
            raise StoreError(f"There is no table `{name}`. Tables: {', '.join(TABLES)}.")
        found |= {name} if name in TABLES else set(STEPS[name].tables)
    return found
