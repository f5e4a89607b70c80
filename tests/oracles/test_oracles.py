"""The project against what released scripts computed of the same inputs."""

from __future__ import annotations

import math
import re
import runpy
from pathlib import Path

import pytest
from released import ORACLES
from released.harness import CASES, agreement, deviation

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: oracle.name)
def test_ours_is_what_the_released_code_computed(oracle):
    found = agreement(oracle)
    assert found.agreeing > 0
    assert found.worst <= oracle.tolerance
    assert found.unmoved == 0, "a case that is said to differ agrees"


def test_every_file_is_an_oracle_and_says_where_it_is_from():
    files = {file.stem for file in CASES.glob("*.json")} - {"tiny_bert"}
    assert files == {oracle.name for oracle in ORACLES}
    for oracle in ORACLES:
        source = oracle.load()["source"]
        assert set(source) - {"commit", "version"} == {"repository", "file", "call"}
        assert re.fullmatch(r"[0-9a-f]{40}", source.get("commit", "")) or source["version"]
        assert (DOCS / f"{oracle.page}.md").is_file()


def test_deviations_are_seen():
    assert deviation({"a": [1.0, "x"]}, {"a": [1.5, "x"]}) == 0.5
    for released, made in [
        ({"a": 1}, {"b": 1}),
        ([1], [1, 2]),
        ("x", "y"),
        (True, 1),
        (None, 0.0),
        (1.0, None),
    ]:
        assert deviation(released, made) == math.inf
    assert deviation(1.0, math.nan) == math.inf


def test_the_page_says_what_the_cases_say():
    page = runpy.run_path(str(DOCS / "oracles.py"))["page"]()
    assert page == (DOCS / "oracles.md").read_text(encoding="utf-8"), "Run: python docs/oracles.py"
