"""What is explained of each task, and the rows that are made of it, without a warehouse."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.rows import attribution_rows, convergence, scores_of, with_tolerance
from xlwh.attribution.targets import (
    ANSWERS,
    CLASSES,
    TAGS,
    TRANSLATIONS,
    Choice,
    Chosen,
    explained,
    place,
    targets_of,
)
from xlwh.errors import MissingDataError
from xlwh.study import Inputs

from .conftest import Case

IDS = ["a", "b", "c", "d"]
PREDICTED = {
    "en": pl.DataFrame(
        {"example_id": IDS, "label": ["x", None, "y", "y"], "predicted": ["x", "x", "y", "z"]}
    ),
    "de": pl.DataFrame(
        {"example_id": IDS, "label": ["x", None, "y", "y"], "predicted": ["z", "x", "y", "y"]}
    ),
}


def choice(*by: tuple[str, str, int | None], words: int | None = None, seed: int | None = 1) -> Choice:
    return Choice(tuple(Chosen(*each) for each in by), words, seed)


def pairs(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return frame.select("example_id", "target").rows()


def classes(chosen: Choice, examples: list[str] = IDS) -> list[tuple[Any, ...]]:
    predictions = {language: frame.lazy() for language, frame in PREDICTED.items()}
    return pairs(targets_of(CLASSES, chosen, predictions, pl.DataFrame({"example_id": examples}), "de"))


def test_classes_are_those_that_some_language_predicts_or_the_gold_ones() -> None:
    assert classes(choice(("en", "own_prediction", None))) == list(zip(IDS, "xxyz", strict=True))
    assert classes(choice(("de", "gold", None))) == [("a", "x"), ("c", "y"), ("d", "y")]
    both = classes(choice(("en", "own_prediction", None), ("de", "own_prediction", None)))
    assert both == [*zip(IDS, "xxyz", strict=True), ("a", "z"), ("d", "y")]
    assert classes(choice(("en", "own_prediction", None)), ["d", "c"]) == [("c", "y"), ("d", "z")]


def test_one_definition_says_which_class_an_example_has() -> None:
    for policy in ("gold", "own_prediction"):
        for limit in (None, 2):
            frame = PREDICTED["de"].with_columns(split=pl.lit("dev"))
            assert pairs(explained(frame, policy, limit, 1)) == classes(choice(("de", policy, limit)))


def test_words_of_a_sentence_are_drawn_by_their_places_alone() -> None:
    words = pl.DataFrame(
        {
            "example_id": ["a"] * 5 + ["b"] * 2,
            "word_index": [0, 1, 2, 3, 4, 0, 1],
            "label": ["O", "B", None, "O", "O", "O", "B"],
            "predicted": ["O", "O", "O", "B", "O", None, "B"],
            "status": ["tagged"] * 4 + ["cut", "tagged", "tagged"],
        }
    )
    examples = pl.DataFrame({"example_id": ["a", "b"]})

    def tags(policy: str, count: int | None) -> list[tuple[str, str]]:
        chosen = choice(("en", policy, None), words=count)
        return pairs(targets_of(TAGS, chosen, {"en": words.lazy()}, examples, "en"))

    assert tags("own_prediction", None) == [
        ("a", "0:O"),
        ("a", "1:O"),
        ("a", "2:O"),
        ("a", "3:B"),
        ("b", "1:B"),
    ]
    assert tags("gold", None) == [("a", "0:O"), ("a", "1:B"), ("a", "3:O"), ("b", "0:O"), ("b", "1:B")]
    for policy in ("gold", "own_prediction"):
        one, two = set(tags(policy, 1)), set(tags(policy, 2))
        assert one < two <= set(tags(policy, None))
        assert sorted(example for example, _ in one) == ["a", "b"]
    none = targets_of(
        TAGS, choice(("en", "gold", None), words=1), {"en": words.lazy()}, examples.clear(), "en"
    )
    assert none.is_empty()


def test_answers_have_two_ends_and_translations_a_target_per_sub_token() -> None:
    examples, own = pl.DataFrame({"example_id": ["a", "b"]}), choice(("en", "own_prediction", None))
    answered = {"en": pl.LazyFrame({"example_id": ["b"]})}
    assert pairs(targets_of(ANSWERS, own, answered, examples, "en")) == [("b", "start"), ("b", "end")]
    written = {"en": pl.LazyFrame({"example_id": ["a", "b"], "logits": [[1.0, 2.0], [3.0]]})}
    found = targets_of(TRANSLATIONS, own, written, examples, "en")
    assert pairs(found) == [("a", "0:output"), ("a", "1:output"), ("b", "0:output")]


def test_a_class_is_placed_in_the_logits_of_its_example(
    case_of: Callable[[str], Case], frame: Callable[..., pl.DataFrame]
) -> None:
    loaded, _, _ = case_of("bert")
    examples = frame([("cat", "the"), ("", "Hund")])
    second, third = (loaded.labels or ())[1:]
    targets = pl.DataFrame({"example_id": ["1", "0", "1"], "target": [third, second, second]})
    predictions = pl.LazyFrame({"example_id": ["0", "1"], "logits": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]})
    placed = place(CLASSES, loaded, examples, targets, predictions, Inputs())
    assert placed.items == [Item(1, 2), Item(0, 1), Item(1, 1)]
    assert placed.f_input == [5.0, 1.0, 4.0]
    assert pairs(placed.keys([2, 1])) == [("1", second), ("0", second)]

    finished = [
        (place, Attribution(np.ones(placed.encoded.lengths[item.example]), None, 4.0, details={"n": place}))
        for place, item in enumerate(placed.items)
    ]
    made = attribution_rows(placed, finished, "m", "lig", {"steps": 2}, 0.5)
    runs, tokens = made["attribution_runs"], made["token_attributions"]
    assert runs["f_input"].to_list() == [5.0, 1.0, 4.0]
    assert [json.loads(text) for text in runs["parameters"]] == [
        {"steps": 2, "tolerance": 0.5, "n": place} for place in range(3)
    ]
    assert tokens.height == sum(len(attribution.values) for _, attribution in finished)
    assert tokens.filter(example_id="0")["position"].to_list() == list(range(placed.encoded.lengths[0]))
    # Nothing is known of F along the path without F of the input.
    assert convergence(runs) == {"attributions": 3}


def test_another_tolerance_renews_the_flag_and_the_parameters() -> None:
    runs = pl.DataFrame(
        {
            "relative_delta": [0.1, 0.3],
            "num_gradient_rows": [8, 16],
            "stopped": ["tolerance", "noise"],
            "ordered_share": [1.0, 0.5],
            "parameters": ['{"baseline": "pad", "tolerance": 0.01}'] * 2,
            "converged": [False, False],
        }
    )
    renewed = with_tolerance(runs, 0.2)
    assert renewed["converged"].to_list() == [True, False]
    assert {json.loads(text)["tolerance"] for text in renewed["parameters"]} == {0.2}
    assert convergence(renewed) == {
        "attributions": 2,
        "converged": 0.5,
        "median relative delta": 0.2,
        "median gradient rows": 12.0,
        "stopped": "noise 50.0%, tolerance 50.0%",
        "median ordered share": 0.75,
        "baseline": "pad",
    }


def test_stored_attributions_are_in_the_order_of_positions_or_refused_by_name() -> None:
    stored = pl.LazyFrame(
        {
            "example_id": ["a"] * 3,
            "target": ["x", "x", "y"],
            "position": [1, 0, 0],
            "attribution": [0.5, 0.25, 1.0],
        }
    )
    scores = scores_of(stored, pl.DataFrame({"example_id": ["a", "b"], "target": ["x", "x"]}), "nli.lig")
    assert scores("a", "x", 2).tolist() == [0.25, 0.5]
    for asked in (("a", "y", 1), ("b", "x", 1), ("a", "x", 3)):
        with pytest.raises(MissingDataError, match=f"nli.lig: example `{asked[0]}` has no attribution of"):
            scores(*asked)
