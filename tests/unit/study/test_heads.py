"""What a study may say about heads, and what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from xlwh.study import Heads, Sampler, Study


def study(**heads: Any) -> Study:
    return Study.model_validate(
        {
            "name": "test",
            "languages": ["en"],
            "datasets": {"nli": {"reader": "xnli", "path": "nli"}},
            "models": {"m": {"path": "m", "datasets": ["nli"]}},
            "heads": {"datasets": {"nli": "nli"}, **heads},
            "folder": Path("/study"),
        }
    )


def test_there_is_one_sampler_by_default() -> None:
    heads = study().heads
    assert heads is not None
    assert heads.samplers == {"rows": Sampler()}
    assert (heads.samplers["rows"].truncation, heads.score) == (0.5, "accuracy")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"datasets": {"other": "nli"}}, "no dataset `other`"),
        ({"datasets": {"nli": "other"}}, "no dataset `other`"),
        ({"models": ["other"]}, "no model `other`"),
        ({"zero_shot_from": ["fr"]}, "heads.zero_shot_from: no language `fr`"),
        ({"zero_shot_from": ["en"], "importance": []}, "there are no other rankings"),
        ({"max_examples": None}, "set heads.max_examples"),
        ({"samplers": {"a.b": {}}}, "holds a dot"),
        ({"samplers": {"g": {"players": ["group"]}}}, "none are given"),
        ({"groups": [["1-2"]]}, "is no head"),
        ({"samplers": {"a": {"first_permutation": 100}}}, "not a multiple"),
        ({"samplers": {"a": {"first_permutation": 512}}}, "set adaptive = false"),
        ({"samplers": {"a": {"estimator": "exact", "antithetic": True}}}, "no antithetic pairs"),
        ({"samplers": {"a": {"round_permutations": 3}}}, "multiple of 2"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        study(**given)


def test_heads_can_be_valued_on_everything_where_others_are_evaluated() -> None:
    assert Heads(datasets={"a": "b"}, max_examples=None).max_examples is None
