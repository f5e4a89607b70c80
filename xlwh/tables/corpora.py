"""Texts as read from files, and the numbers that the papers print."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from xlwh.tables.base import Table, dataset_column, example_id_column, language_column, split_column


def _share(description: str) -> dy.Float64:
    return dy.Float64(nullable=True, min=0, max=1, allow_nan=False, allow_inf=False, description=description)


class Examples(Table):
    """One row per (dataset, split, language, example): the text as read, before any tokenizer."""

    version = 3
    partition_by = ("dataset", "language")
    key = ("dataset", "split", "language", "example_id")
    # Texts are long, and what streams them holds a group at a time.
    row_group_rows = 8 * 1024

    dataset = dataset_column()
    split = split_column()
    language = language_column()
    example_id = example_id_column()
    cluster = dy.String(
        nullable=True,
        min_length=1,
        description="The first example that shares what this one has in common with others, which are not independent: the "
        "first text of pairs (the premise), the paragraph of questions, the document of tagged text where the file says it, "
        "or the value of the column that the study names. Its own example_id, or NULL, where there is nothing.",
    )
    task = dy.String(
        nullable=False,
        check=lambda c: c.is_in(
            [
                "sequence_classification",
                "sentence_pair",
                "token_classification",
                "question_answering",
                "translation",
            ]
        ),
        description="What is predicted: sequence_classification, sentence_pair, token_classification, "
        "question_answering or translation.",
    )
    text = dy.String(nullable=False, description="First segment: sentence, premise or question.")
    text_pair = dy.String(nullable=True, description="Second segment: hypothesis, context or translation.")
    label = dy.String(nullable=True, description="Gold class label; NULL where the source withholds it.")
    words = dy.List(
        dy.String(), nullable=True, description="The source's own tokens, for pre-tokenised corpora."
    )
    word_spans = dy.List(
        dy.Struct({"start": dy.Int32(nullable=False), "end": dy.Int32(nullable=False)}),
        nullable=True,
        description="Where each entry of `words` stands in `text`: first code point and one past the last, as the "
        "source states it. Words of one multiword token have its whole span each, unless they make up its form.",
    )
    word_labels = dy.List(dy.String(), nullable=True, description="One gold tag per entry of `words`.")
    answers = dy.List(
        dy.Struct({"text": dy.String(nullable=False), "start": dy.Int32(nullable=False)}),
        nullable=True,
        description="Gold answers in `text_pair`; start in code points.",
    )
    source_file = dy.String(
        nullable=False, description="File the row was read from, relative to the data root."
    )
    row_number = dy.Int64(nullable=False, min=0, description="Position in that file, counted from 0.")

    @dy.rule()
    def spans_of_words(cls) -> pl.Expr:  # noqa: N805
        return pl.col("words").list.len().eq_missing(pl.col("word_spans").list.len())

    @dy.rule()
    def spans_in_text(cls) -> pl.Expr:  # noqa: N805
        spans = pl.col("word_spans")
        start, end = pl.element().struct.field("start"), pl.element().struct.field("end")
        shared = ((start == start.shift()) & (end == end.shift())).fill_null(value=False)
        one_by_one = spans.list.eval((start < end) & ((start >= end.shift(fill_value=0)) | shared)).list.all()
        last = spans.list.eval(end).list.max()
        return one_by_one.fill_null(value=True) & (last <= pl.col("text").str.len_chars()).fill_null(
            value=True
        )


class RejectedRows(Table):
    """One row per input row that a reader refused, with the reason and the raw text. Nothing is lost silently."""

    partition_by = ("dataset", "language")
    key = ("dataset", "split", "language", "source_file", "row_number")

    dataset = dataset_column()
    split = split_column()
    language = language_column()
    source_file = dy.String(
        nullable=False, description="File the row was read from, relative to the data root."
    )
    row_number = dy.Int64(nullable=False, min=0, description="Position in that file, counted from 0.")
    reason = dy.String(nullable=False, description="Why the row was refused.")
    raw = dy.String(
        nullable=False, description="The row as found, cut at 10,000 characters; undecodable bytes as \\xNN."
    )


class Parallelism(Table):
    """One row per two languages of a dataset that are joined by row or id: whether they are translations of each other.

    All rows of the files are compared, whatever `max_examples` keeps.
    """

    partition_by = ("dataset",)
    key = ("dataset", "split", "source_language", "target_language")

    dataset = dataset_column()
    split = split_column()
    source_language = language_column("Language that the others are compared with: the dataset's first.")
    target_language = language_column()
    joined_by = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["row", "id", "pair"]),
        description="row (number in the file), id (of the file), or pair: both languages are in one row.",
    )
    source_rows = dy.Int64(
        nullable=False, min=0, description="Rows of the source language, refused ones too."
    )
    target_rows = dy.Int64(
        nullable=False, min=0, description="Rows of the target language, refused ones too."
    )
    pairs = dy.Int64(nullable=False, min=0, description="Rows that both languages have.")
    label_agreement = _share("Share of pairs with the same label; NULL where there are none.")
    pattern_agreement = _share(
        "Share of pairs of which both or neither repeat the text before them; NULL where no row does."
    )
    length_outliers = _share("Share of pairs whose length ratio is over three spreads from the median.")
    shared_numbers = _share("Share of the source's numbers that the target's row has too; NULL without any.")
    shared_words = _share("The same of words that both languages write alike; NULL without any.")
    evidence = dy.Float64(
        nullable=False,
        allow_nan=False,
        allow_inf=False,
        description="Mean log likelihood ratio of a pair being translations, in nats: above 0 where they are.",
    )
    odd_rows = dy.Int64(
        nullable=False,
        min=0,
        description="Rows that match nothing, or (joined by id) another row, at most ten in a stretch: perhaps bad translations.",
    )
    verdict = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["parallel", "differs", "not_parallel", "unrelated", "undecided"]),
        description="parallel; differs: some rows, or all from one on; not_parallel: no rows match, though the format is one "
        "of translations; unrelated: no rows match, a fault only if they are joined; undecided: too little evidence.",
    )
    aligned = dy.String(
        nullable=False,
        check=lambda c: c.is_in(["checked", "unchecked"]),
        description="What the study says: `unchecked` lets a fault pass.",
    )
    is_refused = dy.Bool(nullable=False, description="Whether steps refuse to join the two.")
    first_divergence = dy.Int64(
        nullable=True,
        min=0,
        description="Row of the source language, from 0, at which the two begin to differ, give or take three.",
    )
    example_id = dy.String(nullable=True, description="Id of that row; NULL where there is no such row.")
    reason = dy.String(nullable=True, description="What was found, in words.")


PUBLISHED_UNITS = ("share", "percent", "BLEU", "ratio", "count", "sub-tokens per word")


class PublishedResults(Table):
    """One row per number printed in one of the papers' tables."""

    # 2: each number carries its unit.
    version = 2
    key = ("paper", "table", "model", "dataset", "source_language", "language", "metric", "variant")

    paper = dy.String(
        nullable=False,
        description="Short name of the paper: ccta, shapley-heads, concept-alignment, faithfulness.",
    )
    table = dy.String(nullable=False, description="Number of the table in the paper.")
    model = dy.String(nullable=False, description="Model as the paper names it.")
    dataset = dy.String(nullable=False, description="Dataset as the paper names it.")
    source_language = dy.String(nullable=True, description="Language trained on or compared from.")
    language = dy.String(nullable=True, description="Language evaluated; `overall` where the paper averages.")
    metric = dy.String(nullable=False, description="Name of the metric.")
    variant = dy.String(
        nullable=False, description="paper, or published_code where the number comes from released code."
    )
    value = dy.Float64(nullable=False, allow_nan=False, description="The number as printed, in `value_unit`.")
    value_unit = dy.String(
        nullable=False,
        check=lambda c: c.is_in(list(PUBLISHED_UNITS)),
        description="What the number is printed in: share, percent, BLEU, ratio, count or sub-tokens per word.",
    )
    note = dy.String(nullable=True, description="Significance marks and the like.")
