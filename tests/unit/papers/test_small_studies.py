"""The papers with small models and data of one's own (`examples/papers`): they load, and fill the cells that they claim."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import polars as pl
import pytest
from reached_cells import reached

from xlwh.corpora import check, inapplicable
from xlwh.corpora.registry import locate
from xlwh.published import load as published
from xlwh.study import Study, load
from xlwh.study.data import Dataset
from xlwh.study.leaks import numbered_alike

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "papers"
PUBLISHED = {
    "ccta": "ccta",
    "concepts": "concept-alignment",
    "faithfulness": "faithfulness",
    "heads": "shapley-heads",
}
"""Study -> its name in `published_results`."""
FILLED = {
    "ccta": {"1": (22, 70), "2": (14, 21), "3": (44, 48), "4": (42, 42), "5": (42, 42)},
    "concepts": {"1": (24, 24), "2": (4, 8)},
    "faithfulness": {"hard": (216, 720), "soft": (40, 120), "fertility": (54, 180)},
    "heads": {"2": (95, 140), "3": (44, 60)},
}
"""Study -> table -> cells that it fills, cells of the paper."""
PAGES = Path(__file__).resolve().parents[3] / "docs" / "papers"
AS_FOLDERS = {"faithfulness": {"minilm"}}
"""Models that the study's own header says how to put there."""


@pytest.fixture(params=sorted(PUBLISHED))
def paper(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def study(paper: str) -> Study:
    return load(FOLDER / paper / "study.toml")


def test_a_study_for_each_paper() -> None:
    assert sorted(path.parent.name for path in FOLDER.glob("*/study.toml")) == sorted(PUBLISHED)


def test_options_are_those_of_the_readers(study: Study) -> None:
    check(study)


def test_cells_of_the_papers_are_filled(paper: str, study: Study) -> None:
    printed = published().filter(pl.col("paper") == PUBLISHED[paper])
    every = Counter(printed["table"])
    filled = Counter(row["table"] for row in printed.to_dicts() if reached(study, row))
    assert {table: (filled[table], cells) for table, cells in every.items()} == FILLED[paper]


def test_the_page_says_which_cells_are_asked_for_and_measured(paper: str) -> None:
    """What the overview says of a study is what the study asks for, and what the paper's own page says of it."""
    [line] = re.findall(
        rf"^\| `{paper}` \| (table .*)$", (PAGES / "README.md").read_text("utf-8"), re.MULTILINE
    )
    asked, measured, _ = line.split(" | ")
    cells = {
        table: (int(own), int(every)) for table, own, every in re.findall(r"(\w+): (\d+) of (\d+)", asked)
    }
    assert cells == FILLED[paper]
    page = (PAGES / f"{paper}.md").read_text("utf-8")
    said = re.search(r"(\d+)\s+of\s+the\s+([\d,]+)\s+printed\s+numbers\s+have\s+a\s+measured\s+one", page)
    assert (said is None) == (measured == "–") == ("## Measured with a small model" not in page)
    if said is not None:
        counts = {table: int(count) for table, count in re.findall(r"(\w+): (\d+)", measured)}
        assert counts.keys() == cells.keys()
        assert all(counts[table] <= cells[table][0] for table in cells)
        assert sum(counts.values()) == int(said[1])
        assert sum(every for _, every in cells.values()) == int(said[2].replace(",", ""))


@pytest.mark.parametrize(
    ("table", "head"), [("2", "Table 2, PAWS-X"), ("5", "Table 5, PAWS-X by source language")]
)
def test_pairs_that_share_no_row_are_counted_as_not_measured(table: str, head: str) -> None:
    """The tables of the page have as many numbers as the overview says; table 2 leaves the self pair out."""
    text = (PAGES / "ccta.md").read_text("utf-8")
    shown = text[text.index(f"{head}:\n") :].split("\n\n")[1].splitlines()[2:]
    numbers = sum(line.count("→") for line in shown)
    [measured] = re.findall(
        r"^\| `ccta` \| table .*? \| (.*?) \|", (PAGES / "README.md").read_text("utf-8"), re.MULTILINE
    )
    [count] = re.findall(rf"\b{table}: (\d+)", measured)
    assert numbers + (len(shown) if table == "2" else 0) == int(count)


def test_nothing_is_evaluated_on_what_it_or_its_base_was_trained_on(study: Study) -> None:
    """By the study alone: a part of the same files is either another split or the rest."""
    for key, model in study.models.items():
        if model.finetune is not None:
            assert model.finetune.dataset not in model.datasets, key
        for dataset in model.datasets:
            for language in study.all_languages():
                if dataset in study.evaluations(key, language):
                    list(numbered_alike(study, key, dataset, language))


def test_files_are_there(paper: str, study: Study, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLWH_DATA_ROOT", str(shared / "data"))
    for name in study.datasets:
        for language in study.dataset_languages(name):
            if not inapplicable(study, name, language):
                assert locate(study, name, language).documents, (name, language)
    dictionaries = [path for space in study.spaces.values() for path in space.dictionaries.values()]
    for path in dictionaries:
        assert (shared / "data" / path).is_file(), path
    for key, model in study.models.items():
        if model.path is not None and model.path not in AS_FOLDERS.get(paper, set()):
            assert model.path.endswith("shared/models/mini-x11"), key
    assert (shared / "models" / "mini-x11" / "model.safetensors").is_file()


def test_parts_of_one_file_do_not_overlap(study: Study) -> None:
    """In ranks of the sample, [skip, skip + max), of all datasets that read the same rows."""
    for (first, one), (second, other) in combinations(study.datasets.items(), 2):
        same = all(
            getattr(one, name) == getattr(other, name) for name in ("reader", "path", "split", "options")
        )
        if same and set(study.dataset_languages(first)) & set(study.dataset_languages(second)):
            (_, end), (start, _) = sorted(_ranks(part) for part in (one, other))
            assert end <= start, (first, second)


def _ranks(part: Dataset) -> tuple[int, float]:
    start = part.skip_examples or 0
    return start, float("inf") if part.max_examples is None else start + part.max_examples
