"""Tiny classifiers of every family with examples to perturb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from xlwh.faithfulness.perturbations import Ranking, Subject
from xlwh.models import LoadedModel, Zoo
from xlwh.models.tokenize import Encoded, encode

FAMILIES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")
Case = tuple[LoadedModel, Encoded, list[Subject]]


@pytest.fixture
def case_of(
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
) -> Callable[[str], Case]:
    """case_of(family): a classifier, four encoded examples, each with two methods and two random draws."""

    def build(family: str) -> Case:
        loaded = zoo_of(m={"path": str(checkpoint(family))}).load("m")
        encoded = encode(loaded, frame([*pairs[:2], ("", "Hund"), ("the cat", "the")]))
        rng = np.random.default_rng(0)
        subjects = []
        for example in range(len(encoded)):
            size = int(encoded.lengths[example])
            scores = rng.normal(size=(4, size))
            names = (("up", 0), ("down", 0), ("random", 0), ("random", 1))
            rankings = tuple(
                Ranking(name, repeat, values) for (name, repeat), values in zip(names, scores, strict=True)
            )
            subjects.append(Subject(example, example % 3, rankings))
        return loaded, encoded, subjects

    return build


@pytest.fixture(params=FAMILIES)
def any_case(request: pytest.FixtureRequest, case_of: Callable[[str], Case]) -> Case:
    """A case of every family in turn."""
    return case_of(request.param)
