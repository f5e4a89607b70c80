"""Small worlds on the CPU and on a pretended GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from analyses import World

from xlwh.models import Zoo
from xlwh.models.tokenize import encode
from xlwh.models.translation import encode_translations


@pytest.fixture
def world_of(
    checkpoint: Callable[..., Path],
    zoo_of: Callable[..., Zoo],
    frame: Callable[..., pl.DataFrame],
    pairs: list[tuple[str, str | None]],
    tmp_path: Path,
) -> Callable[..., World]:
    """world_of(family, head, device): a tiny model with ten examples of its head's task."""

    def build(family: str, head: str, device: str) -> World:
        loaded = zoo_of(device, m={"path": str(checkpoint(family, head))}).load("m")
        examples = _examples(frame, pairs, head)
        writes = head == "ForConditionalGeneration"
        encoded = encode_translations(loaded, examples) if writes else encode(loaded, examples)
        folder = tmp_path / device
        folder.mkdir(exist_ok=True)
        return World(loaded, examples, encoded, folder)

    return build


def _examples(frame: Any, pairs: list[tuple[str, str | None]], head: str) -> pl.DataFrame:
    none = pl.lit(None, pl.String)
    if head == "ForSequenceClassification":
        return frame(pairs)
    written = [(first, second) for first, second in pairs if first and second]
    if head == "ForConditionalGeneration":
        return frame(written).with_columns(task=pl.lit("translation"), label=none)
    if head == "ForQuestionAnswering":
        answers = [[{"text": context[:3], "start": 0}] for _, context in written]
        rows = frame(written).with_columns(task=pl.lit("question_answering"), label=none)
        return rows.with_columns(pl.Series("answers", answers, dtype=rows.schema["answers"]))
    words = [first.split() for first, _ in written]
    tags = [[("B-PER", "I-PER", "O")[k % 3] for k in range(len(own))] for own in words]
    rows = frame([(" ".join(own), None) for own in words], words=words)
    return rows.with_columns(
        task=pl.lit("token_classification"),
        label=none,
        word_labels=pl.Series(tags, dtype=rows.schema["word_labels"]),
    )
