"""Renaming and scope over a study of every step: what was up to date is up to date under any new key."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import polars as pl
import pytest
import small_study

from xlwh.errors import StoreError, XlwhError
from xlwh.models import Zoo
from xlwh.steps.base import no_progress
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, partitions
from xlwh.steps.planning import NotApplicable, definition_of
from xlwh.store import Warehouse
from xlwh.store.artefacts import faults
from xlwh.study import Study
from xlwh.tables import TABLES
from xlwh.upkeep import scope
from xlwh.upkeep.names import known, renamed_study
from xlwh.upkeep.rename import Renamer

CONCEPTS = {"activations", "sentence_vectors", "representation_similarities"} | {
    table
    for step in ("concepts", "concept_kinds", "concept_labels", "concept_matches", "concept_languages")
    for table in STEPS[step].tables
}
LEXICA = {"lexicon", "concept_pairings", "concept_matches", "concept_languages"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Context:
    settings = small_study.settings(tmp_path_factory.mktemp("small"))
    context = small_study.context(settings, settings["folder"] / "warehouse")
    small_study.fill(context)
    return context


def copy_of(filled: Context, study: Study, root: Path) -> Context:
    shutil.copytree(filled.warehouse.root, root)
    warehouse = Warehouse(root)
    return Context(study, warehouse, Zoo(study, warehouse, device="cpu"))


def stale(context: Context) -> list[str]:
    found = []
    context.planner.refresh()
    for step in STEPS.values():
        if definition_of(step) is None:
            continue
        for key in partitions(context.study, step):
            try:
                fresh = all(map(context.planner.is_fresh, context.planner.jobs(step, key)))
            except NotApplicable:
                continue
            except XlwhError as error:
                found.append(f"{step.name} {key}: {error}")
            else:
                found += [] if fresh else [f"{step.name} {key}"]
    return found


@pytest.mark.parametrize(
    ("what", "old"),
    [
        ("model", "base"),
        ("model", "nli_en"),
        ("model", "blank"),
        ("model", "twin"),
        ("dataset", "nli"),
        ("dataset", "nli_train"),
        ("dataset", "pairs_train"),
        ("dataset", "questions"),
    ],
)
def test_nothing_is_to_be_made_after_a_renaming(filled, tmp_path, what, old):
    study = renamed_study(filled.study, what, old, "quite.new")
    context = copy_of(filled, study, tmp_path / "w")
    before = {(entry.slot.table, entry.rows) for entry in context.warehouse.entries()}
    Renamer(study, context.warehouse, what, old, "quite.new").run(no_progress)
    assert stale(context) == []
    entries = context.warehouse.entries()
    assert {(entry.slot.table, entry.rows) for entry in entries} == before
    names = known([study], entries)
    for entry in entries:
        assert old not in (names.datasets_of(entry.slot) if what == "dataset" else entry.slot.keys)
        frame = pl.read_parquet(context.warehouse.root / entry.file)
        for column, kind in TABLES[entry.slot.table].names().items():
            if kind == what:
                assert old not in frame[column].to_list(), (str(entry.slot), column)
    scope.renew(context.planner)
    assert context.warehouse.hidden() == []


@pytest.mark.parametrize(("what", "old"), [("model", "nli_en"), ("dataset", "nli_train")])
def test_a_damaged_checkpoint_is_refused_and_nothing_is_changed(filled, tmp_path, what, old):
    """Its bytes would be committed again as those that were made."""
    study = renamed_study(filled.study, what, old, "quite.new")
    context = copy_of(filled, study, tmp_path / "w")
    root = context.warehouse.root
    before = {path for path in root.rglob("*") if "cache" not in path.parts}
    head = context.warehouse.manifest.head()
    known = context.warehouse.manifest.artefacts()["model", "nli_en"]
    for damaged in known.files:
        path = root / damaged.file
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 4]))
        with pytest.raises(StoreError, match=f"{damaged.file} of model `nli_en` is damaged: .* xlwh repair"):
            Renamer(study, context.warehouse, what, old, "quite.new").run(no_progress)
        path.write_bytes(content)
    assert context.warehouse.manifest.head() == head
    assert {path for path in root.rglob("*") if "cache" not in path.parts} == before


def test_a_copy_that_a_killed_renaming_left_is_not_taken_for_whole(filled, tmp_path):
    study = renamed_study(filled.study, "model", "nli_en", "quite.new")
    context = copy_of(filled, study, tmp_path / "w")
    known = context.warehouse.manifest.artefacts()["model", "nli_en"]
    left = context.warehouse.root / "models" / "quite.new" / known.fingerprint
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"others")
    Renamer(study, context.warehouse, "model", "nli_en", "quite.new").run(no_progress)
    assert stale(context) == []
    made = context.warehouse.manifest.artefacts()["model", "quite.new"]
    assert not list(faults(context.warehouse.root, made, deep=True))
    assert len(made.files) == len(known.files)


def test_a_study_names_all_that_it_makes(filled, tmp_path):
    context = copy_of(filled, filled.study, tmp_path / "w")
    scope.renew(context.planner)
    assert context.warehouse.hidden() == []


@pytest.mark.parametrize(
    ("place", "value", "bears"),
    [
        (("consistency", "methods"), ["lig"], lambda slot: False),
        (("attribution", "methods", "occlusion"), None, lambda slot: ".occlusion" in slot.part),
        (
            ("concepts", "layers"),
            [0],
            lambda slot: slot.table in CONCEPTS and re.search(r"\.1(\.|$)", slot.part),
        ),
        (("concepts", "mixed"), [], lambda slot: slot.table in CONCEPTS and "mixed" in slot.part),
        (("concepts", "models"), ["base"], lambda slot: slot.table in CONCEPTS and slot.keys[0] == "nli_en"),
        (("lexica",), {}, lambda slot: slot.table in LEXICA),
        (("faithfulness",), None, lambda slot: slot.table == "perturbations"),
    ],
)
def test_what_a_study_leaves_out_is_hidden_and_nothing_else(filled, tmp_path, place, value, bears):
    settings = filled.study.model_dump()
    at = settings
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = value
    if place == ("lexica",):
        settings["concept_alignment"] = None
    if place == ("concepts", "mixed"):
        settings["concepts"]["monolingual"] = ["en", "de"]
    study = Study.model_validate(settings)
    context = copy_of(filled, study, tmp_path / "w")
    scope.renew(context.planner)
    expected = {str(entry.slot) for entry in context.warehouse.entries() if bears(entry.slot)}
    assert {str(entry.slot) for entry in context.warehouse.hidden()} == expected
    back = Context(filled.study, context.warehouse, Zoo(filled.study, context.warehouse, device="cpu"))
    scope.renew(back.planner)
    assert back.warehouse.hidden() == []
