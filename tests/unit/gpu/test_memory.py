"""Every analysis on a GPU whose memory runs out on the way: the same numbers, in smaller batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from analyses import ANALYSES, World, apart, result_of
from pretend_gpu import pretend_gpu

CLASSIFIER = ANALYSES["ForSequenceClassification"]
IN_BATCHES = [
    name
    for name in CLASSIFIER
    if name.startswith(("attribution", "perturbations"))
    or name in ("predictions", "activations", "importance")
]
NOTHING_COMPUTED = "attribution: random"
HEADS_WITH_TOKENS = ("ForTokenClassification", "ForConditionalGeneration")


def _narrowed(analysis: Callable[[World], object], build: Callable[[], World]) -> tuple[object, object, int]:
    """Results with room for everything and with less than that, and how many allocations were refused."""
    with pretend_gpu() as log:
        world = build()
        log.reset()
        held = log.live_bytes
        expected = result_of(analysis, world)
        needed = log.peak_bytes - held
    with pretend_gpu() as log:
        world = build()
        log.reset()
        log.capacity = log.live_bytes + int(0.6 * needed)
        found = result_of(analysis, world)
        # Nothing of the batches that failed is left.
        assert log.live_bytes <= held + 0.6 * needed
        return expected, found, log.refused


@pytest.mark.parametrize("name", [name for name in IN_BATCHES if name != NOTHING_COMPUTED])
def test_a_lack_of_memory_changes_no_number(name: str, world_of: Callable[..., World]) -> None:
    expected, found, refused = _narrowed(
        CLASSIFIER[name], lambda: world_of("xlm-roberta", "ForSequenceClassification", "cuda")
    )
    assert refused
    assert not apart(expected, found), "\n".join(apart(expected, found)[:10])


@pytest.mark.parametrize("head", HEADS_WITH_TOKENS)
def test_nor_where_there_are_outputs_for_each_sub_token(
    head: str, world_of: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the plan reckoned with more than there is.
    monkeypatch.setattr("xlwh.models.fitting.bytes_per_token", lambda *_: 1.0)

    def build() -> World:
        world = world_of("mt5" if head == "ForConditionalGeneration" else "xlm-roberta", head, "cuda")
        copies = [world.examples.with_columns(pl.col("example_id") + f"-{number}") for number in range(24)]
        return replace(world, examples=pl.concat(copies))

    expected, found, refused = _narrowed(ANALYSES[head]["predictions"], build)
    assert refused
    assert not apart(expected, found), "\n".join(apart(expected, found)[:10])


def test_nor_in_walks_over_coalitions(
    world_of: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlwh.heads import engine

    # As if the plan reckoned with more than there is.
    monkeypatch.setattr(engine, "STATES", 1e6)
    random = np.random.default_rng(0)

    def walk(world: World) -> object:
        made = engine.engine_on(world.loaded, world.examples, ("head",), measure="probability")
        return made.walk(np.repeat(np.arange(10), 8), coalitions)

    coalitions = random.random((80, 3, 8)) < 0.7
    expected, found, refused = _narrowed(
        walk, lambda: world_of("xlm-roberta", "ForSequenceClassification", "cuda")
    )
    assert refused
    assert not apart(expected, found), "\n".join(apart(expected, found)[:10])


@pytest.mark.parametrize(
    "name", ["predictions", "attribution: lig", "perturbations", "activations", "importance", "heads"]
)
def test_no_number_depends_on_how_batches_are_cut(
    name: str, world_of: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world_of("xlm-roberta", "ForSequenceClassification", "cpu")
    expected = result_of(CLASSIFIER[name], world)
    genuine = "xlwh.models.fitting.plan"
    from xlwh.models import fitting

    plan = fitting.plan
    monkeypatch.setattr(genuine, lambda lengths, limit, tokens, rows, **kw: plan(lengths, limit, 64, 2, **kw))
    monkeypatch.setattr("xlwh.heads.engine.CPU_ROWS", 2)
    found = result_of(CLASSIFIER[name], world)
    assert not apart(expected, found), "\n".join(apart(expected, found)[:10])
