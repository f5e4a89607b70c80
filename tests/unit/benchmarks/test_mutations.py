"""The planted faults: each can still be planted, by text that stands once, and each is found."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutations", ROOT / "tests" / "benchmarks" / "mutations.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["mutations"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_fault_can_be_planted_and_has_tests_that_are_there(script):
    assert len({each.name for each in script.MUTATIONS}) == len(script.MUTATIONS)
    for each in script.MUTATIONS:
        assert (ROOT / each.file).read_text(encoding="utf-8").count(each.old) == 1, each.name
        assert each.new not in ("", each.old)
        for test in each.tests:
            file, _, name = test.partition("::")
            text = (ROOT / file).read_text(encoding="utf-8")
            assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE), test


@pytest.mark.slow
def test_every_fault_is_found(script):
    assert script.survivors(script.MUTATIONS) == []
