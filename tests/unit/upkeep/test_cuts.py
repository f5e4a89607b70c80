"""Studies with fewer examples: what is cut, what is not, and how wide intervals become."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from xlwh.study import Study
from xlwh.upkeep.cuts import SHARES, cuts, half_width

ROWS = {("test", "en"): 400, ("test", "de"): 100, ("other", "en"): 7}


class _Survey:
    """Knows how many examples there are, and plans nothing."""

    def __init__(self, study: Study) -> None:
        self.planner = SimpleNamespace(study=study)
        self.plans: dict[Any, Any] = {}
        self.studies: list[Study] = []

    def examples(self, dataset: str, language: str) -> int:
        return ROWS.get((dataset, language), 0)

    def of_another(self, study: Study) -> tuple[Any, dict[Any, Any]]:
        self.studies.append(study)
        return SimpleNamespace(study=study), {}


def _study(folder: Path) -> Study:
    return Study.model_validate(
        {
            "name": "s",
            "languages": ["en", "de"],
            "folder": folder,
            "datasets": {
                "test": {"reader": "xnli", "path": "x", "split": "test"},
                "other": {"reader": "xnli", "path": "x", "languages": ["en"]},
                "train": {"reader": "xnli", "path": "x", "split": "train", "max_examples": 1000},
            },
            "models": {
                "base": {"path": "base"},
                "tuned": {
                    "datasets": ["test", "other", "train"],
                    "finetune": {"base": "base", "dataset": "train", "languages": ["en"]},
                },
            },
            "attribution": {"max_examples": 50, "methods": {"random": False, "lig": {"tolerance": 0.1}}},
            "heads": {"datasets": {"test": "test"}, "max_examples": 60, "max_evaluated": 30},
        }
    )


def test_a_share_cuts_what_is_evaluated_and_every_limit_and_not_what_is_trained_on(tmp_path: Path) -> None:
    survey = _Survey(_study(tmp_path))
    found = {each.share: each for each in cuts(cast(Any, survey))}
    assert list(found) == list(SHARES)
    assert found[1.0].settings == {}
    quarter = {".".join(place): value for place, value in found[0.25].settings.items()}
    rows = survey.planner.study.heads.samplers["rows"].max_rows
    assert quarter == {
        "datasets.test.max_examples": 25,
        "datasets.other.max_examples": 2,
        "attribution.max_examples": 13,
        "heads.max_examples": 15,
        "heads.max_evaluated": 8,
        "heads.samplers.rows.max_rows": rows // 4,
    }
    (half, *_), whole = survey.studies, survey.planner.study
    assert half.datasets["test"].max_examples == 50
    assert half.datasets["train"] == whole.datasets["train"]
    assert half.models == whole.models
    # A method that was switched off stays so, and others keep their settings.
    assert half.attribution.methods == whole.attribution.methods
    assert whole.attribution.methods.random is None


def test_intervals_are_of_the_language_with_the_fewest_examples_and_of_a_section_s_limit(
    tmp_path: Path,
) -> None:
    survey = _Survey(_study(tmp_path))
    whole, half, *_ = cuts(cast(Any, survey))
    assert whole.examples == {"test": 100, "other": 7, "attributions": 7, "pruning": 7}
    assert half.examples["test"] == 50
    assert half_width(100) == pytest.approx(0.098, abs=1e-4)
    assert half_width(50) / half_width(100) == pytest.approx(2**0.5)
