"""What models say of the words of a text."""

from __future__ import annotations

import dataframely as dy

from xlwh.tables.base import (
    Table,
    dataset_column,
    end_column,
    example_id_column,
    language_column,
    model_column,
    segment_column,
    split_column,
    start_column,
)


class TokenPredictions(Table):
    """One row per (model, example, gold word): its tag as predicted, or why there is none."""

    version = 2
    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = ("model", "dataset", "split", "language", "example_id", "word_index")

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    example_id = example_id_column()
    word_index = dy.Int32(nullable=False, min=0, description="Place of the word in `examples.words`.")
    word = dy.String(nullable=False, description="The word, as the source has it.")
    segment = segment_column()
    char_start = start_column()
    char_end = end_column()
    status = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["tagged", "dropped", "truncated"]),
        description="tagged; dropped: the tokenizer makes nothing of the word; truncated: it lies past the longest input.",
    )
    position = dy.Int32(
        nullable=True,
        min=0,
        description="Sub-token that the tag is read off, as in `tokens`; NULL unless tagged.",
    )
    label = dy.String(nullable=True, description="Gold tag; NULL where withheld.")
    predicted = dy.String(nullable=True, description="Tag of the largest logit; NULL unless tagged.")
    logits = dy.List(
        dy.Float32(),
        nullable=True,
        description="One per tag, in the order of `models.labels`; NULL unless tagged.",
    )
    probabilities = dy.List(
        dy.Float32(), nullable=True, description="Softmax of the logits; NULL unless tagged."
    )
