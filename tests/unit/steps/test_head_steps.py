"""The steps about heads over a small parallel study: samples, importance, masks and their tests."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from xlwh.errors import MissingDataError
from xlwh.heads.summary import summarise
from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS
from xlwh.steps.planning import definition_of
from xlwh.steps.runner import fresh, run
from xlwh.store import Slot, Warehouse
from xlwh.store.take import take

KEY = Key("a", language="de")
HEADS = {
    "datasets": {"nli": "nli"},
    "models": ["a"],
    "max_examples": 3,
    "samplers": {"rows": {"max_rows": 64, "round_permutations": 8}},
    "importance": ["gradient", "gradient_layer_norm", "attention_entropy", "separator_attention"],
    "random_masks": 2,
    "curve": [1, 3, 99],
    "resamples": 1000,
}


def heads(**changes):
    return {**HEADS, **changes}


def rounds(context, language="de"):
    shown = context.warehouse.manifest.snapshot(table="head_samples").shown
    return [entry.slot.part for entry in shown if entry.slot.keys[1] == language]


def samples(context):
    return context.warehouse.scan("head_samples").sort("language", "permutation", "layer", "head").collect()


def test_rounds_are_files_and_a_larger_budget_adds_to_them(world):
    context = world.context(heads=heads())
    result = run(STEPS["head_samples"], context, KEY)
    assert result.status == "written"
    # 8 permutations of 8 heads, 4 removals each: 32 rows a round.
    assert rounds(context) == ["nli.rows.000000", "nli.rows.000001"]
    assert run(STEPS["head_samples"], context, KEY).status == "fresh"
    assert fresh(STEPS["head_samples"], context, KEY) is not None
    before = {e.slot: e.file for e in context.warehouse.entries("head_samples")}

    larger = world.context(heads=heads(samplers={"rows": {"max_rows": 90, "round_permutations": 8}}))
    assert fresh(STEPS["head_samples"], larger, KEY) is None
    assert run(STEPS["head_samples"], larger, KEY).status == "written"
    assert rounds(larger) == [f"nli.rows.00000{n}" for n in range(3)]
    assert before.items() <= {e.slot: e.file for e in larger.warehouse.entries("head_samples")}.items()
    assert run(STEPS["head_samples"], context, KEY).status == "fresh"
    assert len(rounds(context)) == 3


def test_a_run_that_was_killed_makes_the_same_samples(world, monkeypatch):
    context = world.context(heads=heads(samplers={"rows": {"max_rows": 128, "round_permutations": 8}}))
    run(STEPS["head_samples"], context, KEY)
    whole = samples(context)
    context.warehouse.drop([e.slot for e in context.warehouse.entries("head_samples")])

    write, written = type(context.warehouse).write, []

    def dies(self, frames, *rest):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(write(self, frames, *rest))
        return written[-1]

    with monkeypatch.context() as patch:
        patch.setattr(type(context.warehouse), "write", dies)
        with pytest.raises(KeyboardInterrupt):
            run(STEPS["head_samples"], context, KEY)
    assert len(rounds(context)) == 2
    run(STEPS["head_samples"], context, KEY)
    assert samples(context).equals(whole)


def test_two_machines_make_the_samples_of_one(world):
    def sampler(first: int, rows: int):
        return heads(
            samplers={
                "rows": {
                    "max_rows": rows,
                    "round_permutations": 8,
                    "adaptive": False,
                    "first_permutation": first,
                }
            }
        )

    one = world.context(heads=sampler(0, 64))
    run(STEPS["head_samples"], one, KEY)
    both = world.context(heads=sampler(16, 64))
    run(STEPS["head_samples"], both, KEY)
    assert rounds(both) == [f"nli.rows.00000{n}" for n in range(4)]
    merged = samples(both)
    both.warehouse.drop([e.slot for e in both.warehouse.entries("head_samples")])
    alone = world.context(heads=sampler(0, 128))
    run(STEPS["head_samples"], alone, KEY)
    assert samples(alone).equals(merged)


def test_samples_of_another_warehouse_are_taken_and_gone_on_from(world, tmp_path):
    def settings(first: int, rows: int):
        sampler = {"round_permutations": 8, "adaptive": False, "first_permutation": first, "max_rows": rows}
        return heads(samplers={"rows": sampler})

    here = world.context(heads=settings(0, 64))
    run(STEPS["head_samples"], here, KEY)
    away = Warehouse(tmp_path / "away", create=True)
    for entry in here.warehouse.entries("examples"):
        rows = here.warehouse.scan("examples", **entry.slot.partition).collect()
        away.write({entry.slot: rows}, entry.fingerprint)
    there = world.context(heads=settings(16, 64))
    there.warehouse = away
    run(STEPS["head_samples"], there, KEY)
    assert rounds(there) == ["nli.rows.000002", "nli.rows.000003"]

    assert len(take(here.warehouse, away.root, ["head_samples"]).entries) == 2
    # Four rounds are there, so a budget of four asks for nothing.
    assert run(STEPS["head_samples"], world.context(heads=settings(0, 128)), KEY).status == "fresh"
    assert len(rounds(here)) == 4


def test_other_settings_take_the_place_of_the_rounds(world):
    context = world.context(heads=heads())
    run(STEPS["head_samples"], context, KEY)
    fewer = heads(samplers={"rows": {"max_rows": 30, "round_permutations": 8, "truncation": 0.25}})
    context = world.context(heads=fewer)
    result = run(STEPS["head_samples"], context, KEY)
    assert (result.status, result.reason) == ("written", "")
    assert rounds(context) == ["nli.rows.000000"]
    assert samples(context)["remaining"].min() == 2


def test_languages_share_permutations_and_examples(world):
    context = world.context(heads=heads())
    for language in ("en", "de"):
        run(STEPS["head_samples"], context, Key("a", language=language))
    frame = samples(context)
    columns = ["permutation", "example_id", "layer", "head", "remaining"]
    english, german = (frame.filter(pl.col("language") == x).select(columns) for x in ("en", "de"))
    assert english.equals(german)
    assert english["example_id"].n_unique() <= 3


def test_minutes_stop_a_run_and_the_next_one_goes_on(world):
    sampler = {"max_rows": 64, "round_permutations": 8, "max_minutes": 1e-9}
    context = world.context(heads=heads(samplers={"rows": sampler, "others": sampler}))
    # Every run makes a round at least, of each sampler: their minutes are counted apart.
    for made in (1, 2):
        assert run(STEPS["head_samples"], context, KEY).status == "written"
        assert rounds(context) == [f"nli.{name}.{n:06d}" for name in ("others", "rows") for n in range(made)]
    assert run(STEPS["head_samples"], context, KEY).status == "fresh"
    whole = samples(context)
    run(STEPS["head_samples"], world.context(heads=heads()), KEY)
    assert samples(context).equals(whole)


def test_all_rounds_are_made_anew_if_asked(world):
    context = world.context(heads=heads())
    run(STEPS["head_samples"], context, KEY)
    before = {e.slot: e for e in context.warehouse.entries("head_samples")}
    whole = samples(context)
    context.force = True
    assert run(STEPS["head_samples"], context, KEY).rows == whole.height
    after = {e.slot: e for e in context.warehouse.entries("head_samples")}
    assert samples(context).equals(whole)
    assert [e.commit for e in after.values()] == sorted(e.commit for e in after.values())
    for slot, entry in after.items():
        assert entry.file != before[slot].file
        assert entry.fingerprint == before[slot].fingerprint


def test_an_adaptive_round_rests_on_those_before_it(world):
    context = world.context(heads=heads(samplers={"rows": {"max_rows": 96, "round_permutations": 8}}))
    run(STEPS["head_samples"], context, KEY)
    first, second, third = context.warehouse.entries("head_samples")
    context.warehouse.drop([second.slot])
    context.planner.refresh()
    assert fresh(STEPS["head_samples"], context, KEY) is None
    run(STEPS["head_samples"], context, KEY)
    made = context.warehouse.entries("head_samples")
    assert [e.fingerprint for e in made] == [e.fingerprint for e in (first, second, third)]
    assert made[0].file == first.file


def test_rounds_beyond_a_gap_are_shown_and_those_of_other_settings_are_not(world):
    def settings(first: int, rows: int, **more):
        sampler = {"round_permutations": 8, "adaptive": False, "first_permutation": first, "max_rows": rows}
        return heads(samplers={"rows": {**sampler, **more}})

    run(STEPS["head_samples"], world.context(heads=settings(24, 32)), KEY)
    run(STEPS["head_samples"], world.context(heads=settings(40, 32, truncation=0.25)), KEY)
    # What was made under other settings would be counted together with the rest.
    context = world.context(heads=settings(40, 32, truncation=0.25))
    assert rounds(context) == ["nli.rows.000005"]
    run(STEPS["head_samples"], world.context(heads=settings(0, 32, truncation=0.25)), KEY)
    assert rounds(context) == ["nli.rows.000000", "nli.rows.000005"]
    assert run(STEPS["head_samples"], context, KEY).status == "fresh"


def test_exact_values_and_groups_and_whole_sets(world):
    settings = heads(
        groups=[["0.0", "0.1"], ["1.3"]],
        score="probability",
        samplers={
            "exact": {"estimator": "exact", "players": ["layer", "mlp"], "truncation": 0},
            "groups": {"players": ["group"], "truncation": 0, "round_permutations": 4, "max_rows": 8},
            "whole": {"estimator": "whole_set", "round_permutations": 2, "max_rows": 1, "antithetic": False},
        },
    )
    context = world.context(heads=settings)
    run(STEPS["head_samples"], context, KEY)
    frame = samples(context)
    exact = frame.filter(pl.col("sampler") == "exact")
    assert exact.select("unit", "layer").unique().height == 4
    assert exact["example_id"].n_unique() == 3
    assert exact["remaining"].null_count() == 3 * 4
    groups = frame.filter(pl.col("sampler") == "groups")
    assert groups.select("unit", "head").unique().rows() in (
        [("group", 0), ("group", 1)],
        [("group", 1), ("group", 0)],
    )
    whole = frame.filter(pl.col("sampler") == "whole")
    assert whole["example_id"].unique().to_list() == ["*"]
    assert len(rounds(context)) == 3


def test_importance_has_every_head_and_method(world):
    context = world.context(heads=heads())
    assert run(STEPS["head_importance"], context, KEY).status == "written"
    frame = context.warehouse.scan("head_importance").collect()
    assert frame.height == 4 * 8
    assert set(frame["num_examples"]) == {3}
    normal = frame.filter(pl.col("method") == "gradient_layer_norm").sort("layer", "head")["value"].to_numpy()
    np.testing.assert_allclose((normal.reshape(2, 4) ** 2).sum(axis=1), 1)
    assert run(STEPS["head_importance"], context, KEY).status == "fresh"


def test_masks_are_evaluated_on_other_examples_and_in_other_languages(world):
    context = world.context(heads=heads(max_examples=2))
    for language in ("en", "de"):
        run(STEPS["head_samples"], context, Key("a", language=language))
    run(STEPS["head_importance"], context, KEY)
    assert run(STEPS["pruning_evaluations"], context, KEY).status == "written"
    used = set(samples(context)["example_id"])
    evaluations = context.warehouse.scan("pruning_evaluations").collect()
    assert evaluations["example_id"].n_unique() == 2
    assert not used & set(evaluations["example_id"])
    names = evaluations.select("ranking", "selection", "mask_language").unique()
    assert ("shapley.rows", "strict", "en") in names.rows()
    assert ("random", "curve", "de") in names.rows()
    assert ("gradient", "curve", "de") in names.rows()
    assert ("none", "none", "de") in names.rows()

    masks = context.warehouse.scan("pruning_masks").collect()
    assert set(masks["language"]) == {"de"}
    assert (masks["removed"].list.len() == masks["num_removed"]).all()
    assert masks.filter(selection="curve")["num_removed"].unique().sort().to_list() == [1, 3]
    summary = summarise(context.warehouse.scan("head_samples").filter(pl.col("language") == "de"))
    worst = summary.sort("mean", "unit", "layer", "head").row(0, named=True)
    (mask,) = masks.filter(ranking="shapley.rows", selection="curve", num_removed=1)["removed"].to_list()
    assert mask == [{"unit": "head", "layer": worst["layer"], "head": worst["head"]}]

    tests = context.warehouse.scan("pruning_tests").collect()
    assert (
        tests.height
        == evaluations.select("ranking", "mask_language", "draw", "selection", "num_removed").unique().height
        - 1
    )
    row = tests.filter(pl.col("ranking") == "random", pl.col("draw") == 1, pl.col("num_removed") == 3).row(
        0, named=True
    )
    own = evaluations.filter(pl.col("ranking") == "random", pl.col("draw") == 1, pl.col("num_removed") == 3)
    assert row["after"] == pytest.approx(own["score"].mean())
    assert run(STEPS["pruning_evaluations"], context, KEY).status == "fresh"

    # New samples in another language are new masks here.
    run(STEPS["head_samples"], context, Key("a", language="es"))
    assert fresh(STEPS["pruning_evaluations"], context, KEY) is None


def test_a_ranking_is_tried_on_every_language_at_one_size(world):
    context = world.context(heads=heads(max_examples=2, zero_shot=2, curve=[]))
    for language in ("en", "de"):
        run(STEPS["head_samples"], context, Key("a", language=language))
    run(STEPS["head_importance"], context, KEY)
    assert run(STEPS["pruning_evaluations"], context, KEY).status == "written"
    tests = context.warehouse.scan("pruning_tests").filter(pl.col("selection") == "zero_shot").collect()
    columns = ("language", "ranking", "mask_language", "num_removed")
    assert sorted(tests.select(columns).rows()) == [
        ("de", "shapley.rows", "de", 2),
        ("de", "shapley.rows", "en", 2),
    ]
    masks = context.warehouse.scan("pruning_masks").filter(pl.col("selection") == "zero_shot").collect()
    assert masks["language"].to_list() == ["de"]


def test_other_rankings_of_a_language_are_tried_on_every_one(world):
    """What would be pruned in English, by gradients and at random, is removed in German too."""
    settings = heads(
        max_examples=2, curve=[], random_masks=2, samplers={"rows": {"max_rows": 40, "delta": 0.99}}
    )
    context = world.context(heads=settings | {"zero_shot_from": ["en"]})
    for language in ("en", "de"):
        run(STEPS["head_samples"], context, Key("a", language=language))
    run(STEPS["head_importance"], context, KEY)
    with pytest.raises(MissingDataError, match=r"head_importance .*--language en"):
        run(STEPS["pruning_evaluations"], context, KEY)
    run(STEPS["head_importance"], context, Key("a", language="en"))
    assert run(STEPS["pruning_evaluations"], context, KEY).status == "written"
    (planned,) = context.planner.jobs(STEPS["pruning_evaluations"], KEY)
    assert {entry.slot.keys for entry in planned.job.reads if entry.slot.table == "head_importance"} == {
        ("a", "de"),
        ("a", "en"),
    }


def test_attention_is_kept_of_examples_that_are_short_in_every_language(world, monkeypatch):
    # In German the first two are longer than 45 characters, in Spanish the second is not.
    monkeypatch.setattr(type(definition_of(STEPS["attention_maps"])), "max_characters", 45)
    context = world.context(heads=heads(max_examples=4))
    assert run(STEPS["attention_maps"], context, KEY).status == "written"
    assert run(STEPS["attention_maps"], context, KEY).status == "fresh"
    assert fresh(STEPS["attention_maps"], context, KEY) is not None
    run(STEPS["attention_maps"], context, Key("a", language="es"))
    frame = context.warehouse.scan("attention_maps").collect()
    short = {
        str(row)
        for row in range(4)
        if all(sum(map(len, world.texts[language][row])) <= 45 for language in world.texts)
    }
    assert short not in (set(), {"0", "1", "2", "3"})
    for language in ("de", "es"):
        own = frame.filter(pl.col("language") == language)
        assert set(own["example_id"]) == short
        assert own.height == len(short) * 2 * 4
    row = frame.row(0, named=True)
    weights = np.array(row["weights"], dtype=np.float32).reshape(len(row["tokens"]), -1)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=0.01)
    assert [token for token, special in zip(row["tokens"], row["is_special"], strict=True) if special]

    one = world.context(heads=heads(max_examples=4, attention_examples=1))
    assert run(STEPS["attention_maps"], one, KEY).status == "written"
    assert one.warehouse.scan("attention_maps", language="de").collect()["example_id"].n_unique() == 1
    none = world.context(heads=heads(attention_examples=0))
    assert run(STEPS["attention_maps"], none, KEY).status == "not_applicable"


def test_what_the_study_does_not_ask_for(world):
    plain = world.context()
    for name in ("head_samples", "head_importance", "attention_maps", "pruning_evaluations"):
        step = STEPS[name]
        assert run(step, plain, KEY).status == "not_applicable"
        assert run(step, world.context(heads=heads()), Key("b", language="de")).status == "not_applicable"
    assert plain.warehouse.current(Slot("head_importance", ("a", "de"), "nli")) is None


def test_masks_of_languages_that_the_study_has_no_longer_are_not_evaluated(world):
    asked = heads(max_examples=2, importance=[])
    for language in ("en", "de"):
        run(STEPS["head_samples"], world.context(heads=asked), Key("a", language=language))

    def mask_languages(**changes):
        context = world.context(heads=asked, **changes)
        run(STEPS["pruning_evaluations"], context, KEY)
        frame = context.warehouse.scan("pruning_evaluations").collect()
        return set(frame["mask_language"])

    assert mask_languages() == {"en", "de"}
    assert mask_languages(languages=["de", "es"], spaces={}, consistency=None) == {"de"}
    assert world.context().warehouse.scan("head_samples", language="en").collect().height


def test_masks_are_not_made_without_what_they_are_compared_with(world):
    context = world.context(heads=heads(max_examples=2))
    run(STEPS["head_samples"], context, KEY)
    with pytest.raises(MissingDataError, match=r"materialize head_importance --model a --language de"):
        run(STEPS["pruning_evaluations"], context, KEY)
    # Samples that were made from other examples than now are no masks.
    run(STEPS["head_importance"], context, KEY)
    run(STEPS["pruning_evaluations"], context, KEY)
    other = world.context(heads=heads(max_examples=3))
    run(STEPS["head_importance"], other, KEY)
    run(STEPS["pruning_evaluations"], other, KEY)
    rankings = other.warehouse.scan("pruning_evaluations").collect()["ranking"]
    assert not any(name.startswith("shapley") for name in rankings)
