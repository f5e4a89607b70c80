"""Files that a study needs, read off the study before any of them is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from xlwh.sources.needs import file_needs
from xlwh.sources.registry import registry_of
from xlwh.study import Study

OWN = """
[[source]]
path = "talks/{pair}.zip"
url = "https://example.org/{pair}.zip"
licence = "none"

[[source]]
path = "lines/{year}.{language}"
url = "https://example.org/{year}.{language}"
licence = "none"
"""


@pytest.mark.parametrize(
    ("path", "file", "needed"),
    [
        ("talks/de-en.zip", "talk.{side}", {"talks/de-en.zip"}),
        ("lines", "2013.{side}", {"lines/2013.de", "lines/2013.en", "lines/2013.fr"}),
        ("lines/2013.{side}", None, {"lines/2013.de", "lines/2013.en", "lines/2013.fr"}),
        ("unknown", "talk.{source}-{language}.{side}", {"unknown"}),
    ],
)
def test_both_sides_of_translations_are_needed(
    path: str, file: str | None, needed: set[str], tmp_path: Path
) -> None:
    (tmp_path / "sources.toml").write_text(OWN)
    # `de` is read as the side that the others are translations of, and has no pairs of its own.
    dataset = {"reader": "parallel", "path": path, "languages": ["de", "en", "fr"]}
    options = {"source": "de"} | ({"file": file} if file else {})
    study = Study.model_validate(
        {
            "name": "s",
            "languages": ["de", "en", "fr"],
            "folder": tmp_path,
            "datasets": {"talks": {**dataset, "options": options}},
        }
    )
    found = file_needs(study, registry_of(tmp_path))
    assert {need.relative for need in found} == needed
    assert all(need.places == ["datasets.talks"] for need in found)
    assert all((need.address is not None) == (path != "unknown") for need in found)
