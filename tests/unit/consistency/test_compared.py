"""Which pairs are compared, and their rows: small cases worked out by hand."""

from __future__ import annotations

import polars as pl
import pytest

from xlwh.consistency.compared import Side, attributed, lacking, pairs, scored
from xlwh.study import Consistency

CHOSEN = {
    "en": pl.DataFrame({"split": "dev", "example_id": ["0", "1"], "target": ["yes", "no"]}),
    "es": pl.DataFrame({"split": "dev", "example_id": ["1"], "target": ["yes"]}),
}
GERMAN = pl.DataFrame({"split": "dev", "example_id": ["1", "0"], "predicted": ["yes", "yes"]})


def _attributions(*rows: tuple[str, str, str]) -> pl.LazyFrame:
    """(language, example, class), once per example."""
    frame = pl.DataFrame(rows, schema=["language", "example_id", "target"], orient="row")
    return frame.lazy().with_columns(split=pl.lit("dev"), method=pl.lit("lig"))


@pytest.mark.parametrize(("own", "explained"), [(False, ["yes", "no", "yes"]), (True, ["yes"] * 3)])
def test_which_class_of_the_target_side_is_compared(own, explained):
    found = pairs(CHOSEN, GERMAN, own=own, answers=False)
    assert found.rows() == [
        ("en", "dev", "0", "yes", explained[0]),
        ("en", "dev", "1", "no", explained[1]),
        ("es", "dev", "1", "yes", explained[2]),
    ]


def test_an_answer_has_a_pair_for_each_end():
    found = pairs({"es": CHOSEN["es"]}, GERMAN, own=True, answers=True)
    assert found.select("example_id", "target", "explained").rows() == [
        ("1", "start", "start"),
        ("1", "end", "end"),
    ]


def test_pairs_without_attributions_of_the_class_are_counted():
    wanted = pairs(CHOSEN, GERMAN, own=True, answers=False)
    there = _attributions(
        ("en", "0", "yes"), ("en", "1", "yes"), ("es", "1", "yes"), ("de", "0", "yes"), ("de", "1", "yes")
    )
    found = attributed(wanted, there, "de")
    assert sorted(found.select("source_language", "example_id").rows()) == [("en", "0"), ("es", "1")]
    assert lacking(wanted, found, ["lig"]) == [{"source_language": "en", "method": "lig", "missing": 1}]


def _side(language: str, alignment: str, word: str) -> Side:
    place = {"split": ["dev"], "example_id": ["1"], "position": [0]}
    token = {"is_special": [False], "word_index": [0], "word": [word], "token": [word]}
    return Side(
        language,
        alignment,
        pl.LazyFrame(place | token),
        pl.LazyFrame({**place, "method": ["lig"], "target": ["yes"], "attribution": [1.0]}),
        pl.LazyFrame({"word": [word], "vector": [[1.0, 0.0]]}),
    )


@pytest.mark.parametrize(
    ("source", "target", "alignment"),
    [("pivot", "procrustes", "rotated"), ("pivot", "none", "none"), ("given", "given", "unchecked")],
)
def test_rows_say_how_the_languages_came_into_one_space(source, target, alignment):
    wanted = pl.DataFrame({"split": "dev", "example_id": "1", "target": "yes", "explained": "yes"})
    settings = Consistency(space="s", draws=2)
    row = scored(wanted, _side("en", source, "cat"), _side("de", target, "katze"), settings, "0")
    assert row.select("source_language", "target_language", "alignment", "space", "unit", "score").rows() == [
        ("en", "de", alignment, "s", "word", 1.0)
    ]
    own = scored(wanted, _side("en", source, "cat"), _side("en", source, "cat"), settings, "0")
    assert own["alignment"].to_list() == ["same_language"]
