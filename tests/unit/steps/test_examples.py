from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xlwh.errors import CorpusError, StudyError
from xlwh.models import Zoo
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
from xlwh.store import Slot, Warehouse
from xlwh.study import Study

ROWS = "".join(f"premise {i}\thypothesis {i}\tneutral\n" for i in range(10)) + "a\tb\tmaybe\nonly\n"
KEY = Key(dataset="d", language="en")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for language in ("en", "de"):
        (tmp_path / f"data/dev-{language}.tsv").write_text(ROWS)
    return tmp_path


def context(folder: Path, force: bool = False, seed: int = 0, **dataset: Any) -> Context:
    study = Study.model_validate(
        {
            "name": "t",
            "languages": ["en", "de", "sw"],
            "seed": seed,
            "data_root": folder / "data",
            "folder": folder,
            "datasets": {"d": {"reader": "xnli", "path": ".", "languages": ["en", "de"], **dataset}},
        }
    )
    warehouse = Warehouse(folder / "w", create=True)
    return Context(study, warehouse, Zoo(study, warehouse), force)


def test_accepted_and_rejected_rows_are_written_in_one_commit(folder: Path) -> None:
    there = context(folder)
    result = run(STEPS["examples"], there, KEY)
    assert (result.status, result.rows, result.examples) == ("written", 12, 10)
    assert result.metadata["accepted"] == 10
    assert result.metadata["rejected"] == 2
    assert result.metadata["records"] == 12
    assert result.metadata["files"] == ["dev-en.tsv"]
    assert result.metadata["reasons"] == {"unknown label `maybe`": 1, "1 column instead of 3": 1}
    assert result.reason.startswith("2 of 12 rows rejected")
    slots = [Slot(table, ("d", "en"), "dev") for table in ("examples", "rejected_rows")]
    entries = [there.warehouse.current(slot) for slot in slots]
    assert all(entry is not None for entry in entries)
    assert len({entry.commit for entry in entries if entry is not None}) == 1
    stored = there.warehouse.scan("examples", dataset="d").collect()
    assert stored["example_id"].to_list() == [f"{i:05d}" for i in range(10)]
    assert there.warehouse.scan("rejected_rows").collect()["row_number"].to_list() == [10, 11]


def test_fresh_partitions_are_skipped_and_changed_ones_are_not(folder: Path) -> None:
    run(STEPS["examples"], context(folder), KEY)
    again = run(STEPS["examples"], context(folder), KEY)
    assert (again.status, again.rows) == ("fresh", 12)
    assert run(STEPS["examples"], context(folder), Key(dataset="d", language="de")).status == "written"
    assert run(STEPS["examples"], context(folder, seed=1), KEY).status == "fresh"
    assert run(STEPS["examples"], context(folder, force=True), KEY).status == "written"
    assert (
        run(STEPS["examples"], context(folder, options={"labels": {"neutral": "neutral"}}), KEY).status
        == "written"
    )
    fewer = run(STEPS["examples"], context(folder, max_examples=4), KEY)
    assert (fewer.status, fewer.examples, fewer.metadata["left_out"]) == ("written", 4, 6)
    assert run(STEPS["examples"], context(folder, max_examples=4, seed=1), KEY).status == "written"
    assert run(STEPS["examples"], context(folder), KEY).status == "written"
    (folder / "data/dev-en.tsv").write_text(ROWS.replace("premise 3", "Premise 3"))
    assert run(STEPS["examples"], context(folder), KEY).status == "written"


def test_another_split_stands_beside_the_old_one(folder: Path) -> None:
    run(STEPS["examples"], context(folder), KEY)
    (folder / "data/test-en.tsv").write_text("a\tb\n")
    there = context(folder, split="test")
    assert run(STEPS["examples"], there, KEY).examples == 1
    assert set(there.warehouse.scan("examples").collect()["split"]) == {"dev", "test"}
    assert {entry.slot.part for entry in there.warehouse.entries("rejected_rows")} == {"dev", "test"}
    assert run(STEPS["examples"], context(folder), KEY).status == "fresh"


def test_what_does_not_apply_and_what_is_missing(folder: Path) -> None:
    there = context(folder)
    outside = run(STEPS["examples"], there, Key(dataset="d", language="sw"))
    assert (outside.status, outside.reason) == (
        "not_applicable",
        "dataset `d` is read in en, de, not in `sw`",
    )
    (folder / "data/dev-de.tsv").unlink()
    with pytest.raises(CorpusError, match=r"dev-de\.tsv"):
        run(STEPS["examples"], there, Key(dataset="d", language="de"))
    with pytest.raises(StudyError, match="by dataset and language"):
        run(STEPS["examples"], there, Key(language="en"))
    with pytest.raises(StudyError, match="No dataset `e`"):
        run(STEPS["examples"], there, Key(dataset="e", language="en"))
    assert there.warehouse.entries() == []


def test_a_file_most_of_whose_rows_are_refused_is_of_another_format(folder: Path) -> None:
    there = context(folder)
    for rows in ("x\ny\n", "a\tb\tneutral\nx\ty\tz\nx\ty\tz\n"):
        (folder / "data/dev-en.tsv").write_text(rows)
        with pytest.raises(CorpusError, match=r"2 of [23] rows are refused.*not of the format"):
            run(STEPS["examples"], there, KEY)
        assert there.warehouse.entries() == []
