"""Where models find the answers to questions."""

from __future__ import annotations

import dataframely as dy

from xlwh.tables.base import (
    Table,
    dataset_column,
    example_id_column,
    language_column,
    model_column,
    segment_column,
    split_column,
)


class AnswerSpans(Table):
    """One row per (model, question that got an answer): the span behind `predictions.predicted`."""

    version = 2
    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = ("model", "dataset", "split", "language", "example_id")

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column()
    example_id = example_id_column()
    num_windows = dy.Int32(
        nullable=False, min=1, description="Windows that question and context were cut into; 1 if they fit."
    )
    window = dy.Int32(
        nullable=False, min=0, description="Window with the best span, counted from 0 in the example."
    )
    window_start = dy.Int32(
        nullable=False, min=0, description="First sub-token of that window's context, as in `tokens`."
    )
    window_end = dy.Int32(
        nullable=False, min=0, description="Last sub-token of that window's context, as in `tokens`."
    )
    start_position = dy.Int32(
        nullable=False, min=0, description="First sub-token of the answer, as in `tokens`."
    )
    end_position = dy.Int32(
        nullable=False, min=0, description="Last sub-token of the answer, as in `tokens`."
    )
    segment = segment_column()
    char_start = dy.Int32(
        nullable=False, min=0, description="First code point of the answer in `examples.text_pair`."
    )
    char_end = dy.Int32(
        nullable=False, min=0, description="One past its last code point in `examples.text_pair`."
    )
    start_logit = dy.Float32(
        nullable=False, allow_nan=False, allow_inf=False, description="Logit of the answer's start."
    )
    end_logit = dy.Float32(
        nullable=False, allow_nan=False, allow_inf=False, description="Logit of the answer's end."
    )
