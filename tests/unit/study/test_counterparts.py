"""Models that are the counterpart of another one, and models that are evaluated in some languages only."""

from __future__ import annotations

from pathlib import Path

import pytest

from xlwh.errors import StudyError
from xlwh.study import Study, load

STUDY = """
name = "test"
languages = ["en", "de", "zh"]

[datasets.nli]
reader = "xnli"
path = "nli"

[datasets.tags]
reader = "conllu"
path = "tags"
languages = ["en"]

[models.multi]
path = "multi"
datasets = ["nli"]

[models.german]
path = "german"
datasets = ["nli"]
languages = ["de"]
counterpart_of = "multi"
"""


def study(tmp_path: Path, *changes: tuple[str, str]) -> Study:
    text = STUDY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "study.toml").write_text(text)
    return load(tmp_path)


def test_a_monolingual_model_is_evaluated_in_its_language_only(tmp_path: Path) -> None:
    found = study(tmp_path)
    assert found.models["german"].counterpart_of == "multi"
    assert [list(found.evaluations("german", language)) for language in ("en", "de")] == [[], ["nli"]]
    assert list(found.evaluations("multi", "en")) == ["nli"]
    assert found.source_languages("german") == ("de",)
    assert found.source_languages("multi") == ("en",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('counterpart_of = "multi"', 'counterpart_of = "none"', "no model `none` in this study"),
        ('counterpart_of = "multi"', 'counterpart_of = "german"', "not its own counterpart"),
        ('path = "multi"', 'path = "multi"\ncounterpart_of = "german"', "itself the counterpart of"),
        (
            'datasets = ["nli"]\nlanguages',
            'datasets = ["tags"]\nlanguages',
            "no dataset in a common language",
        ),
        ('languages = ["de"]', 'languages = ["fr"]', "no language `fr` in this study"),
        (
            'languages = ["de"]',
            'languages = ["de"]\nsource_languages = ["en"]',
            "source_languages`: no language `en`",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_by_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as error:
        study(tmp_path, (old, new))
    assert "study.toml, line" in str(error.value)
