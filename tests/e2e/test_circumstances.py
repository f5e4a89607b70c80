"""Every command on media that may only be read, on another user's files and on a full disk.

`-m slow -s` prints the whole table, which docs/warehouse.md shows.
"""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest
from circumstances import CIRCUMSTANCES, READING, WRITING, another_user, namespace, rows

from xlwh.models import Zoo
from xlwh.steps.planning import Planner
from xlwh.store import Slot, Warehouse, schema
from xlwh.store.connect import KEPT
from xlwh.study import load
from xlwh.upkeep import scope

STUDY = """
name = "s"
languages = ["en"]
data_root = "."
[datasets.d]
reader = "text_classification"
path = "d.tsv"
options = { text = "text", label = "label" }
[models]
"""
REFUSED = {
    "read-only": "its file system may only be read",
    "moved read-only": "its file system may only be read",
    "another user's": "it belongs to the user",
    "full disk": "is full (",
}
FEW = ("sql", "recover --dry-run", "repair --dry-run", "drop --dry-run", "materialize", "gc")
NEEDS_NO_ROOM = ("gc",)


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder with a study, and a small warehouse with a file that `gc` may remove, and one that nobody hid yet."""
    if namespace() is None:
        pytest.skip("no file system can be mounted here")
    (tmp_path / "d.tsv").write_text("text\tlabel\nHello\tyes\n")
    (tmp_path / "study.toml").write_text(STUDY)
    warehouse = Warehouse(tmp_path / "warehouse", create=True)
    row = dict.fromkeys(schema("examples")) | {
        "dataset": "d",
        "split": "dev",
        "language": "en",
        "example_id": "0",
    }
    row |= {"task": "sequence_classification", "text": "Hello", "words": [], "word_spans": []}
    row |= {"source_file": "d.tsv", "row_number": 0}
    frame = pl.DataFrame([row], schema=schema("examples"))
    for fingerprint in ("0" * 32, "1" * 32):
        warehouse.write({Slot("examples", ("d", "en"), "dev"): frame}, fingerprint)
    study = load(tmp_path / "study.toml")
    scope.renew(Planner(study, warehouse, Zoo(study, warehouse)))
    other = frame.with_columns(dataset=pl.lit("unnamed"))
    warehouse.write({Slot("examples", ("unnamed", "en"), "dev"): other}, "2" * 32)
    warehouse.build_catalogue()
    for folder in (tmp_path, *tmp_path.parents):
        # Another user has to come this far.
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    return tmp_path


def tried(circumstance: str, place: Path, *commands: str) -> list[tuple[str, str]]:
    """(command, verdict) under a circumstance; the verdict of what works is `works`."""
    if circumstance == "another user's" and another_user() is None:
        pytest.skip("this user cannot become another one")
    work = place / circumstance.replace(" ", "-").replace("'", "")
    found = []
    for row in rows(circumstance, place / "warehouse", place / "study.toml", work, *commands):
        name, code, told = str(row["command"]), row["code"], str(row["told"])
        assert "Traceback" not in told, f"{name}: {told}"
        assert "stack trace" not in told, f"{name}: {told}"
        # Kept rows are a cache: of a view without any the mark that there are none needs no room.
        passing = ("manifest.sqlite-", "catalog.lock", KEPT)
        own = [path for path in row["changed"] if not path.startswith(passing)]
        if circumstance != "full disk":
            assert row["changed"] == [], f"{name} wrote"
        if name in READING or (name in NEEDS_NO_ROOM and circumstance == "full disk"):
            # A catalogue that was built for another place is a fault where another can be made, if there is room.
            stale = name == "check" and circumstance == "full disk"
            assert code in (0, *((1,) if stale else ()), *((130,) if name == "explore" else ())), (
                f"{name}: {told}"
            )
            assert name in NEEDS_NO_ROOM or own == [], f"{name} wrote"
            found.append((name, "works"))
        else:
            [line] = [line for line in told.splitlines() if line.startswith("Error: ")]
            assert code == 1, f"{name}: {told}"
            assert REFUSED[circumstance] in line
            found.append((name, "refused"))
    return found


@pytest.mark.parametrize("circumstance", ["read-only", "full disk"])
def test_reading_works_and_writing_says_why_it_cannot(circumstance, place):
    assert [name for name, _ in tried(circumstance, place, *FEW)] == [
        name for name in (*READING, *WRITING) if name in FEW
    ]


@pytest.mark.slow
def test_every_command_under_every_circumstance(place):
    found = {circumstance: dict(tried(circumstance, place)) for circumstance in CIRCUMSTANCES}
    print(f"\n| command | {' | '.join(CIRCUMSTANCES)} |\n|---|{'---|' * len(CIRCUMSTANCES)}")
    for name in (*READING, *WRITING):
        print(f"| `{name}` | {' | '.join(found[each][name] for each in CIRCUMSTANCES)} |")
    assert all(found[each].keys() == {**READING, **WRITING}.keys() for each in CIRCUMSTANCES)
