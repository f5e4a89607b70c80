"""The demo's study: its translations are pairs of the corpus, and only what is made for them takes them up."""

from __future__ import annotations

from pathlib import Path

import pytest

from xlwh.corpora import read
from xlwh.demo import study_path
from xlwh.demo.grammar import DATA
from xlwh.models import Zoo
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
from xlwh.store import Warehouse
from xlwh.study import Study, load


@pytest.fixture(scope="module")
def study() -> Study:
    return load(study_path())


def premises(split: str, language: str) -> list[str]:
    lines = (DATA / f"{split}-{language}.tsv").read_text(encoding="utf-8").split("\n")[:-1]
    return [line.split("\t")[0] for line in lines]


@pytest.mark.parametrize(
    ("dataset", "split", "count"), [("pairs_train", "train", 4200), ("pairs_dev", "dev", 60)]
)
def test_pairs_are_premises_of_the_same_line(study: Study, dataset: str, split: str, count: int) -> None:
    found = read(study, dataset, "es").examples
    assert found.height == count
    english, spanish = premises(split, "en"), premises(split, "es")
    for example_id, text, translation in found.select("example_id", "text", "text_pair").rows():
        assert (text, translation) == (english[int(example_id)], spanish[int(example_id)])


def test_few_of_the_translated_sentences_were_trained_on() -> None:
    assert len(set(premises("dev", "en")) & set(premises("train", "en"))) < 10


def test_what_compares_languages_leaves_the_translator_out(study: Study, tmp_path: Path) -> None:
    """It translates, is scored and attributed; no other step has anything to do for it, in whatever language."""
    warehouse = Warehouse(tmp_path / "warehouse", create=True)
    context = Context(study, warehouse, Zoo(study, warehouse, device="cpu"))
    run(STEPS["examples"], context, Key(dataset="pairs_dev", language="es"))
    taking = {
        "models",
        "tokens",
        "predictions",
        "translation_statistics",
        "attributions",
        "attribution_probes",
    }
    asked = 0
    for step in STEPS.values():
        if "model" not in step.dimensions or step.name in taking:
            continue
        for language in study.languages if "language" in step.dimensions else (None,):
            result = run(step, context, Key(model="demo-en-es", language=language))
            assert result.status == "not_applicable", (step.name, language)
            asked += 1
    assert asked > 50
