"""What CONTRIBUTING.md and the files beside it say is where they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from xlwh import __version__

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:xlwh|tests|sql|docs)/[\w/.]*)`", TEXT))))
def test_the_files_that_it_names_are_there(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("name", "place"), re.findall(r"`(\w+)` of `(xlwh/[\w/]+\.py)`", TEXT))
def test_the_names_that_it_names_are_there(name, place):
    assert re.search(rf"^(?:def |class )?{name}\b", (ROOT / place).read_text(encoding="utf-8"), re.M)


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", TEXT + (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert links
    assert all((ROOT / link).exists() for link in links)


def test_files_for_programs_can_be_read_and_are_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    # PyYAML reads the key `on` as true.
    assert {"name", True, "jobs", "permissions"} == set(workflow)
    commands = " ".join(step.get("run", "") for step in workflow["jobs"]["tests"]["steps"])
    assert "make check" in commands
    assert "make test" in commands
    for hook in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0][
        "hooks"
    ]:
        assert hook["entry"].startswith(".venv/bin/")
