"""How often the host waits for the device, batch by batch, in every analysis that has many batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from analyses import ANALYSES, World
from pretend_gpu import BLOCKING_UPLOAD, UPLOAD, Log, pretend_gpu

from xlwh.attribution.path import Paths
from xlwh.heads import engine
from xlwh.heads.stack import Layered
from xlwh.models import Zoo
from xlwh.models.tokenize import encode

ROWS = 64

BUDGETS = {
    "predictions": 2,
    "attribution: lig": 2,
    "attribution: lig_fixed": 2,
    "attribution: integrated_gradients": 2,
    "attribution: input_x_gradient, attention, scaled_attention": 2,
    "attribution: deeplift": 2,
    "attribution: gradient_shap": 2,
    "attribution: occlusion": 2,
    "attribution: released_scaled_attention, released_input_x_gradient, released_integrated_gradients": 2,
    "perturbations": 2,
    "perturbations after the norm": 2,
    "activations": 2,
    "importance": 2,
}
"""Waits for each call of the model, one batch each: to be lowered and never raised. One of them is transformers', which
asks whether a batch has padding; one is for the results, all together."""
ONCE = 6
"""Waits of an analysis beside those of its batches: where a baseline is chosen."""


@dataclass
class Called:
    """How often the model was called, and the rows of these calls."""

    batches: int = 0
    rows: int = 0


@pytest.fixture
def many(
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
    tmp_path: Path,
) -> Callable[[], tuple[World, Called]]:
    """many(): a classifier on the device, with pairs of all lengths."""

    def build() -> tuple[World, Called]:
        loaded = zoo_of("cuda", m={"path": str(checkpoint("xlm-roberta"))}).load("m")
        examples = frame((pairs[:7] * ROWS)[:ROWS])
        called = Called()

        def count(_: object, __: object, inputs: dict[str, object]) -> None:
            called.batches += 1
            called.rows += len(inputs["input_ids"])  # type: ignore[arg-type]

        loaded.model.register_forward_pre_hook(count, with_kwargs=True)
        return World(loaded, examples, encode(loaded, examples), tmp_path), called

    return build


@contextmanager
def counted(many: Callable[[], tuple[World, Called]]) -> Iterator[tuple[World, Called, Log]]:
    with pretend_gpu() as log:
        world, called = many()
        log.reset()
        yield world, called, log


@pytest.mark.parametrize("name", BUDGETS)
def test_waits_of_each_batch(name: str, many: Callable[[], tuple[World, Called]]) -> None:
    with counted(many) as (world, called, log):
        ANALYSES["ForSequenceClassification"][name](world)
        assert called.batches >= 3
        assert log.waits <= BUDGETS[name] * called.batches + ONCE, log.table()


@pytest.mark.parametrize("name", BUDGETS)
def test_batches_have_their_inputs_uploaded_without_a_wait(
    name: str, many: Callable[[], tuple[World, Called]]
) -> None:
    with counted(many) as (world, called, log):
        ANALYSES["ForSequenceClassification"][name](world)
        assert log.count(UPLOAD) >= called.batches
        assert log.count(BLOCKING_UPLOAD) <= ONCE, log.table()


@pytest.mark.parametrize("name", ["lig", "lig_fixed"])
def test_paths_wait_once_for_each_refinement_of_all(
    name: str, many: Callable[[], tuple[World, Called]], monkeypatch: pytest.MonkeyPatch
) -> None:
    refinements = []
    genuine = Paths.evaluate
    monkeypatch.setattr(Paths, "evaluate", lambda *given: refinements.append(1) or genuine(*given))
    with counted(many) as (world, called, log):
        ANALYSES["ForSequenceClassification"][f"attribution: {name}"](world)
        # What is downloaded is downloaded there; the last sums come by themselves.
        waits = sum(log.waits_in("models/batches.py").values())
        assert waits <= len(refinements) + 1 + ONCE, log.table()
        assert called.batches > len(refinements) + 1 + 2 * ONCE


@pytest.mark.parametrize("steps", [1, 24, 72])
def test_a_walk_over_coalitions_waits_as_often_whatever_its_length(
    steps: int, many: Callable[[], tuple[World, Called]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    genuine = Layered.rows
    monkeypatch.setattr(Layered, "rows", lambda *given: batches.append(1) or genuine(*given))
    with counted(many) as (world, _, log):
        made = engine.engine_on(world.loaded, world.examples, ("head",))
        log.reset()
        random = np.random.default_rng(0)
        coalitions = random.random((ROWS, steps, len(made.players))) < 0.7
        made.walk(np.arange(ROWS), coalitions)
        assert log.waits <= len(batches), log.table()


def test_clustering_waits_for_blocks_and_not_for_points(many: Callable[[], tuple[World, Called]]) -> None:
    from xlwh.concepts.kmeans import cluster
    from xlwh.concepts.points import from_array

    waits = {}
    for count in (500, 4000):
        points = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
        with counted(many) as (world, _, log):
            fit = cluster(from_array(points), 5, 0, "torch", 1, 10, world.loaded.device)
            waits[count] = log.waits / fit.iterations
    assert waits[4000] <= waits[500] + 8, waits


def test_a_wait_in_a_loop_over_rows_breaks_the_budget(
    many: Callable[[], tuple[World, Called]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlwh.models import predict as module

    genuine = module.collate

    def slow(*given: object, **kwargs: object) -> object:
        batch = genuine(*given, **kwargs)  # type: ignore[arg-type]
        lengths = [int(row.sum()) for row in batch.attention_mask]
        assert all(lengths)
        return replace(batch)

    monkeypatch.setattr(module, "collate", slow)
    with counted(many) as (world, called, log):
        ANALYSES["ForSequenceClassification"]["predictions"](world)
        assert log.waits > BUDGETS["predictions"] * called.batches + ONCE
        ((line, count),) = log.waits_in("gpu/test_budgets.py").items()
    assert count == ROWS
    assert f"test_budgets.py:{line}" in log.table()
