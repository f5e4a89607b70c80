"""Words where they stand: the texts that tables point into, cutting a word out, and whether offsets do cut it out.

Offsets are code points of a segment's text, in every table. In SQL, the macro `surface` and the view `example_texts` are
the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from xlwh.store.contract import schema
from xlwh.store.reading import scan
from xlwh.store.slots import Entry, contract

POINTERS = ("tokens", "activations", "concept_members", "token_predictions", "answer_spans")
"""Tables that point into texts by segment, start and end."""

CORPUS = ("dataset", "split", "language")
_EXAMPLE = ("model", *CORPUS, "example_id")


class Cut(NamedTuple):
    """A text taken apart around what stands at a place in it."""

    before: str
    surface: str
    after: str


def cut(text: str, start: int, end: int) -> Cut:
    """The text of a segment, cut at the code points `start` and `end`."""
    return Cut(text[:start], text[start:end], text[end:])


def texts(root: Path, examples: Sequence[Entry], dataset: str, split: str, language: str) -> pl.LazyFrame:
    """The examples of a language, out of the current entries of `examples`, whose words tables point into.

    The language that translations are from has no rows of its own: its texts are the first texts of the first other
    language, by name, that has the example.
    """
    usable = [
        entry
        for entry in examples
        if entry.slot.keys[0] == dataset
        and entry.slot.part == split
        and entry.version == contract("examples").version
    ]
    own = [entry for entry in usable if entry.slot.keys[1] == language]
    if own:
        return _scan(root, own)
    others = [_scan(root, [entry]) for entry in sorted(usable, key=lambda entry: entry.slot.keys)]
    if not others:
        return pl.LazyFrame(schema=schema("examples"))
    return (
        pl.concat(others)
        .filter(pl.col("task") == "translation")
        .unique("example_id", keep="first", maintain_order=True)
        .with_columns(language=pl.lit(language), text_pair=pl.lit(None, pl.String))
    )


def _scan(root: Path, entries: Sequence[Entry]) -> pl.LazyFrame:
    return scan(root, entries)


def misplaced(
    root: Path, frame: pl.LazyFrame, table: str, examples: Sequence[Entry], predictions: pl.LazyFrame
) -> pl.DataFrame:
    """Rows of one of POINTERS whose offsets do not cut out their word; of `answer_spans`, the answer.

    Words of pre-tokenised texts have to be where `word_spans` says, which is the whole multiword token for some. Rows
    whose example is not stored are left out. `predictions` are rows of that table, for the answers.
    """
    found = [frame.head(0).collect()]
    for dataset, split, language in frame.select(CORPUS).unique().sort(CORPUS).collect().iter_rows():
        here = (pl.col("dataset") == dataset, pl.col("split") == split, pl.col("language") == language)
        own = texts(root, examples, dataset, split, language).select(
            "example_id", "text", "text_pair", source="words", spans="word_spans"
        )
        rows = frame.filter(*here)
        if table == "answer_spans":
            said = predictions.filter(*here).select(*_EXAMPLE, word="predicted")
            rows = rows.join(said, on=_EXAMPLE).with_columns(word_index=pl.lit(0))
        elif table == "tokens":
            rows = rows.filter(pl.col("segment").is_not_null())
        joined = rows.with_columns(_behind(table)).join(own, on="example_id", how="inner")
        wrong = joined.filter(~_right(table).fill_null(value=False) | pl.col("behind")).select(
            frame.collect_schema().names()
        )
        found.append(wrong.collect(engine="streaming"))
    return pl.concat(found)


def summary(wrong: pl.DataFrame) -> str:
    """How many rows are misplaced, and the first of them; for messages."""
    columns = (*CORPUS, "example_id", "word_index", "position", "segment", "char_start", "char_end")
    first = wrong.select(c for c in columns if c in wrong.columns).row(0, named=True)
    return f"{wrong.height} rows, first {first}"


def _behind(table: str) -> pl.Expr:
    """Whether a word stands before the one that its number comes after; the second text is after the first."""
    if table == "answer_spans":
        return pl.lit(value=False).alias("behind")
    *group, _ = contract(table).key
    start = "word_start" if table == "tokens" else "char_start"
    at = pl.col("segment").cast(pl.Int64) * 2**32 + pl.col(start)
    return (at < at.shift().over(group, order_by="word_index")).fill_null(value=False).alias("behind")


def _right(table: str) -> pl.Expr:
    """Whether a row joined with its example points at what it says."""
    side = pl.when(pl.col("segment") == 1).then("text_pair").otherwise("text")
    start, end = ("word_start", "word_end") if table == "tokens" else ("char_start", "char_end")
    written = side.str.slice(pl.col(start), pl.col(end) - pl.col(start)) == pl.col("word")
    given = pl.col("source").is_not_null() & (pl.col("segment") == 0)
    index = pl.col("word_index")
    span = pl.col("spans").list.get(index, null_on_oob=True)
    stated = (
        (pl.col("source").list.get(index, null_on_oob=True) == pl.col("word"))
        & (span.struct.field("start") == pl.col(start))
        & (span.struct.field("end") == pl.col(end))
    )
    right = pl.when(given).then(stated).otherwise(written)
    if table != "tokens":
        return right
    first, last = pl.col("char_start"), pl.col("char_end")
    inside = (first >= pl.col(start)) & (last <= pl.col(end))
    # A sub-token of text as found may cover more than its word: the blank before it, or a second word.
    touches = inside | ((first < pl.col(end)) & (last > pl.col(start)))
    of_word = right & pl.when(given).then(inside).otherwise(touches)
    loose = first.is_null() | ((first <= last) & (last <= side.str.len_chars()))
    return pl.when(index.is_null()).then(loose).otherwise(of_word & loose)
