"""What models write, and what corpus scores of translations are made from."""

from __future__ import annotations

import dataframely as dy

from xlwh.tables.base import (
    Table,
    dataset_column,
    example_id_column,
    language_column,
    model_column,
    split_column,
)


class Translations(Table):
    """One row per (model, text translated): how the writing of `predictions.predicted` went."""

    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = ("model", "dataset", "split", "language", "example_id")

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column("Language translated into, as the dataset writes it.")
    example_id = example_id_column()
    num_written = dy.Int32(
        nullable=False, min=0, description="Sub-tokens that the model wrote, its end token included."
    )
    max_tokens = dy.Int32(nullable=False, min=1, description="Sub-tokens that it was allowed to write.")
    is_cut = dy.Bool(
        nullable=False, description="Whether it was stopped there: it had not written its end token."
    )


class TranslationStatistics(Table):
    """One row per (model, example, metric): the counts that a corpus's BLEU or chrF is a function of the sums of."""

    partition_by = ("model", "language")
    named_by = ("dataset",)
    key = ("model", "dataset", "split", "language", "example_id", "metric")

    model = model_column()
    dataset = dataset_column()
    split = split_column()
    language = language_column("Language translated into, as the dataset writes it.")
    example_id = example_id_column()
    metric = dy.String(nullable=False, check=lambda c: c.is_in(["bleu", "chrf"]), description="bleu or chrf.")
    signature = dy.String(
        nullable=False, description="sacreBLEU's signature: tokenizer, smoothing, case, orders, version."
    )
    statistics = dy.List(
        dy.Int64(nullable=False),
        nullable=False,
        description="bleu: length of the output and of the reference in sacreBLEU's tokens, then matched n-grams "
        "(n = 1 to 4), then n-grams of the output. chrf: character n-grams of the output, of the reference and "
        "matched ones, for n = 1, then for n = 2, to 6.",
    )
