"""Rankings to masks, masks to scores."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from xlwh.errors import ModelError
from xlwh.heads.evaluate import compare, mask_scores
from xlwh.heads.masks import (
    DECISIONS,
    RANDOM,
    Mask,
    decided_masks,
    games_of_masks,
    masks_frame,
    random_orders,
    ranked,
    sized_masks,
)
from xlwh.heads.players import Player
from xlwh.models.tagging import word_places
from xlwh.study import Heads

A, B, C = (Player("head", 0, head) for head in range(3))


def summary() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "unit": ["head"] * 3,
            "layer": [0] * 3,
            "head": [0, 1, 2],
            "n": [2000] * 3,
            "mean": [-0.05, 0.2, -0.3],
            "sd": [0.9, 0.5, 0.2],
            "skewness": [0.0] * 3,
            "log_e_negative": [3.3, -5.0, 40.0],
            "players": [3] * 3,
        }
    )


def test_decided_players_go_the_worst_first():
    strict, asymptotic, paper = decided_masks(summary(), "rows", 0.1)
    assert (strict.ranking, strict.selection, strict.removed) == ("shapley.rows", "strict", (C,))
    assert (asymptotic.selection, asymptotic.removed) == ("asymptotic", (C,))
    assert paper.removed == (C,)
    lenient, *_ = decided_masks(summary(), "rows", 0.2)
    assert lenient.removed == (C, A)


def test_sizes_that_the_game_has():
    order = ranked(summary(), "mean")
    assert order == (C, A, B)
    assert ranked(summary(), "mean", descending=True) == (B, A, C)
    masks = sized_masks("gradient", order, [2, 0, 2, 9, 3], "curve")
    assert [mask.removed for mask in masks] == [(C, A), (C, A, B)]
    frame = masks_frame([*masks, Mask("random", "curve", (), 4)])
    assert frame["num_removed"].to_list() == [2, 3, 0]
    assert frame["removed"][0][0] == {"unit": "head", "layer": 0, "head": 2}


def test_random_orders_are_seeded_permutations():
    orders = random_orders((A, B, C), 5, 0)
    assert all(sorted(order) == [A, B, C] for order in orders)
    assert orders[:3] == random_orders((A, B, C), 3, 0)
    assert orders != random_orders((A, B, C), 5, 1)


def test_a_language_gets_the_decisions_of_all_and_its_own_rankings():
    own = summary().with_columns(sampler=pl.lit("rows"))
    settings = Heads.model_validate(
        {"datasets": {"a": "b"}, "importance": ["gradient"], "curve": [2], "zero_shot": 1, "random_masks": 1}
    )
    importance = own.select("unit", "layer", "head", method=pl.lit("gradient"), value=-pl.col("mean"))
    games = games_of_masks({"de": own, "en": own}, {"de": importance}, settings, "de", 0)
    (masks,) = games.values()
    assert [mask.selection for mask in masks if mask.language == "en"] == [*DECISIONS, "zero_shot"]
    gradient = [mask for mask in masks if mask.ranking == "gradient"]
    assert [(mask.selection, mask.removed) for mask in gradient] == [("same_size", (B,)), ("curve", (B, A))]
    assert {mask.language for mask in masks if mask.ranking in ("gradient", RANDOM)} == {"de"}
    assert games_of_masks({}, {"de": importance.clear()}, settings, "de", 0) == {}
    # Of a language in `zero_shot_from`, the other rankings too: no more heads than it is shown to be harmed by.
    english = importance.with_columns(value=pl.col("value") * -1)
    (masks,) = games_of_masks(
        {"de": own, "en": own},
        {"de": importance, "en": english},
        settings.model_copy(update={"zero_shot": 2}),
        "de",
        0,
    ).values()
    others = [mask for mask in masks if mask.ranking in ("gradient", RANDOM)]
    assert [mask for mask in others if mask.language == "de"] == [
        mask for mask in games["head",] if mask.ranking in ("gradient", RANDOM)
    ]
    (order,) = random_orders((A, B, C), 1, 0)
    assert [mask for mask in others if mask.language == "en"] == [
        Mask("gradient", "same_size", (C,), 0, "en"),
        Mask("gradient", "same_size", (C, A), 0, "en"),
        Mask(RANDOM, "same_size", order[:1], 0, "en"),
        Mask(RANDOM, "same_size", order[:2], 0, "en"),
    ]


def test_masks_are_scored_like_gated_models(game):
    built = game("bert")
    engine = built.engine(measure="probability")
    one = Mask("random", "curve", (Player("head", 0, 2), Player("head", 1, 0)))
    whole, scores = mask_scores(engine, [one, Mask("x", "strict", ()), one])
    gates = torch.ones(2, 4)
    gates[0, 2] = gates[1, 0] = 0
    for row in range(4):
        expected = built.naive(row, gates).softmax(-1)[built.gold.classes[row]]
        assert scores[row, 0] == pytest.approx(float(expected), abs=1e-5)
    np.testing.assert_array_equal(scores[:, 1], whole)
    np.testing.assert_array_equal(scores[:, 2], scores[:, 0])
    none, empty = mask_scores(engine, [])
    np.testing.assert_allclose(none, whole, atol=1e-6)
    assert empty.shape == (4, 0)


def test_comparisons_count_examples_by_their_weight():
    before, after = np.array([1, 1, 0, 0], np.float32), np.array([1, 0, 1, 1], np.float32)
    weights = np.array([1, 1, 2, 4])
    found = compare(before, after, weights, [*"abcd"], 1000, 0, tagging=True)
    assert found["before"] == pytest.approx(0.25)
    assert found["after"] == pytest.approx(7 / 8)
    assert found["mcnemar_p"] is None
    plain = compare(before, after, np.ones(4, dtype=int), [*"abcd"], 1000, 0, tagging=False)
    assert plain["mcnemar_p"] == 1.0
    assert plain["effect_low"] is plain["effect_high"] is None, "of four examples"


def test_comparisons_resample_clusters():
    """Three examples a premise that change together: as much is known as of one example each."""
    before, after = np.array([1, 1, 0, 1] * 6, np.float32), np.array([1, 0, 0, 1] * 6, np.float32)
    ones = np.ones(24, dtype=int)
    single = compare(before, after, ones, [str(i) for i in range(24)], 1000, 0, tagging=False)
    names = [f"p{i // 3:02}" for i in range(72)]
    three = compare(before.repeat(3), after.repeat(3), ones.repeat(3), names, 1000, 0, tagging=False)
    assert (single.pop("clusters"), three.pop("clusters")) == (24, 24)
    assert (single.pop("mcnemar_p") < 0.05, three.pop("mcnemar_p")) == (True, None)
    assert three == pytest.approx({**single, "effect_low": three["effect_low"]}, abs=0.03)
    apart = compare(
        before.repeat(3), after.repeat(3), ones.repeat(3), [str(i) for i in range(72)], 1000, 0, tagging=False
    )
    assert three["effect_high"] - three["effect_low"] > 1.4 * (apart["effect_high"] - apart["effect_low"])


def test_tagged_sentences_score_the_share_of_their_gold_words(checkpoint, zoo_of, frame, tmp_path):
    """A tagger made of the classifier's encoder: score by hand from its logits."""
    import transformers as hf

    from xlwh.heads.engine import Engine
    from xlwh.heads.players import players_of
    from xlwh.heads.scores import gold_of
    from xlwh.models.batches import collate
    from xlwh.models.tokenize import encode

    source = checkpoint("bert")
    labels = {0: "DET", 1: "NOUN", 2: "VERB"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = hf.AutoModelForTokenClassification.from_pretrained(
            source, id2label=labels, label2id={v: k for k, v in labels.items()}, ignore_mismatched_sizes=True
        )
    model.save_pretrained(tmp_path / "tagger")
    hf.AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path / "tagger")
    loaded = zoo_of(m={"path": str(tmp_path / "tagger")}).load("m")
    sentences = [["The", "cat", "sits"], ["Hund"], ["The", "Hund", "und", "cat"]]
    # CCONJ is none of the tagger's tags, as where the language trained on lacks it: it counts, and is never right.
    tags = [["DET", "NOUN", "VERB"], ["NOUN"], ["DET", None, "CCONJ", "NOUN"]]
    examples = frame([(" ".join(words), None) for words in sentences], words=sentences).with_columns(
        task=pl.lit("token_classification"), word_labels=pl.Series(tags)
    )
    encoded = encode(loaded, examples)
    gold = gold_of(loaded, encoded, examples)
    assert gold.weights.tolist() == [3, 1, 3]
    others = examples.with_columns(word_labels=pl.Series([["D", "N", "V"], ["N"], ["D", None, "V", "N"]]))
    with pytest.raises(
        ModelError, match="has the labels DET, NOUN, VERB; what is evaluated has others: D, N, V"
    ):
        gold_of(loaded, encoded, others)
    engine = Engine(loaded, encoded, players_of(("head",), 2, 4), gold)
    coalition = np.array([[True, False, True, True, False, True, True, True]] * 3)
    found = engine.evaluate(np.arange(3), coalition)
    places = word_places(encoded, "first")
    from xlwh.models.gates import gated

    for row in range(3):
        batch = collate(loaded, encoded, np.array([row]), int(encoded.lengths[row]))
        with (
            torch.inference_mode(),
            gated(loaded.model, torch.from_numpy(coalition[:1].reshape(1, 2, 4)).float()),
        ):
            predicted = loaded.model(**batch.inputs(loaded)).logits[0].argmax(-1)
        own = places.position[places.of(row)]
        right = [
            labels[int(predicted[place])] == tag
            for place, tag in zip(own, tags[row], strict=True)
            if tag is not None
        ]
        assert found[row] == pytest.approx(sum(right) / len(right))
