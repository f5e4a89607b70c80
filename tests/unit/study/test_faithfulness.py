"""The [faithfulness] section: defaults, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from xlwh.study import Faithfulness, Study


def study(faithfulness: dict[str, Any], attribution: dict[str, Any] | None = None) -> Study:
    return Study.model_validate(
        {
            "name": "test",
            "languages": ["en"],
            "datasets": {"nli": {"reader": "xnli", "path": "nli"}},
            "attribution": attribution or {},
            "faithfulness": faithfulness,
            "folder": Path(),
        }
    )


def test_the_defaults_are_the_papers_ratios_with_the_mask_token() -> None:
    made = study({}).faithfulness
    assert made == Faithfulness()
    assert made.ratios == (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    assert made.masking == ("mask",)
    assert made.keep_query


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"ratios": []}, "at least 1 item"),
        ({"ratios": [0.0]}, "greater than 0"),
        ({"ratios": [1.5]}, "less than or equal to 1"),
        ({"masking": ["blank"]}, "'mask', 'pad', 'delete' or 'zero_id'"),
        ({"methods": ["lime"]}, "no attribution method `lime` in this study; there are: lig, random"),
        ({"max_examples": 20}, "only attribution.max_examples = 10 are attributed"),
        (
            {"keep_query": ["xnli"]},
            "faithfulness.keep_query: no dataset `xnli` in this study; there are: nli",
        ),
    ],
)
def test_what_cannot_be_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        study(section, {"max_examples": 10})


def test_the_query_is_kept_of_all_of_none_or_of_some_datasets() -> None:
    kept = {
        told: [Faithfulness(keep_query=told).keeps_query(each) for each in ("nli", "paws")]
        for told in (True, False, ("paws",), ())
    }
    assert kept == {True: [True, True], False: [False, False], ("paws",): [False, True], (): [False, False]}
